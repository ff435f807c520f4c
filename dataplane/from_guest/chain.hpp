// How a guest's frame lies in buffers when one short buffer does not hold it.
#pragma once

#include "dataplane/from_guest/batch.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback::from_guest {

// Bytes in front of a frame for who sends it: net_virtio's header, a VLAN tag.
inline constexpr uint32_t headroom_min = 16;

struct Chain {
  uint32_t count;                      // buffers
  uint32_t first_offset, next_offset;  // of the data, in the first buffer and in all others
  uint32_t end;                        // of a whole buffer's data
};

// From three short buffers on.
inline bool wants_large(const GuestFrame& frame) {
  return frame.good() && frame.bytes > 2 * FramePool::buffer_bytes;
}

// Bytes of its first slot, whose size field is that of the whole frame (netif.h).
inline uint32_t first_slot_bytes(const FromGuestBatch& batch, const GuestFrame& frame) {
  uint32_t bytes = frame.bytes;
  for (uint32_t i = 1 + frame.extra_count; i < frame.slot_count; ++i)
    bytes -= batch.slots[frame.first_slot + i].request.size;
  return bytes;
}

Chain short_chain(const GuestFrame& frame);

// Of a frame that wants large buffers: its second slot goes to the same place in a page of ours as
// it has in the guest's, or a byte before it. Further slots mostly begin and end with pages, after
// a first one with headers: then each is one operation for the hypervisor, otherwise two.
Chain large_chain(const FromGuestBatch& batch, const GuestFrame& frame);

// A frame of `bytes` bytes, to be filled in, of the buffers at `buffers`.
rte_mbuf* make_chain(rte_mbuf* const* buffers, const Chain& chain, uint16_t source, uint32_t bytes);

}  // namespace netback::from_guest
