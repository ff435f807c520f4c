// Which slots a turn takes a look at, and how many.
#include "dataplane/from_guest/collect.hpp"

#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Many : FromGuestStages {
  std::vector<std::unique_ptr<TestGuest>> guests;

  explicit Many(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      guests.push_back(
          std::make_unique<TestGuest>(static_cast<uint16_t>(i), static_cast<uint16_t>(7 + i)));
      queues.add(*guests.back()->queue);
    }
  }
  void put(uint32_t guest, uint32_t slots) {
    for (uint32_t i = 0; i < slots; ++i) guests[guest]->put_slot(0, 60);
    guests[guest]->from_guest.push();
  }
  void put_chain(uint32_t guest, uint32_t slots) {
    guests[guest]->put_chain(plain_frame(60 + slots), std::vector<uint16_t>(slots, 1), 0);
    guests[guest]->from_guest.slot(guests[guest]->from_guest.produced() - slots).request.size =
        static_cast<uint16_t>(59 + slots);
    guests[guest]->from_guest.push();
  }
  void collect(uint64_t now = 0, uint64_t gather_cycles = 0) {
    from_guest::collect(queues, batch, now, gather_cycles);
  }
  // Slots that a turn at `now` collects of guest 0, and takes as the later stages would.
  uint32_t take(uint64_t now, uint64_t gather_cycles = 50) {
    collect(now, gather_cycles);
    guests[0]->queue->from_guest.take(collected(0));
    return collected(0);
  }
  // Slots collected of a guest.
  uint32_t collected(uint32_t guest) const {
    for (uint32_t r = 0; r < batch.run_count; ++r)
      if (batch.runs[r].queue == guests[guest]->queue.get()) return batch.runs[r].slot_count;
    return 0;
  }
};

}  // namespace

TEST_CASE("collect: no queues, no runs") {
  Many m(0);
  m.collect();
  CHECK(m.batch.run_count == 0);
}

TEST_CASE("collect: one queue may fill the turn") {
  Many m(1);
  m.put(0, 200);
  m.collect();
  CHECK(m.batch.slot_count == 128);
  CHECK_FALSE(m.batch.runs[0].ends_at_producer);
}

TEST_CASE("collect: says whether the guest published no more") {
  Many m(1);
  m.put(0, 128);
  m.collect();
  CHECK(m.batch.runs[0].slot_count == 128);
  CHECK(m.batch.runs[0].ends_at_producer);
}

TEST_CASE("collect: takes nothing by itself") {
  Many m(1);
  m.put(0, 3);
  m.collect();
  CHECK(m.guests[0]->queue->from_guest.next_slot() == 0);
  m.collect();
  CHECK(m.batch.slot_count == 3);
}

TEST_CASE("collect: two busy queues share the turn") {
  Many m(2);
  m.put(0, 100);
  m.put(1, 100);
  m.collect();
  CHECK(m.collected(0) == 64);
  CHECK(m.collected(1) == 64);
}

TEST_CASE("collect: many busy queues have their shares in turn") {
  Many m(10);
  std::vector<uint32_t> seen(10);
  for (uint32_t i = 0; i < 10; ++i) m.put(i, 80);
  for (int turn = 0; turn < 5; ++turn) {
    m.collect();
    CHECK(m.batch.slot_count == 128);
    CHECK(m.batch.run_count == 2);
    for (uint32_t i = 0; i < 10; ++i) seen[i] += m.collected(i);
  }
  for (uint32_t i = 0; i < 10; ++i) CHECK(seen[i] == 64);
}

TEST_CASE("collect: the first of the hot queues changes from turn to turn") {
  Many m(3);
  for (uint32_t i = 0; i < 3; ++i) m.put(i, 1);
  for (uint32_t turn = 0; turn < 6; ++turn) {
    m.collect();
    CHECK(m.batch.run_count == 3);
    CHECK(m.batch.runs[0].queue == m.guests[turn % 3]->queue.get());
  }
}

TEST_CASE("collect: at most 32 queues a turn, the others come first in the next") {
  Many m(40);
  for (uint32_t i = 0; i < 40; ++i) m.put(i, 1);
  m.collect();
  CHECK(m.batch.run_count == 32);
  CHECK(m.collected(31) == 1);
  CHECK(m.collected(32) == 0);
  m.collect();
  CHECK(m.batch.runs[0].queue == m.guests[32]->queue.get());
  CHECK(m.collected(39) == 1);
}

// A chain that only the rest of a turn is left for would never fit while the others go on so.
TEST_CASE("collect: a chain is not starved by what other queues leave of the turn") {
  Many m(6);
  bool whole = false;
  m.put_chain(5, 18);
  for (int turn = 0; turn < 20 && !whole; ++turn) {
    for (uint32_t i = 0; i < 5; ++i) m.put(i, i == 0 ? 1 : 28);
    m.run();
    m.take_frames();
    for (uint32_t i = 0; i < 5; ++i) m.guests[i]->answers();
    whole = m.guests[5]->queue->from_guest.next_slot() == 18;
  }
  CHECK(whole);
}

