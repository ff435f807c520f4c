#include "dataplane/queue_set.hpp"

#include <rte_cycles.h>

#include <algorithm>

namespace netback {
namespace {

// Order does not matter.
void erase(std::vector<GuestQueue*>& list, GuestQueue& queue) {
  const auto at = std::find(list.begin(), list.end(), &queue);
  if (at == list.end()) return;
  *at = list.back();
  list.pop_back();
}

bool has_requests(const GuestQueue& queue) {
  const auto available = queue.from_guest.available();
  return !available || *available > 0;  // an impossible count is for collect to report
}

}  // namespace

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
  erase(parked_, queue);
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
  const auto looks = std::min<size_t>(limits::parked_looks_at_once, parked_.size());
  for (size_t i = 0; i < looks; ++i) {
    if (next_parked_ >= parked_.size()) next_parked_ = 0;
    GuestQueue* queue = parked_[next_parked_];
    if (!has_requests(*queue)) {
      ++next_parked_;
      continue;
    }
    parked_[next_parked_] = parked_.back();  // the next one to look at
    parked_.pop_back();
    make_hot(*queue);
  }
}

bool QueueSet::note(GuestQueue& queue, bool had_requests) {
  queue.empty_turns = had_requests ? 0 : queue.empty_turns + 1;
  return queue.empty_turns >= limits::empty_turns_before_parking;
}

void QueueSet::park_idle() {
  hot_.remove_if([&](GuestQueue& queue) {
    if (queue.empty_turns < limits::empty_turns_before_parking) return false;
    parked_.push_back(&queue);
    return true;
  });
}

}  // namespace netback
