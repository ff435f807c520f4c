// What passes through forwarding: an Ethernet frame in an rte_mbuf, and nothing else. netif's flags
// are kept in DPDK's own words:
//   csum_blank      RX_L4_CKSUM_NONE (data fine, checksum not filled in), l2/l3/l4_len, packet_type
//   data_validated  RX_L4_CKSUM_GOOD
//   came from       mbuf->port: a port below limits::ports_max, a vif from there on
#pragma once

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
  return frame->port - limits::ports_max;
}
inline uint16_t source_of_vif(uint16_t vif) {
  return vif + limits::ports_max;
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

// Who holds a batch owns its frames: by the turn's end each has moved on or was dropped.
struct FrameBatch {
  uint32_t count = 0;
  std::array<rte_mbuf*, limits::frame_batch_max> mbufs;

  uint32_t room() const { return limits::frame_batch_max - count; }
  void push(rte_mbuf* frame) { push({&frame, 1}); }
  void push(std::span<rte_mbuf* const> frames) {
    NETBACK_CHECK(frames.size() <= room());
    std::copy(frames.begin(), frames.end(), mbufs.begin() + count);
    count += static_cast<uint32_t>(frames.size());
  }
};

// The one way for a frame to end that did not arrive.
template <class Counter>
void drop(rte_mbuf* frame, Counters<Counter>& counters, Counter reason) {
  counters.add(reason);
  rte_pktmbuf_free(frame);
}

}  // namespace netback
