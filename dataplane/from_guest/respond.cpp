#include "dataplane/from_guest/respond.hpp"

#include <algorithm>

namespace netback::from_guest {
namespace {

int16_t status_of(const GuestFrame& frame) {
  return frame.good() || frame.asks_for_groups() ? NETIF_RSP_OKAY : NETIF_RSP_ERROR;
}

// What the extra info of a request asks for, in its order (Linux: of an ADD and a DEL in one
// request only the ADD). Refused as a whole when one of its groups is; the others are joined all
// the same.
void amend_groups(const GuestQueue& queue, std::span<const FromGuestSlot> extras,
                  GuestFrame& request) {
  for (const FromGuestSlot& slot : extras) {
    rte_ether_addr group;
    std::copy_n(slot.extra.u.mcast.addr, RTE_ETHER_ADDR_LEN, group.addr_bytes);
    if (slot.extra.type == XEN_NETIF_EXTRA_TYPE_MCAST_DEL) {
      if (queue.multicast != nullptr) queue.multicast->leave(group);
    } else if (slot.extra.type == XEN_NETIF_EXTRA_TYPE_MCAST_ADD) {
      if (queue.multicast == nullptr || !queue.multicast->join(group))
        request.verdict = QueueCounter::from_guest_multicast_refused;
    }
  }
}

void answer_frame(GuestQueue& queue, const FromGuestBatch& batch, const GuestFrame& frame) {
  const FromGuestSlot* slots = &batch.slots[frame.first_slot];
  const int16_t status = status_of(frame);
  if (frame.slot_count == 1) [[likely]]
    return queue.from_guest.answer({.id = slots[0].request.id, .status = status});
  for (uint32_t i = 0; i < frame.slot_count; ++i) {
    const bool extra = i >= 1 && i <= frame.extra_count;
    netif::FromGuestResponse response{};
    response.id = extra ? 0 : slots[i].request.id;
    response.status = extra ? int16_t{NETIF_RSP_NULL} : status;
    queue.from_guest.answer(response);
  }
}

void answer_run(const SlotRun& run, FromGuestBatch& batch) {
  GuestQueue& queue = *run.queue;
  uint32_t extras = 0;
  for (uint32_t f = run.first_frame; f < uint32_t{run.first_frame} + run.frame_count; ++f) {
    GuestFrame& frame = batch.frames[f];
    if (frame.asks_for_groups()) [[unlikely]]
      amend_groups(queue, {&batch.slots[frame.first_slot + 1u], frame.extra_count}, frame);
    answer_frame(queue, batch, frame);
    if (!frame.good()) queue.counters.add(frame.verdict);
    extras += frame.extra_count;
  }
  queue.counters.add(QueueCounter::from_guest_slots, run.taken_slots);
  queue.counters.add(QueueCounter::from_guest_extra_slots, extras);
  NETBACK_CHECK(queue.from_guest.unanswered() == 0);
}

}  // namespace

void publish(GuestQueue& queue, EventChannels& events) {
  if (queue.from_guest.unpublished() == 0 || !queue.from_guest.publish()) return;
  queue.counters.add(QueueCounter::from_guest_notifications);
  events.notify(queue.from_guest_port);
}

void respond(FromGuestBatch& batch, std::vector<GuestQueue*>& holding, EventChannels& events) {
  for (uint32_t r = 0; r < batch.run_count; ++r) {
    const SlotRun& run = batch.runs[r];
    if (run.taken_slots == 0) continue;
    if (run.queue->from_guest.unpublished() == 0) holding.push_back(run.queue);
    answer_run(run, batch);
    run.queue->answered_this_turn = true;
    run.queue->large_this_turn =
        run.taken_slots >= uint32_t{run.frame_count} * limits::large_frame_slots;
  }
  std::erase_if(holding, [&](GuestQueue* queue) {
    const bool more_comes =
        queue->answered_this_turn || (queue->gathers_until != 0 && queue->takes_frames());
    const bool held = more_comes && !queue->large_this_turn &&
                      queue->from_guest.unpublished() < limits::held_answers_max;
    queue->answered_this_turn = false;
    queue->large_this_turn = false;
    if (!held) publish(*queue, events);
    return !held;
  });
}

}  // namespace netback::from_guest
