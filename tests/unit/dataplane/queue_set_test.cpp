// Hot and parked queues.
#include "dataplane/queue_set.hpp"

#include <rte_cycles.h>

#include <algorithm>

#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Set {
  QueueSet set;
  std::vector<std::unique_ptr<TestGuest>> guests;
  uint64_t now = 0;

  explicit Set(uint32_t count) {
    FakeXen::instance().reset();
    for (uint32_t i = 0; i < count; ++i) {
      guests.push_back(std::make_unique<TestGuest>(static_cast<uint16_t>(i)));
      set.add(*guests.back()->queue);
    }
  }
  GuestQueue& queue(uint32_t i) { return *guests[i]->queue; }
  void park_all() {
    for (auto& guest : guests)
      while (!QueueSet::note(*guest->queue, false)) {
      }
    set.park_idle();
  }
  // A look that is due.
  void look() {
    now += limits::parked_look_interval_us * (rte_get_tsc_hz() / 1'000'000);
    set.look_at_parked(now);
  }
  bool hot(uint32_t i) {
    return std::find(set.hot().begin(), set.hot().end(), &queue(i)) != set.hot().end();
  }
  void put(uint32_t i) {
    guests[i]->put_slot(1, 60);
    guests[i]->from_guest.push();
  }
};

}  // namespace

TEST_CASE("queue set: a new queue is hot") {
  Set s(1);
  CHECK(s.set.hot().size() == 1);
  CHECK(s.set.parked().empty());
}

TEST_CASE("queue set: a queue parks after 1000 empty turns in a row") {
  Set s(1);
  for (int i = 0; i < 999; ++i) CHECK_FALSE(QueueSet::note(s.queue(0), false));
  CHECK_FALSE(QueueSet::note(s.queue(0), true));  // a request: from the start
  for (int i = 0; i < 999; ++i) CHECK_FALSE(QueueSet::note(s.queue(0), false));
  s.set.park_idle();
  CHECK(s.set.hot().size() == 1);
  CHECK(QueueSet::note(s.queue(0), false));
  s.set.park_idle();
  CHECK(s.set.hot().empty());
  CHECK(s.set.parked().size() == 1);
}

TEST_CASE("queue set: a parked queue with requests becomes hot, with a clean record") {
  Set s(2);
  s.park_all();
  s.look();
  CHECK(s.set.hot().empty());
  s.put(1);
  s.look();
  CHECK(s.hot(1));
  CHECK_FALSE(s.hot(0));
  CHECK(s.queue(1).empty_turns == 0);
  CHECK(s.set.parked().size() == 1);
}

TEST_CASE("queue set: a parked queue with an impossible producer becomes hot") {
  Set s(1);
  s.park_all();
  s.guests[0]->from_guest.req_prod() = 257;
  s.look();
  CHECK(s.hot(0));
}

TEST_CASE("queue set: a queue that parked before is watched from where it parks again") {
  Set s(1);
  for (int time = 0; time < 2; ++time) {
    s.park_all();
    s.look();
    CHECK(s.set.hot().empty());
    s.put(0);
    s.look();
    REQUIRE(s.hot(0));
    s.queue(0).from_guest.take(1);
  }
}

TEST_CASE("queue set: a queue that parks with requests, as nobody takes them, is found with them") {
  Set s(1);
  s.put(0);
  s.park_all();
  s.look();
  CHECK(s.hot(0));
}

TEST_CASE("queue set: of many parked queues it looks at a sixteenth at once, at most at 64") {
  for (const auto& [parked, looked_at] : {std::pair{305u, 20u}, {1100u, 64u}}) {
    Set s(parked);
    s.park_all();
    for (uint32_t i = 0; i < parked; ++i) s.put(i);
    s.look();
    CHECK(s.set.hot().size() == looked_at);
  }
}

TEST_CASE("queue set: looks at 16 parked queues at once and at all in time") {
  Set s(40);
  s.park_all();
  for (uint32_t i = 0; i < 40; ++i) s.put(i);
  s.look();
  CHECK(s.set.hot().size() == 16);
  s.look();
  CHECK(s.set.hot().size() == 32);
  s.look();
  CHECK(s.set.hot().size() == 40);
}

TEST_CASE("queue set: between two looks it takes its time, however many turns there are") {
  Set s(40);
  s.park_all();
  for (uint32_t i = 0; i < 40; ++i) s.put(i);
  s.look();
  for (int turn = 0; turn < 100; ++turn) s.set.look_at_parked(s.now);
  CHECK(s.set.hot().size() == 16);
}

TEST_CASE("queue set: with nothing hot it takes its time too, while turns move frames") {
  Set s(40);
  s.park_all();
  s.put(39);
  s.look();
  for (int turn = 0; turn < 100; ++turn) {
    s.set.look_at_parked(s.now);
    s.set.end_turn(true, s.now);
  }
  CHECK_FALSE(s.hot(39));
}

TEST_CASE("queue set: with nothing hot every turn that moves nothing ends with a look") {
  Set s(40);
  s.park_all();
  s.put(39);
  for (int turn = 0; turn < 2; ++turn) CHECK_FALSE(s.set.end_turn(false, s.now));
  CHECK(s.set.hot().empty());
  CHECK(s.set.end_turn(false, s.now));
  CHECK(s.hot(39));
}

TEST_CASE("queue set: with a hot queue a turn that moves nothing ends without a look") {
  Set s(2);
  s.park_all();
  s.put(0);
  s.look();
  REQUIRE(s.hot(0));
  s.put(1);
  CHECK_FALSE(s.set.end_turn(false, s.now));
  CHECK_FALSE(s.hot(1));
}

TEST_CASE("queue set: a turn soon after one that ended with a look begins without") {
  Set s(40);
  s.park_all();
  s.now += limits::parked_look_interval_us * (rte_get_tsc_hz() / 1'000'000);
  s.set.end_turn(false, s.now);  // at the first 16
  s.put(20);
  s.set.look_at_parked(s.now);
  CHECK_FALSE(s.hot(20));
  s.look();
  CHECK(s.hot(20));
}

TEST_CASE("queue set: one parked queue among many is found within a round") {
  Set s(100);
  s.park_all();
  s.put(57);
  int turns = 0;
  while (!s.hot(57)) {
    s.look();
    REQUIRE(++turns <= 7);  // of 16
  }
}

TEST_CASE("queue set: a queue that takes the place of one with requests is looked at too") {
  Set s(4);
  s.park_all();
  for (const uint32_t i : {0, 2, 3}) s.put(i);
  s.look();
  REQUIRE(s.set.parked().size() == 1);
  CHECK(s.set.parked()[0].queue == &s.queue(1));
}

TEST_CASE("queue set: the others stay parked, and are found, when one is removed") {
  Set s(3);
  s.park_all();
  s.set.remove(s.queue(0));
  REQUIRE(s.set.parked().size() == 2);
  for (const uint32_t i : {0, 1, 2}) s.put(i);
  s.look();
  CHECK_FALSE(s.hot(0));
  CHECK(s.hot(1));
  CHECK(s.hot(2));
}

TEST_CASE("queue set: removes from either list, and what is not there") {
  Set s(3);
  while (!QueueSet::note(s.queue(0), false)) {
  }
  s.set.park_idle();
  s.set.remove(s.queue(0));
  s.set.remove(s.queue(1));
  s.set.remove(s.queue(1));
  CHECK(s.set.parked().empty());
  CHECK(s.set.hot() == std::vector<GuestQueue*>{&s.queue(2)});
  s.look();
}
