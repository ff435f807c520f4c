#include "dataplane/from_guest/collect.hpp"

#include <rte_cycles.h>

#include <algorithm>
#include <span>
#include <utility>

namespace netback::from_guest {
namespace {

// For a queue more. One that got less room than a chain needs might get no further, turn after
// turn.
bool has_room(const FromGuestBatch& batch) {
  return batch.run_count < limits::turn_runs_max &&
         limits::turn_slots_max - batch.slot_count >= limits::chain_slots_max;
}

SlotRun& add_run(FromGuestBatch& batch, GuestQueue& queue) {
  SlotRun& run = batch.runs[batch.run_count++];
  run = {};
  run.queue = &queue;
  run.first_slot = static_cast<uint16_t>(batch.slot_count);
  return run;
}

// Whether the queue's requests wait for more of them.
bool gathers(GuestQueue& queue, uint32_t available, uint64_t now, uint64_t gather_cycles) {
  if (available > 0 && available < limits::group_slots &&
      queue.last_group_slots >= limits::streaming_slots_min) {
    if (queue.gathers_until == 0) queue.gathers_until = now + gather_cycles;
    if (now < queue.gathers_until) return true;
  }
  queue.gathers_until = 0;
  return false;
}

// Whether the queue's requests wait for its vif's rate: until some of it can pass at once.
bool is_held(GuestQueue& queue, FromGuestBatch& batch) {
  const RateBudget* rate = queue.from_guest_rate.load(std::memory_order_relaxed);
  const bool was_held = std::exchange(queue.held, false);
  if (rate == nullptr) [[likely]]
    return false;
  const int64_t paid_until = rate->paid_until();
  const int64_t pause = limits::rate_pause_us * static_cast<int64_t>(rte_get_tsc_hz() / 1'000'000);
  if (batch.now > paid_until && !(was_held && batch.now < paid_until + pause)) return false;
  queue.held = true;
  queue.gathers_until = 0;
  batch.held_until = std::min(batch.held_until, paid_until + pause);
  if (!was_held) queue.counters.add(QueueCounter::from_guest_rate_waits);
  return true;
}

// Whether the queue had anything to say.
bool collect_queue(GuestQueue& queue, uint32_t share, uint64_t now, uint64_t gather_cycles,
                   FromGuestBatch& batch) {
  const auto available = queue.from_guest.available();
  if (!available) [[unlikely]] {
    SlotRun& run = add_run(batch, queue);
    run.violation = Violation::impossible_producer;
    run.violation_slot = queue.from_guest.next_slot();
    return true;
  }
  if (*available > 0 && is_held(queue, batch)) return true;
  if (gathers(queue, *available, now, gather_cycles)) {
    batch.gathering = true;
    return true;
  }
  if (*available == 0) return false;
  const uint32_t count = std::min({*available, share, limits::turn_slots_max - batch.slot_count});
  SlotRun& run = add_run(batch, queue);
  queue.from_guest.copy_out(0, std::span(&batch.slots[batch.slot_count], count));
  batch.slot_count += count;
  queue.last_group_slots = count;
  run.slot_count = static_cast<uint16_t>(count);
  run.ends_at_producer = count == *available;
  return true;
}

// One vif's turn: its queues one after the other, until they have had the vif's share or the batch
// has no room for a whole chain. Whether one of them is to be parked.
bool collect_vif(GuestQueue& first, uint32_t share, uint64_t now, uint64_t gather_cycles,
                 FromGuestBatch& batch) {
  bool some_idle = false;
  GuestQueue* queue = &first;
  do {
    const uint32_t before = batch.slot_count;
    const bool had_requests =
        queue->takes_frames() && collect_queue(*queue, share, now, gather_cycles, batch);
    some_idle |= QueueSet::note(*queue, had_requests);
    share -= batch.slot_count - before;
    queue = &QueueSet::Hot::next(*queue);
  } while (queue != &first && share >= limits::chain_slots_max && has_room(batch));
  return some_idle;
}

// Whether the vif lets the others go first: so it makes up for work that its frames made beyond
// their slots.
bool makes_up(GuestQueue& vif, uint32_t share) {
  if (vif.debt_slots < share) [[likely]]
    return false;
  vif.debt_slots -= share;
  return true;
}

bool wants(GuestQueue& first) {
  GuestQueue* queue = &first;
  do {
    if (queue->takes_frames() && queue->from_guest.available().value_or(1) > 0) return true;
    queue = &QueueSet::Hot::next(*queue);
  } while (queue != &first);
  return false;
}

// Nobody waits for those that make up for something: of these the one that owes least has the turn,
// and all are forgiven what it owed. Null: none of them wants it.
GuestQueue* forgive(const std::vector<GuestQueue*>& hot) {
  GuestQueue* next = nullptr;
  uint32_t least = UINT32_MAX;
  for (GuestQueue* queue : hot) {
    const uint32_t owed = queue->first_of_vif().debt_slots;
    if (owed >= least || !wants(*queue)) continue;
    least = owed;
    next = queue;
  }
  if (next == nullptr) return nullptr;
  for (GuestQueue* queue : hot) {
    uint32_t& owed = queue->first_of_vif().debt_slots;
    owed -= std::min(owed, least);
  }
  return next;
}

// The queues that come first next time, as this turn had no room for them: their requests are here
// by then. Of others nothing is fetched: the guest may be writing to those lines.
void prefetch_first(std::span<GuestQueue* const> hot, size_t first, uint32_t share) {
  for (size_t i = 0; i < limits::turn_slots_max / share; ++i)
    hot[(first + i) % hot.size()]->from_guest.prefetch(share);
}

}  // namespace

// Outline: if a look is due, parked queues with requests become hot; then each vif with hot queues
// once, starting after the one that was served first last time, until the batch is full; empty ones
// park after a while. Turns are shared by work: a vif whose frames make more of it than its slots
// say is passed over for that, while others have requests.
void collect(QueueSet& queues, FromGuestBatch& batch, uint64_t now, uint64_t gather_cycles) {
  batch.clear();
  batch.now = static_cast<int64_t>(now);
  queues.look_at_parked(now);
  const auto& hot = queues.hot();
  if (hot.empty()) return;
  const auto vif_count = static_cast<uint32_t>(hot.size());
  const uint32_t share = std::max(limits::turn_slots_max / vif_count, limits::vif_share_slots_min);
  uint32_t at = queues.cursor() % vif_count;
  uint32_t next_start = at + 1;
  bool some_idle = false;
  bool some_wait = false;
  if (vif_count == 1) hot[0]->first_of_vif().debt_slots = 0;
  for (uint32_t looked = 0; looked < vif_count; ++looked) {
    if (!has_room(batch)) {
      next_start = at;  // who was not looked at now comes first next time
      prefetch_first(hot, at, share);
      break;
    }
    if (makes_up(hot[at]->first_of_vif(), share)) [[unlikely]] {
      some_wait = true;
    } else {
      some_idle |= collect_vif(*hot[at], share, now, gather_cycles, batch);
      queues.turn(at);
    }
    at = (at + 1) % vif_count;
  }
  if (some_wait && batch.run_count == 0)
    if (GuestQueue* queue = forgive(hot))
      some_idle |= collect_vif(*queue, share, now, gather_cycles, batch);
  if (some_idle) queues.park_idle();
  queues.cursor() = next_start;
}

}  // namespace netback::from_guest
