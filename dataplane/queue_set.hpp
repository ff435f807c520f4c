// Which guest queues a turn looks at: every hot one, and now and then a few parked ones. A thousand
// idle vifs must not slow one busy vif, and each look misses the cache and the TLB.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/vif_places.hpp"

namespace netback {

class QueueSet {
 public:
  struct Parked {
    GuestQueue* queue;
    FromGuestRing::Watch requests;
  };

  QueueSet();

  void add(GuestQueue& queue);     // starts hot
  void remove(GuestQueue& queue);  // harmless when it is not here

  // Moves those of the next parked queues that have requests to the hot ones, at most every
  // limits::parked_look_interval_us. `now`: TSC.
  void look_at_parked(uint64_t now);
  // The same at once, when none are hot and the turn that ends moved no frames, whoever's: nobody
  // waits for it meanwhile, and a turn with frames finds it done. Whether some became hot: the next
  // turn has work.
  bool end_turn(bool moved, uint64_t now);
  // `action` with every hot queue.
  template <class Action>
  void each_hot(Action action) const {
    hot_.each(action);
  }
  // Makes those parked queues hot of which it is true.
  template <class Condition>
  void unpark_if(Condition condition) {
    std::erase_if(parked_, [&](const Parked& parked) {
      if (!condition(*parked.queue)) return false;
      make_hot(*parked.queue);
      return true;
    });
  }
  // Notes how collect found a queue. True: it has had limits::empty_turns_before_parking empty
  // turns and is to be parked, once the turn has looked at the others.
  static bool note(GuestQueue& queue, bool had_requests);
  // Parks those that are due. Changes the order of the hot ones: never between two looks of a turn.
  void park_idle();

  // A place for each vif with hot queues.
  const std::vector<GuestQueue*>& hot() const { return hot_.places(); }
  using Hot = VifPlaces<&GuestQueue::hot>;
  // At its vif's next turn another queue comes first.
  void turn(size_t place) { hot_.turn(place); }
  const std::vector<Parked>& parked() const { return parked_; }
  // The place at which the next turn starts, so that none is always first.
  uint32_t& cursor() { return cursor_; }

 private:
  void look(uint64_t now);
  void make_hot(GuestQueue& queue) {
    queue.empty_turns = 0;
    hot_.add(queue);
  }

  Hot hot_;
  std::vector<Parked> parked_;
  const uint64_t look_interval_;  // TSC
  uint64_t last_look_ = 0;        // TSC
  uint32_t next_parked_ = 0;
  uint32_t cursor_ = 0;
};

}  // namespace netback
