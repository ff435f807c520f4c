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
  void collect() { from_guest::collect(queues, batch); }
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
  for (uint32_t i = 0; i < 10; ++i) m.put(i, 40);
  for (int turn = 0; turn < 5; ++turn) {
    m.collect();
    CHECK(m.batch.slot_count == 128);
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
  m.collect();
  CHECK(m.queues.hot().size() + m.queues.parked().size() == 3);
  m.collect();
  CHECK(m.batch.run_count == 3);
}
