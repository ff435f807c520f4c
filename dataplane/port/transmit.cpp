#include "dataplane/port/transmit.hpp"

#include <rte_ethdev.h>

#include "dataplane/offload.hpp"

namespace netback::port {
namespace {

// The sender's counters; only vifs send to ports.
void drop_of_vif(rte_mbuf* frame, const ForwardTable& table, QueueCounter reason) {
  GuestQueue* queue = table.queue_of_vif(source_vif(frame));
  NETBACK_CHECK(queue != nullptr);  // its vif was in the table when the frame was forwarded
  drop(frame, queue->counters, reason);
}

// One buffer with the bytes of a chain; nullptr when there is none or it is too small.
rte_mbuf* linearise(rte_mbuf* chain, FramePool& pool) {
  if (chain->pkt_len > FramePool::buffer_bytes) return nullptr;
  return rte_pktmbuf_copy(chain, pool.mempool(), 0, chain->pkt_len);
}

// Its Ethernet header is looked at only when the length alone does not tell.
bool too_long(const PortQueue& port, const rte_mbuf* frame) {
  const uint32_t frame_bytes_max = port.can.frame_bytes_max;
  if (frame->pkt_len <= frame_bytes_max) [[likely]]
    return false;
  const auto* ethernet = rte_pktmbuf_mtod(frame, const rte_ether_hdr*);
  const bool tagged = ethernet->ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN);
  return !tagged || frame->pkt_len > frame_bytes_max + limits::vlan_tag_bytes;
}

// Makes `frame` sendable by this port; the drop when it cannot be.
QueueCounter prepare(rte_mbuf*& frame, PortQueue& port, FramePool& pool) {
  if (too_long(port, frame)) return QueueCounter::from_guest_drop_port_too_long_frames;
  if (checksum_blank(frame)) {
    if (port.can.checksum) {
      request_checksum(frame);
    } else {
      complete_checksum(frame);
      port.counters.add(PortCounter::port_checksums_completed);
    }
  }
  if (frame->nb_segs > 1 && !port.can.chains) {
    rte_mbuf* whole = linearise(frame, pool);
    if (whole == nullptr) return QueueCounter::from_guest_drop_no_buffer_frames;
    rte_pktmbuf_free(frame);
    frame = whole;
  }
  return QueueCounter::from_guest_frames;
}

void transmit_port(PortQueue& port, const ForwardTable& table, FramePool& pool) {
  FrameBatch& batch = port.outgoing;
  const bool running = port.running.load(std::memory_order_acquire);
  uint16_t ready = 0;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    rte_mbuf* frame = batch.mbufs[i];
    const QueueCounter verdict =
        running ? prepare(frame, port, pool) : QueueCounter::from_guest_drop_too_early_frames;
    if (verdict != QueueCounter::from_guest_frames) {
      drop_of_vif(frame, table, verdict);
      continue;
    }
    batch.mbufs[ready++] = frame;
    bytes += frame->pkt_len;
  }
  batch.count = 0;
  if (ready == 0) return;
  const uint16_t sent = rte_eth_tx_burst(port.port, port.queue, batch.mbufs.data(), ready);
  for (uint16_t i = sent; i < ready; ++i) {
    bytes -= batch.mbufs[i]->pkt_len;
    drop_of_vif(batch.mbufs[i], table, QueueCounter::from_guest_drop_port_full_frames);
  }
  if (sent == 0) return;
  port.counters.add(PortCounter::port_sent_frames, sent);
  port.counters.add(PortCounter::port_sent_bytes, bytes);
  port.counters.add(PortCounter::port_sent_bursts);
}

}  // namespace

void transmit(std::span<PortQueue* const> ports, const ForwardTable& table, FramePool& pool) {
  for (PortQueue* port : ports)
    if (port->outgoing.count > 0) transmit_port(*port, table, pool);
}

}  // namespace netback::port
