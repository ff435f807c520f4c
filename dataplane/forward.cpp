#include "dataplane/forward.hpp"

#include <rte_byteorder.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "dataplane/offload.hpp"
#include "dataplane/queue_choice.hpp"
#include "dataplane/segment.hpp"
#include "dataplane/to_guest/batch.hpp"

namespace netback {
namespace {

// Where a frame comes from and goes to. Neighbours often have both in common: forwarding decides
// once for a row of them.
struct Way {
  uint16_t source;       // mbuf->port
  uint64_t destination;  // the address, in the low 48 bits
  bool operator==(const Way&) const = default;
};

uint64_t destination_of(const rte_mbuf* frame) {
  uint64_t head;  // of the Ethernet header: the destination comes first
  std::memcpy(&head, rte_pktmbuf_mtod(frame, const void*), sizeof head);
  return rte_le_to_cpu_64(head) & 0xffff'ffff'ffff;
}

Way way_of(const rte_mbuf* frame) {
  return {frame->port, destination_of(frame)};
}

size_t row_length(std::span<rte_mbuf* const> frames) {
  const Way way = way_of(frames[0]);
  size_t length = 1;
  while (length < frames.size() && way_of(frames[length]) == way) ++length;
  return length;
}

// One turn's forwarding. A vif is known by its first queue, until one of them is chosen.
class Forwarding {
 public:
  Forwarding(const ForwardTable& table, const FramePool& pool, Backlogged& backlogged, uint64_t now)
      : table_(table), pool_(pool), backlogged_(backlogged), now_(now) {}

  // Frames of one source and one destination.
  void forward(std::span<rte_mbuf*> row) {
    const rte_mbuf* first = row[0];
    const ForwardTable::Segment* segment =
        from_vif(first) ? table_.segment_of_vif(source_vif(first)) : table_.segment(first->port);
    if (segment == nullptr)  // its vif or port is in no table
      return rte_pktmbuf_free_bulk(row.data(), static_cast<uint32_t>(row.size()));
    if (!segment->vlans.empty()) [[unlikely]] {
      for (rte_mbuf* frame : row) with_vlans(*segment, frame);
      return;
    }
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
      for (rte_mbuf* frame : row) show(segment->unfiltered, frame, owner);
    if (owner != nullptr) return to_owner(*owner, row);
    to_port(*segment->port, row);
  }

 private:
  // On a port some of whose vifs are on VLANs. Those of the frame's get it without the tag, the
  // port and the vifs on no VLAN as it is.
  void with_vlans(const ForwardTable::Segment& port, rte_mbuf* frame) {
    const ForwardTable::Segment* vlan = port.vlans[vlan_of(frame)];
    const auto& to = rte_pktmbuf_mtod(frame, const rte_ether_hdr*)->dst_addr;
    if (rte_is_multicast_ether_addr(&to)) {
      if (vlan != nullptr) show_stripped(vlan->vifs, frame, nullptr);
      return flood(port, frame);
    }
    GuestQueue* const within = vlan != nullptr ? table_.find(*vlan, to) : nullptr;
    GuestQueue* const owner = within != nullptr ? within : table_.find(port, to);
    if (vlan != nullptr) show_stripped(vlan->unfiltered, frame, owner);
    if (owner == nullptr && !from_vif(frame)) {
      const bool seen = vlan != nullptr && !vlan->unfiltered.empty();
      return seen && port.unfiltered.empty() ? rte_pktmbuf_free(frame) : stray(port, frame);
    }
    show(port.unfiltered, frame, owner);
    if (owner == nullptr) return to_port(*port.port, {&frame, 1});
    if (within != nullptr && (frame = stripped(frame, *within)) == nullptr) return;
    to_owner(*owner, {&frame, 1});
  }

  // The frame without its tag, or a copy if others have it, too. Null: it was dropped.
  rte_mbuf* stripped(rte_mbuf* frame, GuestQueue& owner) {
    if (rte_mbuf_refcnt_read(frame) > 1) {
      rte_mbuf* copy = rte_pktmbuf_copy(frame, pool_.mempool(), 0, UINT32_MAX);
      if (copy == nullptr) {
        drop(frame, owner.counters, QueueCounter::to_guest_drop_no_buffer_frames);
        return nullptr;
      }
      rte_pktmbuf_free(std::exchange(frame, copy));
    }
    strip_vlan(frame);
    return frame;
  }

  // Shows it to vifs of its VLAN: a copy, as the tag stays in the frame itself.
  void show_stripped(std::span<GuestQueue* const> takers, rte_mbuf* frame,
                     const GuestQueue* owner) {
    const auto takes = [&](const GuestQueue* queue) {
      return queue != sender(frame) && queue != owner;
    };
    if (std::ranges::none_of(takers, takes)) return;
    rte_mbuf* copy = rte_pktmbuf_copy(frame, pool_.mempool(), 0, UINT32_MAX);
    if (copy == nullptr) {
      for (GuestQueue* queue : takers)
        if (takes(queue)) queue->counters.add(QueueCounter::to_guest_drop_no_buffer_frames);
      return;
    }
    strip_vlan(copy);
    show(takers, copy, owner);
    rte_pktmbuf_free(copy);
  }

