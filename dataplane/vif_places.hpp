// A list of queues in which each vif has one place, however many of its queues are in it: they take
// turns there, so that a guest gets no larger share of a turn by having more of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "dataplane/guest_queue.hpp"

namespace netback {

// `listed`: the queue's own note that it is in this list.
template <bool GuestQueue::*listed>
class VifPlaces {
 public:
  void reserve(size_t vifs) { places_.reserve(vifs); }

  // The queue is not in the list.
  void add(GuestQueue& queue) {
    const GuestQueue& other = next(queue);
    const bool vif_is_here = &other != &queue;
    queue.*listed = true;
    if (!vif_is_here) places_.push_back(&queue);
  }
  // Harmless when it is not here. The last place comes to where one gets empty.
  void remove(GuestQueue& queue) {
    queue.*listed = false;
    const auto at = std::find(places_.begin(), places_.end(), &queue);
    if (at == places_.end()) return;
    if (leave(*at)) return;
    *at = places_.back();
    places_.pop_back();
  }
  // Takes those out of which it is true; the order of the others stays.
  template <class Condition>
  void remove_if(Condition condition) {
    size_t kept = 0;
    for (GuestQueue* place : places_) {
      each_of_vif(*place, [&](GuestQueue& queue) {
        if (condition(queue)) queue.*listed = false;
      });
      if (place->*listed || leave(place)) places_[kept++] = place;
    }
    places_.resize(kept);
  }
  // `action` with every queue.
  template <class Action>
  void each(Action action) const {
    for (GuestQueue* place : places_) each_of_vif(*place, action);
  }

  // The queue after this one in its vif's place; itself when there is no other.
  static GuestQueue& next(GuestQueue& queue) {
    const size_t count = queue.siblings.size();
    for (size_t i = 1; i < count; ++i) {
      GuestQueue& other = *queue.siblings[(queue.number + i) % count];
      if (other.*listed) return other;
    }
    return queue;
  }
  // Whose turn it is at each place: the vif's other queues come after it.
  const std::vector<GuestQueue*>& places() const { return places_; }
  size_t size() const { return places_.size(); }
  bool empty() const { return places_.empty(); }
  // At the next turn the vif's next queue comes first.
  void turn(size_t place) { places_[place] = &next(*places_[place]); }

 private:
  // Hands the place of a queue that is out of the list on; false: to nobody.
  static bool leave(GuestQueue*& place) {
    GuestQueue& heir = next(*place);
    const bool handed_on = &heir != place;
    place = &heir;
    return handed_on;
  }
  template <class Action>
  static void each_of_vif(GuestQueue& first, Action action) {
    if (first.siblings.size() <= 1) return action(first);
    for (GuestQueue* queue : first.siblings)
      if (queue->*listed) action(*queue);
  }

  std::vector<GuestQueue*> places_;
};

// The queues with frames that wait for slots.
using Backlogged = VifPlaces<&GuestQueue::in_backlogged>;

}  // namespace netback
