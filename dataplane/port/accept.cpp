#include "dataplane/port/accept.hpp"

#include <rte_ethdev.h>
#include <rte_prefetch.h>

#include "dataplane/offload.hpp"

namespace netback::port {
namespace {

// A frame of which the driver says that it stands for several: it may, or it is a long one.
void keep_large(rte_mbuf* frame, uint16_t segment_bytes) {
  if (parse_headers(frame) &&
      mark_segmented(frame, RTE_ETH_IS_IPV4_HDR(frame->packet_type), segment_bytes) &&
      (!segmented(frame) || segment_count(frame) <= limits::segments_max))
    return;
  frame->ol_flags &= ~RTE_MBUF_F_RX_LRO;
  set_checksum_state(frame, RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
}

// What a driver says of a frame, brought to what forwarding expects. Drivers leave words of the
// mbuf's last life behind, and some mark frames "no checksum" that have none to fill in.
void normalise(rte_mbuf* frame, uint16_t port) {
  frame->port = port;
  const uint16_t segment_bytes = segmented(frame) ? frame->tso_segsz : 0;
  // Whose memory it is, the driver's for one, must stay: it says how the frame is freed.
  frame->ol_flags &= RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;
  if (segment_bytes != 0) [[unlikely]]
    return keep_large(frame, segment_bytes);
  if (checksum_blank(frame) && !parse_headers(frame))
    set_checksum_state(frame, RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
}

// Without a short buffer it stays where it is.
rte_mbuf* shorten(rte_mbuf* frame, const FramePool& pool) {
  rte_mbuf* copy = pool.copy_short(frame);
  if (copy == nullptr) return frame;
  rte_pktmbuf_free(frame);
  return copy;
}

// One burst; how many frames the driver gave.
uint16_t accept_burst(PortQueue& port, FrameBatch& frames, const FramePool& pool) {
  rte_mbuf** arrived = frames.mbufs.data() + frames.count;
  const uint16_t count =
      rte_eth_rx_burst(port.device, port.queue, arrived, limits::port_burst_frames);
  if (count == 0) return 0;
  uint64_t bytes = 0, segmented_frames = 0;
  for (uint16_t i = 0; i < count; ++i) rte_prefetch0(rte_pktmbuf_mtod(arrived[i], void*));
  for (uint16_t i = 0; i < count; ++i) {
    bytes += arrived[i]->pkt_len;
    // A frame whose header cannot be read goes nowhere (seed S6).
    if (arrived[i]->data_len < limits::ethernet_header_bytes) [[unlikely]] {
      drop(arrived[i], port.counters, PortCounter::port_drop_short_frames);
      continue;
    }
    if (port.can.large_buffers) arrived[i] = shorten(arrived[i], pool);
    normalise(arrived[i], port.port);
    segmented_frames += segmented(arrived[i]);
    frames.push(arrived[i]);
  }
  port.counters.add(PortCounter::port_received_frames, count);
  port.counters.add(PortCounter::port_received_bytes, bytes);
  if (segmented_frames > 0)
    port.counters.add(PortCounter::port_received_gso_frames, segmented_frames);
  return count;
}

}  // namespace

void accept(std::span<PortQueue* const> ports, FrameBatch& frames, const FramePool& pool) {
  bool more = true;
  for (uint32_t round = 0; round < limits::port_bursts_per_turn && more; ++round) {
    more = false;
    for (PortQueue* port : ports) {
      if (frames.room() < limits::port_burst_frames) return;
      if (!port->running.load(std::memory_order_acquire)) continue;
      more |= accept_burst(*port, frames, pool) == limits::port_burst_frames;
    }
  }
}

}  // namespace netback::port
