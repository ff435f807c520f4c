#include "dataplane/worker.hpp"

#include <rte_cycles.h>

#include <algorithm>

#include "dataplane/direct.hpp"
#include "dataplane/forward.hpp"
#include "dataplane/from_guest/collect.hpp"
#include "dataplane/from_guest/decode.hpp"
#include "dataplane/from_guest/fetch.hpp"
#include "dataplane/from_guest/inspect.hpp"
#include "dataplane/from_guest/limit.hpp"
#include "dataplane/from_guest/respond.hpp"
#include "dataplane/port/accept.hpp"
#include "dataplane/port/transmit.hpp"
#include "dataplane/to_guest/copy.hpp"
#include "dataplane/to_guest/respond.hpp"

namespace netback {

Worker::Worker(const WorkerOptions& options, Mailbox& mailbox, Grants& grants,
               EventChannels& events, FramePool& pool, CrossingEnd* crossing)
    : mailbox_(mailbox),
      grants_(grants),
      events_(events),
      pool_(pool),
      crossing_(crossing),
      gather_cycles_(options.gather_us * (rte_get_tsc_hz() / 1'000'000)),
      idle_(options.spin_us, mailbox, events, crossing) {
  ports_.reserve(limits::ports_max);
  holding_.reserve(limits::queues_max);
  backlogged_.reserve(limits::vifs_max);
  drains_.reserve(limits::queues_max);
}

void Worker::run() {
  last_turn_ended_ = rte_rdtsc();
  while (!stopped_) {
    const uint64_t started = rte_rdtsc();
    const bool busy = turn();
    const uint64_t now = rte_rdtsc();
    count_turn(busy, started, now);
    idle_.after_turn(busy || expects_work(now), now, sleep_us_max(now), queues_, ports_, counters_);
  }
}

bool Worker::turn() {
  found_parked_ = false;
  take_commands();
  if (table_ == nullptr) return false;
  const uint64_t now = rte_rdtsc();

  from_guest::collect(queues_, from_guest_, now, gather_cycles_);
  from_guest::decode(from_guest_);
  from_guest::limit(from_guest_);
  if (!from_guest::fetch(from_guest_, pool_, grants_, counters_))
    counters_.add(WorkerCounter::worker_pool_empty_turns);
  Forwarded forwarded = deliver_directly(
      from_guest_, {*table_, to_guest_, backlogged_, grants_, events_, counters_, now});
  from_guest::inspect(from_guest_, frames_);
  from_guest::respond(from_guest_, holding_, events_);

  port::accept(ports_, frames_, pool_);
  forwarded += forward(*table_, frames_, pool_, backlogged_, now, crossing_);
  if (crossing_ != nullptr)
    forwarded += forward_crossed(*table_, *crossing_, pool_, backlogged_, now, counters_);
  const bool transmitted = port::transmit(ports_, *table_, pool_, now, stream_until(now));

  to_guest::copy(backlogged_, to_guest_, grants_, counters_);
  to_guest::respond(to_guest_, backlogged_, events_, now);
  to_guest::drop_stalled(backlogged_, now);

  quarantine_violators();
  finish_drains(now);
  if (forwarded.relayed_bytes >= limits::relayed_bytes_min)
    relay_polls_until_ = rte_rdtsc() + limits::relay_poll_us * (rte_get_tsc_hz() / 1'000'000);
  const bool moved = forwarded.frames > 0 || transmitted || to_guest_.delivery_count > 0 ||
                     from_guest_.frame_count > 0;
  found_parked_ = queues_.end_turn(moved, now);
  return moved;
}

bool Worker::expects_work(uint64_t now) const {
  return found_parked_ || from_guest_.gathering || now < relay_polls_until_;
}

// Until when more of the stream that this turn brought is likely to come; 0: it brought none. A
// guest whose frames took long, on a machine where all does, takes as long to have the next ready.
uint64_t Worker::stream_until(uint64_t turn_started) const {
  if (from_guest_.slot_count < limits::streaming_slots_min) return 0;
  const uint64_t now = rte_rdtsc();
  const uint64_t longest = limits::held_us_max * (rte_get_tsc_hz() / 1'000'000);
  return now + std::min(now - turn_started, longest);
}

void Worker::take_commands() {
  if (!mailbox_.has_commands()) return;
  // What ports hold belongs to the table and the queues as they are.
  if (table_ != nullptr) port::transmit(ports_, *table_, pool_);
  Command command;
  for (uint32_t i = 0; i < limits::commands_per_turn && mailbox_.next_command(command); ++i)
    if (apply(command)) mailbox_.report(Acked{command.sequence});
}

bool Worker::apply(const Command& command) {
  if (const auto* attach_queue = std::get_if<AttachQueue>(&command.what)) {
    attach(*attach_queue->queue);
  } else if (const auto* detach_queue = std::get_if<DetachQueue>(&command.what)) {
    GuestQueue& queue = *detach_queue->queue;
    if (detach_queue->drain && queue.backlog.count() > 0 && !queue.quarantined) {
      queue.draining = true;
      const uint64_t wait = limits::drain_ms * (rte_get_tsc_hz() / 1000);
      drains_.push_back({command.sequence, &queue, rte_rdtsc() + wait});
      return false;
    }
    detach(queue);
  } else if (const auto* attach_port = std::get_if<AttachPort>(&command.what)) {
    ports_.push_back(attach_port->port);
  } else if (const auto* detach_port = std::get_if<DetachPort>(&command.what)) {
    std::erase(ports_, detach_port->port);
  } else if (const auto* use_table = std::get_if<UseTable>(&command.what)) {
    table_ = use_table->table;
    queues_.each_hot([this](GuestQueue& queue) { place(queue); });
    for (const QueueSet::Parked& parked : queues_.parked()) place(*parked.queue);
  } else if (const auto* use_settings = std::get_if<UseSettings>(&command.what)) {
    use_settings->queue->settings = use_settings->settings;
  } else if (const auto* use_staging = std::get_if<UseStaging>(&command.what)) {
    use_staging->queue->staging = use_staging->table;
  } else if (const auto* use_hashing = std::get_if<UseHashing>(&command.what)) {
    use_hashing->queue->hashing = use_hashing->hashing;
  } else if (std::holds_alternative<Stop>(command.what)) {
    stopped_ = true;
  }
  return true;
}

// A vif leaves the table before its queues are detached: from then on its frames stay in the rings.
void Worker::place(GuestQueue& queue) const {
  queue.placed = table_ != nullptr && table_->queue_of_vif(queue.vif) == &queue.first_of_vif();
}

void Worker::attach(GuestQueue& queue) {
  place(queue);
  queue.backlog_since = rte_rdtsc();
  queues_.add(queue);
}

// Afterwards nothing of the queue is here, and every slot taken is answered and published.
void Worker::detach(GuestQueue& queue) {
  from_guest::publish(queue, events_);
  std::erase(holding_, &queue);
  drop_backlog(queue);
  queues_.remove(queue);
}

void Worker::drop_backlog(GuestQueue& queue) {
  queue.backlog.clear([&](rte_mbuf* frame) {
    drop(frame, queue.counters, QueueCounter::to_guest_drop_detached_frames);
  });
  backlogged_.remove(queue);
}

void Worker::finish_drains(uint64_t now) {
  std::erase_if(drains_, [&](const Drain& drain) {
    if (drain.queue->backlog.count() > 0 && !drain.queue->quarantined && now < drain.deadline)
      return false;
    detach(*drain.queue);
    mailbox_.report(Acked{drain.sequence});
    return true;
  });
}

void Worker::quarantine_violators() {
  for (uint32_t r = 0; r < from_guest_.run_count; ++r) {
    const SlotRun& run = from_guest_.runs[r];
    if (run.violation) quarantine(*run.queue, *run.violation, run.violation_slot);
  }
  for (uint32_t v = 0; v < to_guest_.violator_count; ++v)
    quarantine(*to_guest_.violators[v].queue, Violation::impossible_producer,
               to_guest_.violators[v].slot);
}

// All queues of the vif, and one report. Every taken slot is answered by now (respond ran); the
// same rings are never polled again.
void Worker::quarantine(GuestQueue& queue, Violation violation, uint32_t slot) {
  if (queue.quarantined) return;
  take_off(queue);
  for (GuestQueue* sibling : queue.siblings)
    if (sibling != &queue) take_off(*sibling);
  mailbox_.report(Quarantined{&queue, violation, slot});
}

void Worker::take_off(GuestQueue& queue) {
  queue.quarantined = true;
  detach(queue);
}

void Worker::count_turn(bool busy, uint64_t started, uint64_t ended) {
  counters_.add(WorkerCounter::worker_turns);
  counters_.add(WorkerCounter::worker_cycles, ended - last_turn_ended_);  // sleep included
  last_turn_ended_ = ended;
  if (!busy) return;
  counters_.add(WorkerCounter::worker_busy_turns);
  counters_.add(WorkerCounter::worker_busy_cycles, ended - started);
}

// With guests to serve, a stall is noticed and a lost event made up for within 10 ms. No event says
// that a vif's rate lets it go on.
uint32_t Worker::sleep_us_max(uint64_t now) const {
  uint32_t most = queues_.hot().empty() && queues_.parked().empty() ? 1'000'000 : 10'000;
  if (!drains_.empty()) most = 1'000;
  const int64_t held_until = from_guest_.held_until;
  if (held_until == std::numeric_limits<int64_t>::max()) return most;
  const int64_t cycles = std::max<int64_t>(0, held_until - static_cast<int64_t>(now));
  const auto cycles_per_us = static_cast<int64_t>(rte_get_tsc_hz() / 1'000'000);
  return static_cast<uint32_t>(std::min<int64_t>(most, cycles / cycles_per_us + 1));
}

}  // namespace netback
