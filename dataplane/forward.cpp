#include "dataplane/forward.hpp"

#include <rte_byteorder.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "dataplane/backlogs.hpp"
#include "dataplane/departures.hpp"
#include "dataplane/direct.hpp"
#include "dataplane/offload.hpp"
#include "dataplane/queue_choice.hpp"
#include "dataplane/segment.hpp"

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

// Of frames from another worker. What goes to a crowd goes by itself.
bool same_way(const Crossing& one, const Crossing& other) {
  if (one.to != other.to || one.table != other.table) return false;
  if (one.to == Crossing::To::vif) return one.vif == other.vif;
  return one.to == Crossing::To::port && one.frame->port == other.frame->port;
}

// One turn's forwarding. A vif is known by its first queue, until one of them is chosen.
class Forwarding {
 public:
  Forwarding(const ForwardTable& table, const FramePool& pool, Backlogged& backlogged, uint64_t now,
             CrossingEnd* crossing)
      : table_(table),
        pool_(pool),
        backlogs_(pool, backlogged, now),
        elsewhere_(table, pool, crossing) {}

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
    GuestQueue* const owner = table_.find(*segment, to);
    if (owner == nullptr && !from_vif(first)) {
      for (rte_mbuf* frame : row) stray(*segment, frame);
      return;
    }
    if (!segment->unfiltered.empty())
      for (rte_mbuf* frame : row) show(segment->unfiltered, frame, owner);
    if (owner == nullptr) return to_port(*segment->port, row);
    if (segment->unfiltered.empty()) note_stream(*owner, row);
    to_owner(*owner, row);
  }

  // Frames from another worker, all on the way of the first one.
  void arrive(const Crossing& first, std::span<rte_mbuf*> row, WorkerCounters& counters) {
    const auto to = first.to;
    const bool found = to == Crossing::To::vif    ? arrive_at_vif(first, row)
                       : to == Crossing::To::port ? arrive_at_port(first, row)
                                                  : arrive_at_crowd(first);
    if (found) return;
    counters.add(WorkerCounter::worker_drop_gone_frames, row.size());
    rte_pktmbuf_free_bulk(row.data(), static_cast<uint32_t>(row.size()));
  }

  // What goes to other workers is on its way after this.
  void send() { elsewhere_.send(); }

  uint64_t relayed_bytes() const { return relayed_bytes_; }

 private:
  bool arrive_at_vif(const Crossing& crossing, std::span<rte_mbuf* const> row) {
    GuestQueue* owner = table_.queue_of_vif(crossing.vif, crossing.table);
    if (owner == nullptr || !elsewhere_.is_here(owner->worker)) return false;
    note_relayed(row);
    to_vif(*owner, row);
    return true;
  }

  bool arrive_at_port(const Crossing& crossing, std::span<rte_mbuf* const> row) {
    const ForwardTable::Segment* segment = source_segment(crossing);
    if (segment == nullptr) return false;
    to_port(*segment->port, row);
    return true;
  }

  bool arrive_at_crowd(const Crossing& crossing) {
    const ForwardTable::Segment* segment = source_segment(crossing);
    if (segment != nullptr && crossing.vlan != 0)
      segment = segment->vlans.empty() ? nullptr : segment->vlans[crossing.vlan];
    if (segment == nullptr) return false;
    const bool all = crossing.to == Crossing::To::all;
    show_here(all ? segment->vifs : segment->unfiltered, crossing.frame,
              table_.queue_of_vif(crossing.vif));
    rte_pktmbuf_free(crossing.frame);
    return true;
  }

  // Where a frame from another worker comes from; nullptr when its sender has left meanwhile.
  const ForwardTable::Segment* source_segment(const Crossing& crossing) const {
    const rte_mbuf* frame = crossing.frame;
    if (!from_vif(frame)) return table_.segment(frame->port);
    const uint16_t vif = source_vif(frame);
    if (table_.queue_of_vif(vif, crossing.table) == nullptr) return nullptr;
    return table_.segment_of_vif(vif);
  }

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
        drop(frame, owner, elsewhere_.worker(), QueueCounter::to_guest_drop_no_buffer_frames);
        return nullptr;
      }
      rte_pktmbuf_free(std::exchange(frame, copy));
    }
    strip_vlan(frame);
    return frame;
  }

  // Shows it to vifs of its VLAN: a copy, as the tag stays in the frame itself.
  void show_stripped(const ForwardTable::Crowd& crowd, rte_mbuf* frame, const GuestQueue* owner) {
    const auto takes = [&](const GuestQueue* queue) {
      return queue != sender(frame) && queue != owner;
    };
    const auto some_take = [&](const auto& takers) { return std::ranges::any_of(takers, takes); };
    if (std::ranges::none_of(crowd.by_worker, some_take)) return;
    rte_mbuf* copy = rte_pktmbuf_copy(frame, pool_.mempool(), 0, UINT32_MAX);
    if (copy == nullptr) {
      for (const auto& takers : crowd.by_worker)
        for (GuestQueue* queue : takers)
          if (takes(queue))
            count_drop(*queue, elsewhere_.worker(), QueueCounter::to_guest_drop_no_buffer_frames);
      return;
    }
    strip_vlan(copy);
    show(crowd, copy, owner);
    rte_pktmbuf_free(copy);
  }

  GuestQueue* sender(const rte_mbuf* frame) const {
    return from_vif(frame) ? table_.queue_of_vif(source_vif(frame)) : nullptr;
  }

  void to_owner(GuestQueue& owner, std::span<rte_mbuf* const> row) {
    if (&owner != sender(row[0])) {
      note_relayed(row);
      return to_vif(owner, row);
    }
    GuestQueue& source = *table_.source(row[0]);
    for (rte_mbuf* frame : row)
      drop(frame, source.counters, QueueCounter::from_guest_drop_to_sender_frames);
  }

  // What is for one vif alone: of that a stream is.
  void note_relayed(std::span<rte_mbuf* const> row) {
    if (!from_vif(row[0])) return;
    for (const rte_mbuf* frame : row) relayed_bytes_ += frame->pkt_len;
  }

  // Whether the next ones may go directly (direct).
  void note_stream(GuestQueue& owner, std::span<rte_mbuf* const> row) {
    if (!from_vif(row[0])) return;
    const auto large = std::ranges::find_if(row, segmented);
    if (large == row.end()) [[likely]]
      return;
    GuestQueue& source = *table_.source(row[0]);
    if (source.direct_after > 0) {
      --source.direct_after;
      return;
    }
    source.streams_to_guest = elsewhere_.is_here(owner.worker) &&
                              may_go_directly(source, choose_queue(owner, *large), *large);
  }

  // Broadcast and multicast: the port and all other vifs; but a group's frames only those that take
  // all groups, or have joined it.
  void flood(const ForwardTable::Segment& segment, rte_mbuf* frame) {
    show(segment.vifs, frame, nullptr);
    if (from_vif(frame)) return to_port(*segment.port, {&frame, 1});
    rte_pktmbuf_free(frame);
  }

  // From the port, for nobody's address: those that see everything take it, the last one here the
  // frame itself.
  void stray(const ForwardTable::Segment& segment, rte_mbuf* frame) {
    if (segment.unfiltered.empty())
      return drop(frame, elsewhere_.pair_here(*segment.port).counters,
                  PortCounter::port_drop_no_destination_frames);
    const auto here = segment.unfiltered.of(elsewhere_.worker());
    GuestQueue* const last = here.empty() ? nullptr : here.back();
    show(segment.unfiltered, frame, last);
    if (last == nullptr) return rte_pktmbuf_free(frame);
    to_vif(*last, {&frame, 1});
  }

  // All of the crowd but the sender and `owner` get it too.
  void show(const ForwardTable::Crowd& crowd, rte_mbuf* frame, const GuestQueue* owner) {
    if (const size_t takers = elsewhere_.show(crowd, frame, owner); takers > 0) [[unlikely]]
      charge_sender(frame, takers);
    show_here(crowd, frame, owner);
  }

  // What is shared cannot be changed any more: its checksum is filled in while it is ours alone,
  // and of one that stands for several they get those, as copies; the frame itself is for `owner`
  // or the port as it was.
  void show_here(const ForwardTable::Crowd& crowd, rte_mbuf* frame, const GuestQueue* owner) {
    if (segmented(frame)) [[unlikely]]
      return show_cut(crowd, frame, owner);
    for (GuestQueue* queue : crowd.of(elsewhere_.worker())) {
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

  void show_cut(const ForwardTable::Crowd& crowd, const rte_mbuf* frame, const GuestQueue* owner) {
    const auto takers = crowd.of(elsewhere_.worker());
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
      show_here(crowd, part, owner);
      rte_pktmbuf_free(part);
    }
  }

  static rte_mbuf* share(rte_mbuf* frame) {
    rte_pktmbuf_refcnt_update(frame, 1);
    return frame;
  }

  // Sent, or dropped and counted, by transmit. A vif's frames leave by its worker's pair alone, so
  // that they stay in order.
  void to_port(PortQueue& port, std::span<rte_mbuf* const> row) {
    if (elsewhere_.is_here(port.worker)) [[likely]]
      return port.outgoing.push(row);
    PortQueue& pair = elsewhere_.pair_here(port);
    if (!elsewhere_.is_here(pair.worker)) return elsewhere_.to_port(pair, row);
    pair.outgoing.push(row);
  }

  // Rows that go to one queue are short when flows take turns, and long when one flow streams.
  void to_vif(GuestQueue& first, std::span<rte_mbuf* const> row) {
    charge_sender(row[0], row.size());
    if (!elsewhere_.is_here(first.worker)) [[unlikely]]
      return elsewhere_.to_vif(first, row);
    if (first.siblings.size() <= 1) [[likely]]
      return join(first, row);
    while (!row.empty()) {
      GuestQueue& queue = choose_queue(first, row[0]);
      size_t length = 1;
      while (length < row.size() && &choose_queue(first, row[length]) == &queue) ++length;
      join(queue, row.first(length));
      row = row.subspan(length);
    }
  }

  // `row` may be gone afterwards.
  void join(GuestQueue& queue, std::span<rte_mbuf* const> row) {
    GuestQueue* const vif = sender(row[0]);
    const uint32_t segments = backlogs_.join(queue, row);
    if (segments > 0) [[unlikely]]
      charge(vif, segments);
  }

  // What its frames make of work beyond their slots, wherever it is done. One of another worker
  // owes it there.
  void charge_sender(const rte_mbuf* frame, size_t slots) const { charge(sender(frame), slots); }
  void charge(GuestQueue* vif, size_t slots) const {
    if (vif != nullptr && elsewhere_.is_here(vif->worker))
      vif->debt_slots += static_cast<uint32_t>(slots);
  }

  const ForwardTable& table_;
  const FramePool& pool_;
  Backlogs backlogs_;
  Departures elsewhere_;
  uint64_t relayed_bytes_ = 0;
};

}  // namespace

