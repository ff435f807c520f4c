#include "dataplane/port/transmit.hpp"

#include <rte_ethdev.h>
#include <rte_ip.h>

#include "dataplane/offload.hpp"
#include "dataplane/segment.hpp"

namespace netback::port {
namespace {

// At the queue that sent it; only vifs send to ports.
void drop_of_vif(rte_mbuf* frame, const PortQueue& port, const ForwardTable& table,
                 QueueCounter reason) {
  GuestQueue* queue = table.source(frame);
  NETBACK_CHECK(queue != nullptr);  // its vif was in the table when the frame was forwarded
  drop(frame, *queue, port.worker, reason);
}

// Whether the port cuts this segmented frame itself. Not with IPv6's extension headers: drivers
// take their bytes for TCP's (virtio_tso_fix_cksum).
bool port_segments(const rte_mbuf* frame, const PortQueue& port) {
  return port.can.segments && port.can.chains && frame->nb_segs <= port.can.segmented_buffers_max &&
         frame->tso_segsz >= limits::offloaded_segment_bytes_min &&
         (RTE_ETH_IS_IPV4_HDR(frame->packet_type) || frame->l3_len == sizeof(rte_ipv6_hdr));
}

// Makes `frame` one that the port cuts. Drivers finish such frames in their prepare function.
QueueCounter offload_segmentation(rte_mbuf* frame, PortQueue& port) {
  request_segmentation(frame, port.can.ipv4_checksum);
  if (rte_eth_tx_prepare(port.device, port.queue, &frame, 1) != 1)
    return QueueCounter::from_guest_drop_port_refused_frames;
  port.counters.add(PortCounter::port_gso_frames);
  return QueueCounter::from_guest_frames;
}

// Makes `frame` sendable by this port; the drop when it cannot be.
QueueCounter prepare(rte_mbuf*& frame, PortQueue& port, FramePool& pool) {
  if (longer_than(frame, port.can.frame_bytes_max))
    return QueueCounter::from_guest_drop_port_too_long_frames;
  if (segmented(frame)) [[unlikely]]
    return offload_segmentation(frame, port);
  if (checksum_blank(frame)) {
    if (port.can.checksum) {
      request_checksum(frame);
    } else {
      complete_checksum(frame);
      port.counters.add(PortCounter::port_checksums_completed);
    }
  }
  if (frame->nb_segs > 1 && !port.can.chains) {
    rte_mbuf* whole = pool.copy_short(frame);
    if (whole == nullptr) return QueueCounter::from_guest_drop_no_buffer_frames;
    rte_pktmbuf_free(frame);
    frame = whole;
  }
  return QueueCounter::from_guest_frames;
}

// What one port is sent in one turn, in order.
class Sending {
 public:
  Sending(PortQueue& port, const ForwardTable& table, FramePool& pool)
      : port_(port), table_(table), pool_(pool) {}

  // Prepares and sends `frames`; their places in the array are used for what is ready.
  void send(std::span<rte_mbuf*> frames) {
    uint32_t ready = 0;
    for (rte_mbuf* frame : frames) {
      if (segmented(frame) && !port_segments(frame, port_)) [[unlikely]] {
        burst(frames.first(ready));  // what is before it
        ready = 0;
        send_cut(frame);
        continue;
      }
      const QueueCounter verdict = prepare(frame, port_, pool_);
      if (verdict != QueueCounter::from_guest_frames)
        drop_of_vif(frame, port_, table_, verdict);
      else
        frames[ready++] = frame;
    }
    burst(frames.first(ready));
  }

 private:
  // The sender, if it is this worker's.
  void charge(const rte_mbuf* frame, size_t slots) const {
    GuestQueue* vif = table_.queue_of_vif(source_vif(frame));
    if (vif->worker == port_.worker) vif->debt_slots += static_cast<uint32_t>(slots);
  }

  void send_cut(rte_mbuf* frame) {
    if (longer_than(frame, port_.can.frame_bytes_max))
      return drop_of_vif(frame, port_, table_, QueueCounter::from_guest_drop_port_too_long_frames);
    Segments segments;
    const auto parts = cut(frame, pool_, segments);
    if (parts.empty())
      return drop_of_vif(frame, port_, table_, QueueCounter::from_guest_drop_no_buffer_frames);
    charge(frame, parts.size());
    rte_pktmbuf_free(frame);
    port_.counters.add(PortCounter::port_cut_frames);
    send(parts);  // none of them is segmented
  }

  void burst(std::span<rte_mbuf*> frames) {
    if (frames.empty()) return;
    uint64_t bytes = 0;
    for (const rte_mbuf* frame : frames) bytes += frame->pkt_len;
    const uint16_t sent = rte_eth_tx_burst(port_.device, port_.queue, frames.data(),
                                           static_cast<uint16_t>(frames.size()));
    for (rte_mbuf* frame : frames.subspan(sent)) {
      bytes -= frame->pkt_len;
      drop_of_vif(frame, port_, table_, QueueCounter::from_guest_drop_port_full_frames);
    }
    if (sent == 0) return;
    port_.counters.add(PortCounter::port_sent_frames, sent);
    port_.counters.add(PortCounter::port_sent_bytes, bytes);
    port_.counters.add(PortCounter::port_sent_bursts);
  }

  PortQueue& port_;
  const ForwardTable& table_;
  FramePool& pool_;
};

void transmit_port(PortQueue& port, const ForwardTable& table, FramePool& pool) {
  auto& batch = port.outgoing;
  const std::span frames(batch.mbufs.data(), batch.count);
  batch.count = 0;
  if (port.running.load(std::memory_order_acquire)) [[likely]]
    return Sending(port, table, pool).send(frames);
  for (rte_mbuf* frame : frames)
    drop_of_vif(frame, port, table, QueueCounter::from_guest_drop_too_early_frames);
}

// What is to be cut would be many more.
bool few(const PortQueue& port) {
  uint32_t buffers = 0;
  for (const rte_mbuf* frame : std::span(port.outgoing.mbufs.data(), port.outgoing.count)) {
    if (segmented(frame) && !port_segments(frame, port)) return false;
    buffers += frame->nb_segs;
  }
  return port.outgoing.count < limits::held_frames_max && buffers < port.can.held_buffers_max;
}

// Of a port that does not run nothing but that may be looked at.
bool holds(PortQueue& port, uint64_t now, uint64_t stream_until) {
  if (port.outgoing.count > port.held_frames) {
    ++port.held_turns;
    port.held_until = stream_until;
  }
  const bool held = now < port.held_until && port.running.load(std::memory_order_acquire) &&
                    port.held_turns <= limits::held_turns_max && few(port);
  if (!held) port.held_turns = 0;
  port.held_frames = held ? port.outgoing.count : 0;
  return held;
}

}  // namespace

bool transmit(std::span<PortQueue* const> ports, const ForwardTable& table, FramePool& pool,
              uint64_t now, uint64_t stream_until) {
  bool held = false;
  for (PortQueue* port : ports) {
    if (port->outgoing.count == 0) continue;
    if (holds(*port, now, stream_until))
      held = true;
    else
      transmit_port(*port, table, pool);
  }
  return held;
}

}  // namespace netback::port
