// Which queue of a vif a frame goes to: one flow always to the same, so that its order is kept.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "dataplane/guest_queue.hpp"

namespace netback {

// The same for all frames of a flow: addresses and protocol of IPv4 and IPv6, with the ports of TCP
// and UDP where a frame has them (a fragment has not, behind IPv6 extension headers they are not
// looked for); of other frames both Ethernet addresses. A VLAN tag is passed over. Only the first
// buffer is read.
uint32_t flow_hash(const rte_mbuf* frame);

// `first`: that of the vif. No frame of a vif with one queue is looked at. A guest that has its
// frames hashed says itself which hash comes by which queue.
inline GuestQueue& choose_queue(GuestQueue& first, const rte_mbuf* frame) {
  const uint64_t count = first.siblings.size();
  if (count <= 1) return first;
  if (first.hashing != nullptr) [[unlikely]]
    return *first.siblings[first.hashing->queue_of(frame, static_cast<uint32_t>(count))];
  return *first.siblings[flow_hash(frame) * count >> 32];
}

}  // namespace netback