Forwarded forward(const ForwardTable& table, FrameBatch& frames, const FramePool& pool,
                  Backlogged& backlogged, uint64_t now, CrossingEnd* crossing) {
  Forwarding turn(table, pool, backlogged, now, crossing);
  std::span<rte_mbuf*> left(frames.mbufs.data(), frames.count);
  while (!left.empty()) {
    const size_t length = row_length(left);
    turn.forward(left.first(length));
    left = left.subspan(length);
  }
  turn.send();
  return {std::exchange(frames.count, 0), turn.relayed_bytes()};
}

Forwarded forward_crossed(const ForwardTable& table, CrossingEnd& crossing, const FramePool& pool,
                          Backlogged& backlogged, uint64_t now, WorkerCounters& counters) {
  std::span<const Crossing> left = crossing.take();
  if (left.empty()) return {};
  const size_t count = left.size();
  counters.add(WorkerCounter::worker_crossed_frames, count);
  Forwarding turn(table, pool, backlogged, now, &crossing);
  std::array<rte_mbuf*, limits::turn_crossings_max> row;
  while (!left.empty()) {
    const Crossing& first = left[0];
    size_t length = 0;
    do row[length] = left[length].frame;
    while (++length < left.size() && same_way(first, left[length]));
    turn.arrive(first, {row.data(), length}, counters);
    left = left.subspan(length);
  }
  return {count, turn.relayed_bytes()};
}

}  // namespace netback
