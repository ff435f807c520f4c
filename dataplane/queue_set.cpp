#include "dataplane/queue_set.hpp"

#include <algorithm>

namespace netback {
namespace {

// Order does not matter in either list.
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

void QueueSet::add(GuestQueue& queue) {
  NETBACK_CHECK(hot_.size() + parked_.size() < limits::vifs_max);
  make_hot(queue);
}

void QueueSet::remove(GuestQueue& queue) {
  erase(hot_, queue);
  erase(parked_, queue);
}

void QueueSet::look_at_parked() {
  for (uint32_t i = 0; i < limits::parked_looks_per_turn && !parked_.empty(); ++i) {
    if (++next_parked_ >= parked_.size()) next_parked_ = 0;
    GuestQueue* queue = parked_[next_parked_];
    if (!has_requests(*queue)) continue;
    erase(parked_, *queue);
    make_hot(*queue);
  }
}

bool QueueSet::note(GuestQueue& queue, bool had_requests) {
  queue.empty_turns = had_requests ? 0 : queue.empty_turns + 1;
  return queue.empty_turns >= limits::empty_turns_before_parking;
}

void QueueSet::park_idle() {
  std::erase_if(hot_, [&](GuestQueue* queue) {
    if (queue->empty_turns < limits::empty_turns_before_parking) return false;
    parked_.push_back(queue);
    return true;
  });
}

}  // namespace netback
