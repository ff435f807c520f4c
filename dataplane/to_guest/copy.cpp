#include "dataplane/to_guest/copy.hpp"

#include <rte_cycles.h>

#include <algorithm>

#include "dataplane/offload.hpp"

namespace netback::to_guest {
namespace {

// Plans one slot: the next `bytes` bytes of the chain to the guest's page, from `offset` on.
bool plan_slot(CopyPlan& plan, uint32_t reference, uint32_t offset, const rte_mbuf*& piece,
               uint32_t& at, uint32_t bytes) {
  const uint32_t end = offset + bytes;
  while (offset < end) {
    if (at == piece->data_len) {
      piece = piece->next;
      at = 0;
      continue;
    }
    const uint32_t here = std::min(end - offset, uint32_t{piece->data_len} - at);
    if (!plan.add(reference, offset, rte_pktmbuf_mtod_offset(piece, uint8_t*, at), here))
      return false;
    at += here;
    offset += here;
  }
  return true;
}

void plan_long(ToGuestBatch& batch, Delivery& delivery) {
  const rte_mbuf* piece = delivery.frame;
  uint32_t at = 0;
  const auto plan = [&](uint32_t reference, uint32_t offset, uint32_t bytes) {
    return plan_slot(batch.copies, reference, offset, piece, at, bytes);
  };
  delivery.bad_reference = !plan_slots(batch, delivery, plan);
}

// Most frames are one buffer for one slot.
bool is_short(const Delivery& delivery) {
  return delivery.slot_count == 1 && delivery.frame->nb_segs == 1;
}

void plan_delivery(ToGuestBatch& batch, Delivery& delivery) {
  delivery.first_copy = static_cast<uint16_t>(batch.copies.count());
  if (is_short(delivery)) [[likely]] {
    auto* bytes = rte_pktmbuf_mtod(delivery.frame, uint8_t*);
    const netif::ToGuestRequest& slot = batch.slots[delivery.first_slot];
    if (delivery.queue->settings->reads_offsets() &&
        delivery.frame->data_len <= spread_frame_bytes_max)
      delivery.begin_line = slot.id % begin_lines;  // a buffer's lines are always the same ones
    delivery.bad_reference =
        !batch.copies.add(slot.gref, delivery.offset(0), bytes, delivery.frame->data_len);
  } else {
    plan_long(batch, delivery);
  }
  delivery.copy_count = static_cast<uint16_t>(batch.copies.count() - delivery.first_copy);
}

// A guest that does not fill in checksums gets them filled in.
void settle_checksum(rte_mbuf* frame, const VifSettings& settings) {
  if (checksum_blank(frame) && !takes_blank(settings, frame)) complete_checksum(frame);
}

// The most copies a frame can take: a cut at the end of each slot, each piece, each local page.
uint32_t copies_for(const rte_mbuf* frame, uint32_t slots) {
  return slots * 2 + frame->nb_segs * 2;
}

[[gnu::always_inline]] inline Delivery make_delivery(GuestQueue& queue, rte_mbuf* frame,
                                                     uint16_t headroom, uint32_t slots_max) {
  const auto hash = hash_for(queue, frame);
  const uint32_t aligned_slots = aligned_slots_for(frame, hash.has_value(), headroom);
  const bool aligned = aligned_slots > 0 && aligned_slots <= slots_max &&
                       queue.staging == nullptr &&  // whose copies cost no operation
                       queue.settings->reads_offsets();
  const uint32_t slots = aligned ? aligned_slots : slots_for(frame, hash.has_value(), headroom);
  return {.queue = &queue,
          .frame = frame,
          .first_slot = 0,
          .slot_count = static_cast<uint16_t>(slots),
          .first_copy = 0,
          .copy_count = 0,
          .headroom = headroom,
          .bad_reference = false,
          .aligned = aligned,
          .begin_line = 0,
          .hash_type = hash ? hash->type : Delivery::no_hash,
          .hash_value = hash ? hash->value : 0};
}

// Adds a delivery for each frame of the backlog from number `frame` on for which there are slots
// and, with the worst of cuts, room; the number of slots that they take.
uint32_t choose_frames(GuestQueue& queue, uint32_t frame, uint16_t headroom, uint32_t slots_max,
                       ToGuestBatch& batch) {
  uint32_t room = batch.copies.room(), taken = 0;
  for (; frame < queue.backlog.count(); ++frame) {
    rte_mbuf* mbuf = queue.backlog.at(frame);
    Delivery delivery = make_delivery(queue, mbuf, headroom, slots_max - taken);
    const uint32_t copies = copies_for(mbuf, delivery.slot_count);
    if (taken + delivery.slot_count > slots_max || copies > room) break;
    settle_checksum(mbuf, *queue.settings);
    delivery.first_slot = static_cast<uint16_t>(batch.slot_count + taken);
    batch.deliveries[batch.delivery_count++] = delivery;
    room -= copies;
    taken += delivery.slot_count;
  }
  return taken;
}

// Outline: which frames; their slots, all copied out of the ring at once, so that its cache lines
// come from the guest's core together; where each goes. Cuts are rarely the worst: what room is
// left then is for more frames.
uint32_t plan_queue(GuestQueue& queue, uint32_t share, uint32_t posted, ToGuestBatch& batch) {
  const uint32_t slots_max =
      std::min({posted, share, limits::turn_to_guest_slots_max - batch.slot_count});
  const uint32_t first = batch.delivery_count;
  const uint16_t headroom = xdp_headroom(queue);  // the same for the whole turn
  uint32_t taken = 0, next = first;
  while (const uint32_t slots =
             choose_frames(queue, next - first, headroom, slots_max - taken, batch)) {
    queue.to_guest.copy_out(taken, std::span(&batch.slots[batch.slot_count], slots));
    batch.slot_count += slots;
    taken += slots;
    for (; next < batch.delivery_count; ++next) plan_delivery(batch, batch.deliveries[next]);
  }
  return taken;
}

// Plans up to `share` slots of a queue; how many it took.
uint32_t take_slots(GuestQueue& queue, uint32_t share, ToGuestBatch& batch) {
  const auto posted = queue.to_guest.available();
  if (!posted) [[unlikely]] {
    if (batch.violator_count < batch.violators.size())
      batch.violators[batch.violator_count++] = {&queue, queue.to_guest.next_slot()};
    return 0;
  }
  if (*posted == 0) return 0;
  batch.copies.begin_vif(queue.domain, queue.staging);
  const uint32_t staged_before = batch.copies.staged();
  const uint32_t taken = plan_queue(queue, share, *posted, batch);
  queue.to_guest.take(taken);
  if (const uint32_t staged = batch.copies.staged() - staged_before; staged > 0)
    queue.counters.add(QueueCounter::to_guest_staged_copies, staged);
  return taken;
}

// One vif's turn: its backlogged queues one after the other, until they have had the vif's share.
void plan_vif(GuestQueue& first, ToGuestBatch& batch) {
  uint32_t share = limits::vif_to_guest_slots_max;
  GuestQueue* queue = &first;
  do {
    share -= take_slots(*queue, share, batch);
    queue = &Backlogged::next(*queue);
  } while (queue != &first && share > 0);
}

}  // namespace

Delivery delivery_of(GuestQueue& queue, rte_mbuf* frame, uint32_t slots_max) {
  return make_delivery(queue, frame, xdp_headroom(queue), slots_max);
}

bool takes_blank(const VifSettings& settings, const rte_mbuf* frame) {
  const bool ipv4 = RTE_ETH_IS_IPV4_HDR(frame->packet_type);
  return (ipv4 ? settings.takes_blank_ipv4 : settings.takes_blank_ipv6) && !vlan_tagged(frame);
}

void count_copies(const ToGuestBatch& batch, uint32_t calls, WorkerCounters& counters) {
  uint32_t slots = 0;
  for (uint32_t d = 0; d < batch.delivery_count; ++d)
    if (batch.deliveries[d].copy_count > 0) slots += batch.deliveries[d].slot_count;
  counters.add(WorkerCounter::worker_to_guest_copy_calls, calls);
  counters.add(WorkerCounter::worker_to_guest_copy_slots, slots);
  const GuestQueue* counted = nullptr;
  for (uint32_t d = 0; d < batch.delivery_count; ++d) {
    GuestQueue* queue = batch.deliveries[d].queue;
    if (queue == counted || batch.deliveries[d].copy_count == 0) continue;
    counted = queue;
    queue->counters.add(QueueCounter::to_guest_copy_calls, calls);
    queue->counters.add(QueueCounter::to_guest_copy_slots, slots);
  }
}

void copy(Backlogged& backlogged, ToGuestBatch& batch, Grants& grants, WorkerCounters& counters) {
  batch.clear();
  if (backlogged.empty()) return;
  for (size_t i = 0; i < backlogged.size(); ++i) {
    if (batch.slot_count == limits::turn_to_guest_slots_max) break;
    const size_t place = (batch.cursor + i) % backlogged.size();
    plan_vif(*backlogged.places()[place], batch);
    backlogged.turn(place);
  }
  ++batch.cursor;
  const uint32_t calls = batch.copies.run(grants);
  if (calls > 0) count_copies(batch, calls, counters);
}

void drop_stalled(const Backlogged& backlogged, uint64_t now) {
  const uint64_t cycles_per_ms = rte_get_tsc_hz() / 1000;
  backlogged.each([&](GuestQueue& queue) {
    if (queue.backlog.count() == 0 ||
        now - queue.backlog_since < queue.settings->stall_ms * cycles_per_ms)
      return;
    queue.backlog.clear([&](rte_mbuf* frame) {
      drop(frame, queue.counters, QueueCounter::to_guest_drop_stalled_frames);
    });
    queue.stalled.store(true, std::memory_order_relaxed);
  });
}

}  // namespace netback::to_guest
