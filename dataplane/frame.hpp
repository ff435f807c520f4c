// What passes through forwarding: an Ethernet frame in an rte_mbuf, and nothing else. netif's flags
// are kept in DPDK's own words:
//   csum_blank      RX_L4_CKSUM_NONE (data fine, checksum not filled in), l2/l3/l4_len, packet_type
//   data_validated  RX_L4_CKSUM_GOOD
//   GSO             RX_LRO: a TCP frame that stands for several, with tso_segsz bytes of payload
//                   each; csum_blank as well, with the pseudo-header's sum in the checksum's place
//   hash            RX_RSS_HASH, with the sender's hash.rss: by a key that it alone set. Who gets
//                   the frame has it hashed by its own (hashing.hpp), or another guest could choose
//                   its queues
//   came from       mbuf->port: a port below limits::ports_max, a queue of a vif from there on
#pragma once

#include <rte_ether.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <span>

#include "dataplane/counters.hpp"
#include "dataplane/limits.hpp"
#include "lib/base/check.hpp"

namespace netback {

inline bool from_vif(const rte_mbuf* frame) {
  return frame->port >= limits::ports_max;
}
inline uint16_t source_vif(const rte_mbuf* frame) {
  return static_cast<uint16_t>((frame->port - limits::ports_max) / limits::vif_queues_max);
}
// The number of that vif's queue.
inline uint16_t source_queue(const rte_mbuf* frame) {
  return static_cast<uint16_t>((frame->port - limits::ports_max) % limits::vif_queues_max);
}
inline uint16_t source_of_vif(uint16_t vif, uint16_t queue = 0) {
  return static_cast<uint16_t>(limits::ports_max + vif * limits::vif_queues_max + queue);
}

inline uint64_t checksum_state(const rte_mbuf* frame) {
  return frame->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
}
inline bool checksum_blank(const rte_mbuf* frame) {
  return checksum_state(frame) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
}
inline void set_checksum_state(rte_mbuf* frame, uint64_t state) {
  frame->ol_flags = (frame->ol_flags & ~uint64_t{RTE_MBUF_F_RX_L4_CKSUM_MASK}) | state;
}

// Whether it stands for several frames. Such a frame has more payload than tso_segsz bytes.
inline bool segmented(const rte_mbuf* frame) {
  return frame->ol_flags & RTE_MBUF_F_RX_LRO;
}
// L2 to L4 of a frame whose headers are known (offload).
inline uint32_t header_bytes(const rte_mbuf* frame) {
  return static_cast<uint32_t>(frame->l2_len + frame->l3_len + frame->l4_len);
}
// Bytes of the longest frame that it is once it leaves.
inline uint32_t wire_bytes(const rte_mbuf* frame) {
  return segmented(frame) ? header_bytes(frame) + frame->tso_segsz : frame->pkt_len;
}
inline bool vlan_tagged(const rte_mbuf* frame) {
  return rte_pktmbuf_mtod(frame, const rte_ether_hdr*)->ether_type ==
         rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN);
}

// Whether it, or each that it stands for, is longer than `bytes_max`; a VLAN tag may add 4. The
// header is looked at only when the length alone does not tell.
inline bool longer_than(const rte_mbuf* frame, uint32_t bytes_max) {
  const uint32_t bytes = wire_bytes(frame);
  if (bytes <= bytes_max) [[likely]]
    return false;
  return !vlan_tagged(frame) || bytes > bytes_max + limits::vlan_tag_bytes;
}

// Who holds a batch owns its frames: each moves on or is dropped.
template <uint32_t frames_max>
struct FrameBatchOf {
  uint32_t count = 0;
  std::array<rte_mbuf*, frames_max> mbufs;

  uint32_t room() const { return frames_max - count; }
  void push(rte_mbuf* frame) { push({&frame, 1}); }
  void push(std::span<rte_mbuf* const> frames) {
    NETBACK_CHECK(frames.size() <= room());
    std::copy(frames.begin(), frames.end(), mbufs.begin() + count);
    count += static_cast<uint32_t>(frames.size());
  }
};

// Of one turn: at its end it is empty.
using FrameBatch = FrameBatchOf<limits::frame_batch_max>;

// The one way for a frame to end that did not arrive.
template <class Counter>
void drop(rte_mbuf* frame, Counters<Counter>& counters, Counter reason) {
  counters.add(reason);
  rte_pktmbuf_free(frame);
}

}  // namespace netback
