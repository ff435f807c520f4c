#include "dataplane/forward.hpp"

#include <rte_byteorder.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "dataplane/offload.hpp"

namespace netback {
namespace {

// Where a frame comes from and goes to. Neighbours often have both in common: forwarding decides
// once for a row of them.
struct Way {
  uint16_t source;       // mbuf->port
  uint64_t destination;  // the address, in the low 48 bits
  bool operator==(const Way&) const = default;
};

Way way_of(const rte_mbuf* frame) {
  uint64_t head;  // of the Ethernet header: the destination comes first
  std::memcpy(&head, rte_pktmbuf_mtod(frame, const void*), sizeof head);
  return {frame->port, rte_le_to_cpu_64(head) & 0xffff'ffff'ffff};
}

size_t row_length(std::span<rte_mbuf* const> frames) {
  const Way way = way_of(frames[0]);
  size_t length = 1;
  while (length < frames.size() && way_of(frames[length]) == way) ++length;
  return length;
}

// One turn's forwarding.
class Forwarding {
 public:
  Forwarding(const ForwardTable& table, const FramePool& pool, std::vector<GuestQueue*>& backlogged,
             uint64_t now)
      : table_(table), pool_(pool), backlogged_(backlogged), now_(now) {}

  // Frames of one source and one destination.
  void forward(std::span<rte_mbuf*> row) {
    const rte_mbuf* first = row[0];
    const ForwardTable::Segment* segment =
        from_vif(first) ? table_.segment_of_vif(source_vif(first)) : table_.segment(first->port);
    if (segment == nullptr)  // its vif or port is in no table
      return rte_pktmbuf_free_bulk(row.data(), static_cast<uint32_t>(row.size()));
    const auto& to = rte_pktmbuf_mtod(first, const rte_ether_hdr*)->dst_addr;
    if (rte_is_multicast_ether_addr(&to)) {
      for (rte_mbuf* frame : row) flood(*segment, frame);
      return;
    }
    GuestQueue* const owner = table_.find(segment->port->port, to);
    if (owner == nullptr && !from_vif(first)) {
      for (rte_mbuf* frame : row) stray(*segment, frame);
      return;
    }
    if (!segment->unfiltered.empty())
      for (rte_mbuf* frame : row) show_unfiltered(*segment, frame, owner);
    if (owner != nullptr) return to_owner(*owner, row);
    to_port(*segment->port, row);
  }

 private:
  GuestQueue* sender(const rte_mbuf* frame) const {
    return from_vif(frame) ? table_.queue_of_vif(source_vif(frame)) : nullptr;
  }

  void to_owner(GuestQueue& owner, std::span<rte_mbuf* const> row) {
    if (&owner != sender(row[0])) return to_backlog(owner, row);
    for (rte_mbuf* frame : row)
      drop(frame, owner.counters, QueueCounter::from_guest_drop_to_sender_frames);
  }

  // Broadcast and multicast: the port and all other vifs.
  void flood(const ForwardTable::Segment& segment, rte_mbuf* frame) {
    const bool port_too = from_vif(frame);
    // What is shared cannot be changed any more: fill in the checksum while it is ours alone.
    if (checksum_blank(frame)) complete_checksum(frame);
    for (GuestQueue* queue : segment.vifs)
      if (queue != sender(frame)) to_backlog(*queue, share(frame));
    if (port_too) return to_port(*segment.port, {&frame, 1});
    rte_pktmbuf_free(frame);
  }

  // From the port, for nobody's address: those that see everything take it, the last one the frame
  // itself.
  void stray(const ForwardTable::Segment& segment, rte_mbuf* frame) {
    const auto& takers = segment.unfiltered;
    if (takers.empty())
      return drop(frame, segment.port->counters, PortCounter::port_drop_no_destination_frames);
    if (takers.size() > 1 && checksum_blank(frame)) complete_checksum(frame);
    for (size_t i = 0; i + 1 < takers.size(); ++i) to_backlog(*takers[i], share(frame));
    to_backlog(*takers.back(), frame);
  }

  // Vifs that see everything get frames that are not theirs as well.
  void show_unfiltered(const ForwardTable::Segment& segment, rte_mbuf* frame,
                       const GuestQueue* owner) {
    for (GuestQueue* queue : segment.unfiltered) {
      if (queue == sender(frame) || queue == owner) continue;
      if (checksum_blank(frame)) complete_checksum(frame);
      to_backlog(*queue, share(frame));
    }
  }

  static rte_mbuf* share(rte_mbuf* frame) {
    rte_pktmbuf_refcnt_update(frame, 1);
    return frame;
  }

  // Sent, or dropped and counted, by transmit.
  void to_port(PortQueue& port, std::span<rte_mbuf* const> row) { port.outgoing.push(row); }

  void to_backlog(GuestQueue& queue, rte_mbuf* frame) { to_backlog(queue, {&frame, 1}); }

  void to_backlog(GuestQueue& queue, std::span<rte_mbuf* const> row) {
    const uint32_t frames_max = backlog_max(queue);
    const uint32_t before = queue.backlog.count();
    for (rte_mbuf* frame : row) {
      if (too_long(queue, frame)) [[unlikely]]
        drop(frame, queue.counters, QueueCounter::to_guest_drop_too_long_frames);
      else if (queue.quarantined) [[unlikely]]
        drop(frame, queue.counters, QueueCounter::to_guest_drop_detached_frames);
      else if (queue.backlog.count() >= frames_max)
        drop(frame, queue.counters, QueueCounter::to_guest_drop_backlog_full_frames);
      else
        queue.backlog.push(frame);
    }
    if (queue.backlog.count() == before) return;
    if (before == 0) queue.backlog_since = now_;
    if (queue.in_backlogged) return;
    queue.in_backlogged = true;
    backlogged_.push_back(&queue);
  }

  // Without feature-sg the guest takes one slot a frame: a page.
  static bool too_long(const GuestQueue& queue, const rte_mbuf* frame) {
    const VifSettings& settings = *queue.settings;
    if (frame->pkt_len > netif::page_bytes && !settings.takes_chains) return true;
    if (frame->pkt_len <= settings.frame_bytes_max) return false;
    const auto* ethernet = rte_pktmbuf_mtod(frame, const rte_ether_hdr*);
    const bool tagged = ethernet->ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN);
    return !tagged || frame->pkt_len > settings.frame_bytes_max + limits::vlan_tag_bytes;
  }

  // Dead guests share what is free and never starve the living (design 4.7).
  uint32_t backlog_max(const GuestQueue& queue) {
    if (free_buffers_ == unknown) free_buffers_ = pool_.free_buffers_here();
    return std::min(
        {queue.settings->backlog_frames_max, limits::backlog_frames_max, free_buffers_ / 2});
  }

  static constexpr uint32_t unknown = UINT32_MAX;
  const ForwardTable& table_;
  const FramePool& pool_;
  std::vector<GuestQueue*>& backlogged_;
  const uint64_t now_;
  uint32_t free_buffers_ = unknown;  // asked once a turn, and only when a frame waits
};

}  // namespace

void forward(const ForwardTable& table, FrameBatch& frames, const FramePool& pool,
             std::vector<GuestQueue*>& backlogged, uint64_t now) {
  Forwarding turn(table, pool, backlogged, now);
  std::span<rte_mbuf*> left(frames.mbufs.data(), frames.count);
  while (!left.empty()) {
    const size_t length = row_length(left);
    turn.forward(left.first(length));
    left = left.subspan(length);
  }
  frames.count = 0;
}

}  // namespace netback
