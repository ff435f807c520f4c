#include "dataplane/queue_set.hpp"

#include <rte_cycles.h>

#include <algorithm>

namespace netback {

QueueSet::QueueSet()
    : look_interval_(limits::parked_look_interval_us * (rte_get_tsc_hz() / 1'000'000)) {
  hot_.reserve(limits::vifs_max);
  parked_.reserve(limits::queues_max);
}

void QueueSet::add(GuestQueue& queue) {
  NETBACK_CHECK(hot_.size() + parked_.size() < limits::queues_max);
  make_hot(queue);
}

void QueueSet::remove(GuestQueue& queue) {
  hot_.remove(queue);
  const auto at = std::ranges::find(parked_, &queue, &Parked::queue);
  if (at == parked_.end()) return;
  *at = parked_.back();
  parked_.pop_back();
}

void QueueSet::look_at_parked(uint64_t now) {
  if (now - last_look_ >= look_interval_) look(now);
}

bool QueueSet::end_turn(bool moved, uint64_t now) {
  if (moved || !hot_.empty()) return false;
  look(now);
  return !hot_.empty();
}

void QueueSet::look(uint64_t now) {
  last_look_ = now;
  const size_t share =
      (parked_.size() + limits::parked_look_rounds - 1) / limits::parked_look_rounds;
  const size_t looks = std::min<size_t>(
      std::clamp<size_t>(share, limits::parked_looks_min, limits::parked_looks_max),
      parked_.size());
  for (size_t i = 0; i < looks; ++i) {
    if (next_parked_ >= parked_.size()) next_parked_ = 0;
    const Parked parked = parked_[next_parked_];
    if (!parked.requests.sees_some()) {
      ++next_parked_;
      continue;
    }
    parked_[next_parked_] = parked_.back();  // the next one to look at
    parked_.pop_back();
    make_hot(*parked.queue);
  }
}

bool QueueSet::note(GuestQueue& queue, bool had_requests) {
  queue.empty_turns = had_requests ? 0 : queue.empty_turns + 1;
  return queue.empty_turns >= limits::empty_turns_before_parking;
}

void QueueSet::park_idle() {
  hot_.remove_if([&](GuestQueue& queue) {
    if (queue.empty_turns < limits::empty_turns_before_parking) return false;
    parked_.push_back({&queue, queue.from_guest.watch()});
    return true;
  });
}

}  // namespace netback
