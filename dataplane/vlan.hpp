// The VLAN tag (IEEE 802.1Q) of a frame. In forwarding it is in the frame's bytes, as on a wire; a
// vif that has a VLAN neither sends nor gets it.
#pragma once

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "lib/base/check.hpp"

namespace netback {

inline constexpr uint16_t vlan_max = 4094;

// Whether there is a tag of 802.1Q or 802.1ad, whatever it says.
inline bool has_vlan_tag(const rte_mbuf* frame) {
  const uint16_t type = rte_pktmbuf_mtod(frame, const rte_ether_hdr*)->ether_type;
  return type == rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN) ||
         type == rte_cpu_to_be_16(RTE_ETHER_TYPE_QINQ);
}

// The VLAN that an 802.1Q tag names; 0: there is none, it is not whole, or it is of priority alone.
inline uint16_t vlan_of(const rte_mbuf* frame) {
  const auto* header = rte_pktmbuf_mtod(frame, const rte_ether_hdr*);
  if (header->ether_type != rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN) ||
      frame->data_len < sizeof(rte_ether_hdr) + sizeof(rte_vlan_hdr))
    return 0;
  const auto* tag = reinterpret_cast<const rte_vlan_hdr*>(header + 1);
  return rte_be_to_cpu_16(tag->vlan_tci) & 0xfff;
}

// Both keep known headers known (offload). The frame is ours alone, in a buffer of FramePool for
// the first, and has a tag for the second.
inline void push_vlan(rte_mbuf* frame, uint16_t vlan) {
  frame->vlan_tci = vlan;
  NETBACK_CHECK(rte_vlan_insert(&frame) == 0);
}
inline void strip_vlan(rte_mbuf* frame) {
  NETBACK_CHECK(rte_mbuf_refcnt_read(frame) == 1 && rte_vlan_strip(frame) == 0);
  frame->ol_flags &= ~(RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED);
  frame->l2_len -= sizeof(rte_vlan_hdr);
}

}  // namespace netback