  GuestQueue* sender(const rte_mbuf* frame) const {
    return from_vif(frame) ? table_.queue_of_vif(source_vif(frame)) : nullptr;
  }

  void to_owner(GuestQueue& owner, std::span<rte_mbuf* const> row) {
    if (&owner != sender(row[0])) return to_vif(owner, row);
    GuestQueue& source = *table_.source(row[0]);
    for (rte_mbuf* frame : row)
      drop(frame, source.counters, QueueCounter::from_guest_drop_to_sender_frames);
  }

  // Broadcast and multicast: the port and all other vifs; but a group's frames only those that take
  // all groups, or have joined it.
  void flood(const ForwardTable::Segment& segment, rte_mbuf* frame) {
    show(segment.vifs, frame, nullptr);
    if (from_vif(frame)) return to_port(*segment.port, {&frame, 1});
    rte_pktmbuf_free(frame);
  }

  // From the port, for nobody's address: those that see everything take it, the last one the frame
  // itself.
  void stray(const ForwardTable::Segment& segment, rte_mbuf* frame) {
    const auto& takers = segment.unfiltered;
    if (takers.empty())
      return drop(frame, segment.port->counters, PortCounter::port_drop_no_destination_frames);
    show(takers, frame, takers.back());
    to_vif(*takers.back(), {&frame, 1});
  }

  // All of `takers` but the sender and `owner` get it too. What is shared cannot be changed any
  // more: its checksum is filled in while it is ours alone, and of one that stands for several they
  // get those, as copies; the frame itself is for `owner` or the port as it was.
  void show(std::span<GuestQueue* const> takers, rte_mbuf* frame, const GuestQueue* owner) {
    if (segmented(frame)) [[unlikely]]
      return show_cut(takers, frame, owner);
    for (GuestQueue* queue : takers) {
      if (queue == sender(frame) || queue == owner) continue;
      if (!takes_group_of(*queue, frame)) {
        queue->counters.add(QueueCounter::to_guest_multicast_filtered_frames);
        continue;
      }
      if (checksum_blank(frame)) complete_checksum(frame);
      rte_mbuf* shared = share(frame);
      to_vif(*queue, {&shared, 1});
    }
  }

  // Whether its guest has joined the frame's group, if it says which it joins.
  static bool takes_group_of(const GuestQueue& queue, const rte_mbuf* frame) {
    return queue.multicast == nullptr || queue.multicast->takes(destination_of(frame));
  }

  void show_cut(std::span<GuestQueue* const> takers, const rte_mbuf* frame,
                const GuestQueue* owner) {
    const auto takes = [&](const GuestQueue* queue) {
      return queue != sender(frame) && queue != owner && takes_group_of(*queue, frame);
    };
    if (std::ranges::none_of(takers, takes)) return;
    Segments segments;
    const auto parts = cut(frame, pool_, segments);
    charge_sender(frame, parts.size());
    for (GuestQueue* queue : takers)
      if (takes(queue))
        choose_queue(*queue, frame)
            .counters.add(parts.empty() ? QueueCounter::to_guest_drop_no_buffer_frames
                                        : QueueCounter::to_guest_cut_frames);
    for (rte_mbuf* part : parts) {
      show(takers, part, owner);
      rte_pktmbuf_free(part);
    }
  }

  static rte_mbuf* share(rte_mbuf* frame) {
    rte_pktmbuf_refcnt_update(frame, 1);
    return frame;
  }

  // Sent, or dropped and counted, by transmit.
  void to_port(PortQueue& port, std::span<rte_mbuf* const> row) { port.outgoing.push(row); }

  // Rows that go to one queue are short when flows take turns, and long when one flow streams.
  void to_vif(GuestQueue& first, std::span<rte_mbuf* const> row) {
    if (first.siblings.size() <= 1) [[likely]]
      return to_backlog(first, row);
    while (!row.empty()) {
      GuestQueue& queue = choose_queue(first, row[0]);
      size_t length = 1;
      while (length < row.size() && &choose_queue(first, row[length]) == &queue) ++length;
      to_backlog(queue, row.first(length));
      row = row.subspan(length);
    }
  }

  // What its frames make of work beyond their slots.
  void charge_sender(const rte_mbuf* frame, size_t slots) const {
    if (GuestQueue* vif = sender(frame)) vif->debt_slots += static_cast<uint32_t>(slots);
  }

  void to_backlog(GuestQueue& queue, std::span<rte_mbuf* const> row) {
    charge_sender(row[0], row.size());
    const BacklogRoom room = backlog_room(queue);
    const uint32_t before = queue.backlog.count();
    for (rte_mbuf* frame : row) {
      if (segmented(frame) && !takes_segmented(*queue.settings, frame)) [[unlikely]]
        cut_to_backlog(queue, frame, room);
      else
        join_backlog(queue, frame, refusal_or_rate(queue, frame, room));
    }
    if (queue.backlog.count() == before) return;
    if (before == 0) queue.backlog_since = now_;
    if (queue.in_backlogged) return;
    backlogged_.add(queue);
  }

