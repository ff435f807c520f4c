#include "dataplane/from_guest/chain.hpp"

#include <algorithm>

namespace netback::from_guest {
namespace {

// Whole pages follow what the first buffer has, which ends with a page.
constexpr uint32_t large_end = RTE_PKTMBUF_HEADROOM + FramePool::large_buffer_bytes;
constexpr uint32_t large_next_offset = FramePool::large_pages_offset;
constexpr uint32_t large_next_bytes = large_end - large_next_offset;
static_assert(large_next_bytes % netif::page_bytes == 0);
static_assert(large_next_offset >= headroom_min);

}  // namespace

Chain short_chain(const GuestFrame& frame) {
  return {buffers_wanted(frame), RTE_PKTMBUF_HEADROOM, RTE_PKTMBUF_HEADROOM,
          RTE_PKTMBUF_HEADROOM + FramePool::buffer_bytes};
}

Chain large_chain(const FromGuestBatch& batch, const GuestFrame& frame) {
  const auto& second = batch.slots[frame.first_slot + 1U + frame.extra_count].request;
  uint32_t offset = FramePool::large_pages_offset +
                    (second.offset - first_slot_bytes(batch, frame)) % netif::page_bytes;
  if (offset >= netif::page_bytes + headroom_min) offset -= netif::page_bytes;
  offset &= ~1U;  // headers are read where they lie
  const uint32_t first_bytes = std::min<uint32_t>(frame.bytes, large_end - offset);
  const uint32_t further = (frame.bytes - first_bytes + large_next_bytes - 1) / large_next_bytes;
  return {1 + further, offset, large_next_offset, large_end};
}

rte_mbuf* make_chain(rte_mbuf* const* buffers, const Chain& chain, uint16_t source,
                     uint32_t bytes) {
  uint32_t left = bytes;
  for (uint32_t i = 0; i < chain.count; ++i) {
    const uint32_t offset = i == 0 ? chain.first_offset : chain.next_offset;
    const uint32_t here = std::min(left, chain.end - offset);
    FramePool::begin_frame(buffers[i], source, static_cast<uint16_t>(here));
    buffers[i]->data_off = static_cast<uint16_t>(offset);
    if (i > 0) buffers[i - 1]->next = buffers[i];
    left -= here;
  }
  buffers[0]->pkt_len = bytes;
  buffers[0]->nb_segs = static_cast<uint16_t>(chain.count);
  return buffers[0];
}

}  // namespace netback::from_guest
