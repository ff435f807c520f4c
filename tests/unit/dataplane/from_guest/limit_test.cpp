// What a vif's rate leaves in its ring, and for how long.
#include "dataplane/from_guest/limit.hpp"

#include <rte_cycles.h>

#include <limits>

#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;
constexpr int64_t never = std::numeric_limits<int64_t>::max();

// A guest with 1,000 bytes of credit, a byte each microsecond.
struct Limited : OneGuest {
  RateBudget budget;
  const uint64_t us = rte_get_tsc_hz() / 1'000'000;

  Limited() {
    now = 1'000'000 * us;
    budget.set({.bytes = 2'000, .interval_us = 2'000}, 1'000'000 * us);
    budget.spend(1'000, static_cast<int64_t>(now));
    guest.queue->from_guest_rate = &budget;
  }
  void put(uint16_t frames, size_t bytes = 100) {
    for (uint16_t i = 0; i < frames; ++i) guest.put_frame(plain_frame(bytes), i);
    guest.from_guest.push();
  }
  uint32_t taken() const { return guest.queue->from_guest.next_slot(); }
  uint64_t waits() const { return guest.count(Q::from_guest_rate_waits); }
  double credit() const { return budget.credit(static_cast<int64_t>(now)); }
};

}  // namespace

TEST_CASE("limit: without a rate everything is taken") {
  Limited f;
  f.guest.queue->from_guest_rate = nullptr;
  f.put(100);
  f.run();
  CHECK(f.taken() == 100);
  CHECK(f.credit() == Approx(1'000));
}

TEST_CASE("limit: frames pass while there is credit; the others stay in the ring, not dropped") {
  Limited f;
  f.put(20);
  f.run();
  CHECK(f.taken() == 10);
  CHECK(f.batch.buffers_wanted == 10);
  CHECK(f.guest.count(Q::from_guest_frames) == 10);
  CHECK(f.credit() == Approx(0).margin(0.01));
  f.run();
  CHECK(f.taken() == 10);
  CHECK(f.guest.answers().size() == 10);  // and the answers are not kept back
}

TEST_CASE("limit: a frame longer than the credit passes, and is owed") {
  Limited f;
  f.put(3, 600);
  f.run();
  CHECK(f.taken() == 2);
  CHECK(f.credit() == Approx(-200).margin(0.01));
}

TEST_CASE("limit: a queue without credit is not looked into until a millisecond's is there") {
  Limited f;
  f.put(20);
  f.run();
  f.now += 50 * f.us;  // a part of what the 10 frames left
  CHECK(f.waits() == 0);
  f.budget.spend(100, static_cast<int64_t>(f.now));
  f.run();
  CHECK(f.batch.run_count == 0);
  CHECK(f.guest.queue->held);
  CHECK(f.waits() == 1);
  const int64_t goes_on = f.budget.paid_until() + static_cast<int64_t>(1'000 * f.us);
  CHECK(f.batch.held_until == goes_on);
  f.now = static_cast<uint64_t>(goes_on) - 1;
  f.run();
  CHECK(f.taken() == 10);
  CHECK(f.waits() == 1);
  f.now = static_cast<uint64_t>(goes_on);
  f.run();
  CHECK(f.taken() == 20);
  CHECK_FALSE(f.guest.queue->held);
  CHECK(f.batch.held_until == never);
}

TEST_CASE("limit: with credit again before it was held, a queue goes on at once") {
  Limited f;
  f.put(20);
  f.run();
  f.now += 1 * f.us;
  f.run();
  CHECK(f.taken() == 11);
  CHECK(f.waits() == 0);
}

TEST_CASE("limit: a queue that says nothing waits for nothing") {
  Limited f;
  f.budget.spend(5'000, static_cast<int64_t>(f.now));
  f.run();
  CHECK_FALSE(f.guest.queue->held);
  CHECK(f.batch.held_until == never);
  CHECK(f.waits() == 0);
}

TEST_CASE("limit: a limit that is lifted holds nothing any more") {
  Limited f;
  f.budget.spend(5'000, static_cast<int64_t>(f.now));
  f.put(5);
  f.run();
  CHECK(f.guest.queue->held);
  f.guest.queue->from_guest_rate = nullptr;
  f.run();
  CHECK(f.taken() == 5);
  CHECK_FALSE(f.guest.queue->held);
}

TEST_CASE("limit: a queue that waits stays hot, and gathers nothing") {
  Limited f;
  f.budget.spend(50'000, static_cast<int64_t>(f.now));
  f.put(5);
  f.guest.queue->gathers_until = 1;
  for (uint32_t i = 0; i < limits::empty_turns_before_parking + 1; ++i) f.run();
  CHECK(f.queues.hot().size() == 1);
  CHECK(f.guest.queue->gathers_until == 0);
}

TEST_CASE("limit: of several queues that wait the first to go on is the one to wake for") {
  Limited f;
  TestGuest other(1, 8);
  RateBudget budget;
  budget.set({.bytes = 2'000, .interval_us = 2'000}, 1'000'000 * f.us);
  budget.spend(3'000, static_cast<int64_t>(f.now));
  other.queue->from_guest_rate = &budget;
  f.budget.spend(5'000, static_cast<int64_t>(f.now));
  f.queues.add(*other.queue);
  for (TestGuest* guest : {&f.guest, &other}) {
    guest->put_frame(plain_frame(60), 1);
    guest->from_guest.push();
  }
  for (int i = 0; i < 2; ++i) {  // whichever comes first
    f.run();
    CHECK(f.batch.held_until == budget.paid_until() + static_cast<int64_t>(1'000 * f.us));
  }
}

TEST_CASE("limit: what is dropped is paid for, too") {
  Limited f;
  for (uint16_t i = 0; i < 5; ++i) f.guest.put_slot(i, 300, 0, 0, 1);  // a reserved reference
  f.guest.from_guest.push();
  f.run();
  CHECK(f.taken() == 4);
  CHECK(f.batch.buffers_wanted == 0);
  CHECK(f.credit() == Approx(-200).margin(0.01));
}

TEST_CASE("limit: a chain and a GSO frame count all their bytes") {
  Limited f;
  f.guest.settings.gso_tcpv4_offered = true;
  f.guest.put_chain(plain_frame(900), {500, 400}, 0);
  const Packet packet = make_packet({.payload = 20'000});
  const uint32_t slots = put_gso_packet(f.guest, packet, 1400);
  f.put(1);
  f.run();
  CHECK(f.taken() == 2 + slots);
  CHECK(f.credit() == Approx(100.0 - double(packet.bytes.size())).margin(0.01));
}

TEST_CASE("limit: a violation behind frames that wait is seen when they are taken") {
  Limited f;
  f.put(12);
  f.guest.put_slot(12, 200, 0, 4000);  // reaches beyond its page
  f.guest.from_guest.push();
  f.run();
  CHECK(f.taken() == 10);
  CHECK_FALSE(f.batch.runs[0].violation);
  f.now += 1'000 * f.us;
  f.run();
  CHECK(f.taken() == 12);
  CHECK(f.batch.runs[0].violation == Violation::crosses_page);
}

TEST_CASE("limit: a violation with nothing before it is seen at once") {
  Limited f;
  f.guest.put_slot(0, 200, 0, 4000);
  f.guest.from_guest.push();
  f.run();
  CHECK(f.batch.runs[0].violation == Violation::crosses_page);
}

TEST_CASE("limit: an impossible producer is seen whatever the credit") {
  Limited f;
  f.budget.spend(50'000, static_cast<int64_t>(f.now));
  f.guest.from_guest.req_prod() += 300;
  f.run();
  REQUIRE(f.batch.run_count == 1);
  CHECK(f.batch.runs[0].violation == Violation::impossible_producer);
}

TEST_CASE("limit: queues that share a budget share it; others have nothing to do with it") {
  Limited f;
  TestGuest sharing(1, 8), free(2, 9);
  sharing.queue->from_guest_rate = &f.budget;
  for (TestGuest* guest : {&sharing, &free}) f.queues.add(*guest->queue);
  for (int turn = 0; turn < 10; ++turn) {
    for (TestGuest* guest : {&f.guest, &sharing, &free}) {
      for (uint16_t i = 0; i < 5; ++i) guest->put_frame(plain_frame(100), i);
      guest->from_guest.push();
    }
    f.run();
    f.take_frames();
  }
  CHECK(free.queue->from_guest.next_slot() == 50);
  const uint32_t both = f.taken() + sharing.queue->from_guest.next_slot();
  CHECK(both == 10);
}

TEST_CASE("limit: an empty pool costs no credit") {
  Limited f;
  f.leave_buffers(3);
  f.put(5);
  f.run();
  CHECK(f.taken() == 3);
  CHECK(f.credit() == Approx(700).margin(0.01));
}