// Slots taken twice break an invariant: a guest could end the daemon by falling silent.
TEST_CASE("collect: when one queue parks, no other is looked at twice") {
  for (uint32_t idle = 0; idle < 4; ++idle)
    for (uint32_t start = 0; start < 4; ++start) {
      Many m(4);
      for (uint32_t i = 0; i < 4; ++i) m.put(i, 5);
      m.guests[idle]->from_guest.req_prod() = 0;
      m.guests[idle]->queue->empty_turns = limits::empty_turns_before_parking - 1;
      m.queues.cursor() = start;
      m.collect();
      CHECK(m.batch.run_count == 3);
      CHECK(m.batch.slot_count == 15);
      CHECK(m.queues.hot().size() == 3);
      REQUIRE(m.queues.parked().size() == 1);
      CHECK(m.queues.parked()[0].queue == m.guests[idle]->queue.get());
    }
}

TEST_CASE("collect: an impossible producer is a violation and not one slot is read") {  // H01
  Many m(2);
  m.guests[0]->from_guest.req_prod() = 257;
  m.put(1, 2);
  m.collect();
  REQUIRE(m.batch.run_count == 2);
  CHECK(m.batch.runs[0].violation == Violation::impossible_producer);
  CHECK(m.batch.runs[0].violation_slot == 0);
  CHECK(m.batch.runs[0].slot_count == 0);
  CHECK(m.batch.slot_count == 2);
  CHECK_FALSE(m.batch.runs[1].violation);
}

TEST_CASE("collect: a quarantined or draining queue is not looked at") {
  Many m(3);
  for (uint32_t i = 0; i < 3; ++i) m.put(i, 2);
  m.guests[0]->queue->quarantined = true;
  m.guests[1]->queue->draining = true;
  m.collect();
  REQUIRE(m.batch.run_count == 1);
  CHECK(m.batch.runs[0].queue == m.guests[2]->queue.get());
}

TEST_CASE("collect: queues that park in the middle of a look do not hide others") {
  Many m(3);
  for (int turn = 0; turn < 1000; ++turn) m.collect();
  CHECK(m.queues.hot().empty());
  CHECK(m.queues.parked().size() == 3);
  for (uint32_t i = 0; i < 3; ++i) m.put(i, 1);
  m.queues.end_turn(false, 0);
  CHECK(m.queues.hot().size() == 3);
  m.collect();
  CHECK(m.batch.run_count == 3);
}

TEST_CASE("collect: what follows a stream's slots waits for a group of 32") {
  Many m(1);
  m.put(0, 8);
  CHECK(m.take(1000) == 8);
  m.put(0, 31);
  CHECK(m.take(1001) == 0);
  CHECK(m.batch.gathering);
  m.put(0, 1);
  CHECK(m.take(1002) == 32);
  CHECK_FALSE(m.batch.gathering);
}

TEST_CASE("collect: a group is waited for since its first slot was seen, and no longer") {
  Many m(1);
  m.put(0, 20);
  CHECK(m.take(1000) == 20);
  CHECK(m.take(2000) == 0);
  CHECK_FALSE(m.batch.gathering);
  m.put(0, 9);
  CHECK(m.take(3000) == 0);
  m.put(0, 1);
  CHECK(m.take(3049) == 0);
  CHECK(m.batch.gathering);
  CHECK(m.take(3050) == 10);
  m.put(0, 9);
  CHECK(m.take(3060) == 0);  // waits anew
  CHECK(m.take(3110) == 9);
}

TEST_CASE("collect: few slots are no stream: what follows them waits for nothing") {
  Many m(1);
  for (uint64_t now = 1000; now < 1010; ++now) {
    m.put(0, 7);
    CHECK(m.take(now) == 7);
  }
  m.put(0, 8);
  CHECK(m.take(2000) == 8);
  m.put(0, 1);
  CHECK(m.take(2001) == 0);
  CHECK(m.take(2051) == 1);
  m.put(0, 1);
  CHECK(m.take(2052) == 1);
}

TEST_CASE("collect: a queue that waits for its group holds no other up") {
  Many m(2);
  m.put(0, 10);
  CHECK(m.take(1000) == 10);
  m.put(0, 10);
  m.put(1, 1);
  CHECK(m.take(1001) == 0);
  CHECK(m.collected(1) == 1);
  CHECK(m.batch.gathering);
}

TEST_CASE("collect: requests that a guest takes back gather no longer") {
  Many m(1);
  m.put(0, 10);
  CHECK(m.take(1000) == 10);
  m.put(0, 5);
  CHECK(m.take(1001) == 0);
  m.guests[0]->from_guest.req_prod() = 10;
  CHECK(m.take(1002) == 0);
  CHECK_FALSE(m.batch.gathering);
  CHECK(m.guests[0]->queue->gathers_until == 0);
}

TEST_CASE("collect: without time to wait there are no groups") {
  Many m(1);
  m.put(0, 10);
  CHECK(m.take(1000, 0) == 10);
  m.put(0, 10);
  CHECK(m.take(1001, 0) == 10);
}
