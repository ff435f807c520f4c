#include "dataplane/forward.hpp"

#include <algorithm>

#include "dataplane/offload.hpp"

namespace netback {
namespace {

// One turn's forwarding.
class Forwarding {
 public:
  Forwarding(const ForwardTable& table, const FramePool& pool, std::vector<GuestQueue*>& backlogged,
             uint64_t now)
      : table_(table), pool_(pool), backlogged_(backlogged), now_(now) {}

  void forward(rte_mbuf* frame) {
    const ForwardTable::Segment* segment =
        from_vif(frame) ? table_.segment_of_vif(source_vif(frame)) : table_.segment(frame->port);
    if (segment == nullptr) {  // its vif or port is in no table
      rte_pktmbuf_free(frame);
      return;
    }
    const auto& to = rte_pktmbuf_mtod(frame, const rte_ether_hdr*)->dst_addr;
    if (rte_is_multicast_ether_addr(&to)) return flood(*segment, frame);
    GuestQueue* const owner = find_owner(segment->port->port, to);
    if (owner == nullptr && !from_vif(frame)) return stray(*segment, frame);
    if (!segment->unfiltered.empty()) show_unfiltered(*segment, frame, owner);
    if (owner != nullptr) return to_owner(*owner, frame);
    to_port(*segment->port, frame);
  }

 private:
  // Neighbours often have one destination: the table is asked once for a row of them.
  GuestQueue* find_owner(uint16_t port, const rte_ether_addr& to) {
    if (port != last_port_ || !rte_is_same_ether_addr(&to, &last_to_)) {
      last_owner_ = table_.find(port, to);
      last_port_ = port;
      last_to_ = to;
    }
    return last_owner_;
  }

  GuestQueue* sender(const rte_mbuf* frame) const {
    return from_vif(frame) ? table_.queue_of_vif(source_vif(frame)) : nullptr;
  }

  void to_owner(GuestQueue& owner, rte_mbuf* frame) {
    if (&owner == sender(frame))
      return drop(frame, owner.counters, QueueCounter::from_guest_drop_to_sender_frames);
    to_backlog(owner, frame);
  }

  // Broadcast and multicast: the port and all other vifs.
  void flood(const ForwardTable::Segment& segment, rte_mbuf* frame) {
    const bool port_too = from_vif(frame);
    // What is shared cannot be changed any more: fill in the checksum while it is ours alone.
    if (checksum_blank(frame)) complete_checksum(frame);
    for (GuestQueue* queue : segment.vifs)
      if (queue != sender(frame)) to_backlog(*queue, share(frame));
    if (port_too) return to_port(*segment.port, frame);
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
  void to_port(PortQueue& port, rte_mbuf* frame) { port.outgoing.push(frame); }

  void to_backlog(GuestQueue& queue, rte_mbuf* frame) {
    if (too_long(queue, frame)) [[unlikely]]
      return drop(frame, queue.counters, QueueCounter::to_guest_drop_too_long_frames);
    if (queue.quarantined)
      return drop(frame, queue.counters, QueueCounter::to_guest_drop_detached_frames);
    if (queue.backlog.count() >= backlog_max(queue))
      return drop(frame, queue.counters, QueueCounter::to_guest_drop_backlog_full_frames);
    if (queue.backlog.count() == 0) queue.backlog_since = now_;
    queue.backlog.push(frame);
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
  uint16_t last_port_ = UINT16_MAX;  // of the frame before: no port has this number
  rte_ether_addr last_to_{};
  GuestQueue* last_owner_ = nullptr;
  uint32_t free_buffers_ = unknown;  // asked once a turn, and only when a frame waits
};

}  // namespace

void forward(const ForwardTable& table, FrameBatch& frames, const FramePool& pool,
             std::vector<GuestQueue*>& backlogged, uint64_t now) {
  Forwarding turn(table, pool, backlogged, now);
  for (uint32_t i = 0; i < frames.count; ++i) turn.forward(frames.mbufs[i]);
  frames.count = 0;
}

}  // namespace netback