  struct BacklogRoom {
    uint32_t frames, buffers;  // it joins while the backlog holds fewer of both
    bool in(const Backlog& backlog) const {
      return backlog.count() < frames && backlog.buffers() < buffers;
    }
  };

  // Why the queue takes none of the frame; to_guest_frames: it takes it.
  static QueueCounter refusal(const GuestQueue& queue, const rte_mbuf* frame,
                              const BacklogRoom& room) {
    if (too_long(queue, frame)) [[unlikely]]
      return QueueCounter::to_guest_drop_too_long_frames;
    if (queue.quarantined) [[unlikely]]
      return QueueCounter::to_guest_drop_detached_frames;
    if (!room.in(queue.backlog)) return QueueCounter::to_guest_drop_backlog_full_frames;
    return QueueCounter::to_guest_frames;
  }

  // The same, of a frame that is to be paid for.
  QueueCounter refusal_or_rate(GuestQueue& queue, const rte_mbuf* frame, const BacklogRoom& room) {
    const QueueCounter verdict = refusal(queue, frame, room);
    RateBudget* rate = queue.to_guest_rate.load(std::memory_order_relaxed);
    if (rate == nullptr || verdict != QueueCounter::to_guest_frames) [[likely]]
      return verdict;
    return rate->take(frame->pkt_len, static_cast<int64_t>(now_))
               ? verdict
               : QueueCounter::to_guest_drop_rate_frames;
  }

  static void join_backlog(GuestQueue& queue, rte_mbuf* frame, QueueCounter verdict) {
    if (verdict != QueueCounter::to_guest_frames) return drop(frame, queue.counters, verdict);
    queue.backlog.push(frame);
  }

  // For a guest that does not segment. Nothing is cut for one that takes none of it; it is paid for
  // whole.
  void cut_to_backlog(GuestQueue& queue, rte_mbuf* frame, const BacklogRoom& room) {
    const QueueCounter verdict = refusal_or_rate(queue, frame, room);
    if (verdict != QueueCounter::to_guest_frames) return drop(frame, queue.counters, verdict);
    Segments segments;
    const auto parts = cut(frame, pool_, segments);
    if (parts.empty())
      return drop(frame, queue.counters, QueueCounter::to_guest_drop_no_buffer_frames);
    charge_sender(frame, parts.size());
    rte_pktmbuf_free(frame);
    queue.counters.add(QueueCounter::to_guest_cut_frames);
    for (rte_mbuf* part : parts) join_backlog(queue, part, refusal(queue, part, room));
  }

  // None takes it with a VLAN tag, as none takes a blank checksum there (to_guest/copy).
  static bool takes_segmented(const VifSettings& settings, const rte_mbuf* frame) {
    if (vlan_tagged(frame)) return false;
    return RTE_ETH_IS_IPV4_HDR(frame->packet_type) ? settings.takes_gso_tcpv4
                                                   : settings.takes_gso_tcpv6;
  }

  // Without feature-sg the guest takes one slot a frame: a page.
  static bool too_long(const GuestQueue& queue, const rte_mbuf* frame) {
    const VifSettings& settings = *queue.settings;
    if (!settings.takes_chains && wire_bytes(frame) > netif::page_bytes - xdp_headroom(queue))
      return true;
    return longer_than(frame, settings.frame_bytes_max);
  }

  // Dead guests share what is free and never starve the living (design 4.7).
  BacklogRoom backlog_room(const GuestQueue& queue) {
    if (free_buffers_ == unknown) free_buffers_ = pool_.free_buffers_here();
    const BacklogRoom vif{std::min(queue.settings->backlog_frames_max, limits::backlog_frames_max),
                          std::min(limits::backlog_buffers_max, free_buffers_ / 2)};
    if (queue.siblings.size() <= 1) [[likely]]
      return vif;
    // One frame at least: a queue without that much would never get any.
    return {std::max(1U, queue_part(queue, vif.frames, &Backlog::count)),
            queue_part(queue, vif.buffers, &Backlog::buffers)};
  }

  // What one queue of several may hold of what its vif may: of one half each has its part, so that
  // a queue that nobody empties leaves the others some; the other half is for who needs more.
  static uint32_t queue_part(const GuestQueue& queue, uint32_t vif_max,
                             uint32_t (Backlog::*held)() const) {
    const auto own = static_cast<uint32_t>(vif_max / 2 / queue.siblings.size());
    uint32_t common = vif_max / 2;
    for (const GuestQueue* other : queue.siblings) {
      if (other == &queue) continue;
      const uint32_t beyond = std::max((other->backlog.*held)(), own) - own;
      common -= std::min(common, beyond);
    }
    return own + common;
  }

  static constexpr uint32_t unknown = UINT32_MAX;
  const ForwardTable& table_;
  const FramePool& pool_;
  Backlogged& backlogged_;
  const uint64_t now_;
  uint32_t free_buffers_ = unknown;  // asked once a turn, and only when a frame waits
};

}  // namespace

void forward(const ForwardTable& table, FrameBatch& frames, const FramePool& pool,
             Backlogged& backlogged, uint64_t now) {
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
