// When a worker sleeps and what wakes it.
#include <rte_cycles.h>

#include <chrono>
#include <thread>

#include "tests/unit/support/idling.hpp"

using namespace netback;
using namespace netback::test;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

TEST_CASE("idle: polls on until spin-us are over, then arms, looks once more and sleeps") {
  Idling i;
  i.disarm();
  i.now += 50 * i.us - 1;
  i.after_turn(false);
  CHECK_FALSE(i.armed());
  CHECK(FakeXen::instance().event_reads == 0);
  i.now += 1;
  i.after_turn(false);
  CHECK(i.armed());
  CHECK(i.sleeps() == 0);
  CHECK(i.after_turn(false, 20'000) >= milliseconds(19));
  CHECK(i.sleeps() == 1);
  CHECK(FakeXen::instance().event_reads == 0);  // nothing woke it
}

TEST_CASE("idle: work starts the wait again") {
  Idling i;
  i.now += 40 * i.us;
  i.after_turn(true);
  i.disarm();
  i.now += 40 * i.us;
  i.after_turn(false);
  CHECK_FALSE(i.armed());
  i.now += 10 * i.us;
  i.after_turn(false);
  CHECK(i.armed());
  i.after_turn(true);  // the last look found something
  i.after_turn(false);
  CHECK(i.sleeps() == 0);
}

TEST_CASE(
    "idle: a request of one of many parked queues keeps it awake, and the next turn sees it") {
  Idling i;
  std::vector<std::unique_ptr<TestGuest>> others;
  for (uint16_t vif = 1; vif <= 3 * limits::parked_looks_min; ++vif) {
    others.push_back(std::make_unique<TestGuest>(vif));
    i.queues.add(*others.back()->queue);
    while (!QueueSet::note(*others.back()->queue, false)) {
    }
  }
  i.queues.park_idle();
  TestGuest& last = *others.back();
  last.put_slot(1, 60);
  last.from_guest.push();
  i.now += 50 * i.us;
  i.after_turn(false);
  REQUIRE(i.armed());
  FromGuestBatch batch;
  from_guest::collect(i.queues, batch, i.now, 0);
  REQUIRE(batch.run_count == 1);
  CHECK(batch.runs[0].queue == last.queue.get());
}

TEST_CASE("idle: spin always never arms and never sleeps") {
  Idling i(Idle::spin_always);
  i.disarm();
  i.now += 1'000'000'000ull * i.us;
  i.after_turn(false);
  i.after_turn(false);
  CHECK_FALSE(i.armed());
  CHECK(i.sleeps() == 0);
}

TEST_CASE("idle: a request that came before the arming keeps it awake") {
  Idling i;
  i.guest.put_slot(1, 60);
  i.guest.from_guest.push();
  i.now += 50 * i.us;
  i.after_turn(false);
  CHECK(i.armed());
  i.after_turn(false);
  CHECK(i.sleeps() == 0);
}

TEST_CASE("idle: every sleep is preceded by an arming") {
  Idling i;
  i.now += 50 * i.us;
  for (int round = 1; round <= 3; ++round) {
    i.disarm();
    i.after_turn(false);
    CHECK(i.armed());
    i.after_turn(false);
    CHECK(i.sleeps() == uint64_t(round));
  }
}

TEST_CASE("idle: parked queues are armed as hot ones, quarantined and draining ones not") {
  Idling i;
  TestGuest parked(1, 8), quarantined(2, 9), draining(3, 10);
  for (TestGuest* guest : {&parked, &quarantined, &draining}) {
    i.queues.add(*guest->queue);
    guest->from_guest.req_event() = 12345;
  }
  while (!QueueSet::note(*parked.queue, false)) {
  }
  i.queues.park_idle();
  quarantined.queue->quarantined = true;
  draining.queue->draining = true;
  i.now += 50 * i.us;
  i.after_turn(false);
  CHECK(parked.from_guest.req_event() == 1);
  CHECK(quarantined.from_guest.req_event() == 12345);
  CHECK(draining.from_guest.req_event() == 12345);
}

TEST_CASE(
    "idle: parked queues with requests when they are armed are hot for the look before sleep") {
  Idling i(0);
  std::vector<std::unique_ptr<TestGuest>> parked;
  for (uint16_t g = 1; g <= 100; ++g) {
    parked.push_back(std::make_unique<TestGuest>(g));
    i.queues.add(*parked.back()->queue);
    parked.back()->queue->empty_turns = limits::empty_turns_before_parking;
    parked.back()->from_guest.req_event() = 12345;
  }
  i.queues.park_idle();
  for (const uint16_t g : {0, 42, 98, 99}) {
    parked[g]->put_slot(1, 60);
    parked[g]->from_guest.push();
  }
  i.after_turn(false);
  CHECK(i.queues.hot().size() == 5);
  CHECK(i.queues.parked().size() == 96);
  for (const QueueSet::Parked& each : i.queues.parked())
    CHECK(each.queue->from_guest.available() == 0u);
  for (const auto& guest : parked) CHECK(guest->from_guest.req_event() == 1);
}

TEST_CASE("idle: a frame that waits for two slots arms the second one") {
  Idling i;
  i.guest.to_guest.req_event() = 777;
  i.now += 50 * i.us;
  i.after_turn(false);
  CHECK(i.guest.to_guest.req_event() == 777);  // nothing waits: posted buffers do not matter
  i.after_turn(true);
  rte_mbuf* frame = make_mbuf(*i.pool, plain_frame(5000));
  i.guest.queue->backlog.push(frame);
  i.guest.post_buffers(1);
  i.now += 50 * i.us;
  i.after_turn(false);
  CHECK(i.guest.to_guest.req_event() == 2);
  i.after_turn(false);
  CHECK(i.sleeps() == 1);  // one slot is not enough: no use in staying awake
  i.guest.post_buffers(1);
  i.after_turn(false);
  i.after_turn(false);
  CHECK(i.sleeps() == 1);
  i.guest.queue->backlog.pop(1, 1);
  rte_pktmbuf_free(frame);
}

TEST_CASE("idle: a command wakes it, and once taken it sleeps again") {
  Idling i;
  i.now += 50 * i.us;
  i.after_turn(false);
  REQUIRE(i.mailbox.post({.sequence = 1, .what = Stop{}}));
  CHECK(i.after_turn(false, 1'000'000) < milliseconds(500));
  Command command;
  REQUIRE(i.mailbox.next_command(command));
  i.now += 50 * i.us;
  i.after_turn(false);
  i.after_turn(false);  // may be ended by what told of the command
  i.after_turn(false);
  CHECK(i.after_turn(false, 20'000) >= milliseconds(19));
}

TEST_CASE("idle: commands that a turn left for the next keep it awake") {
  Idling i(0);
  REQUIRE(i.mailbox.post({.sequence = 1, .what = Stop{}}));
  for (int turn = 0; turn < 4; ++turn) i.after_turn(false);
  CHECK(i.sleeps() == 0);
}

TEST_CASE("idle: a guest's kick wakes it") {
  Idling i;
  i.now += 50 * i.us;
  i.after_turn(false);
  FakeXen::instance().kick(5);
  CHECK(i.after_turn(false, 1'000'000) < milliseconds(500));
  CHECK(i.sleeps() == 1);
  CHECK(FakeXen::instance().unmasked == 1);  // so that the next one gets through
  i.after_turn(false);
  CHECK(i.after_turn(false, 20'000) >= milliseconds(19));
}

TEST_CASE("idle: a kick or a wake-up of before the sleep ends it once, and the next lasts") {
  Idling i;
  i.now += 50 * i.us;
  i.after_turn(false);
  FakeXen::instance().kick(5);
  i.mailbox.wake_worker();
  i.after_turn(true);  // found what it was about
  i.now += 50 * i.us;
  i.after_turn(false);
  CHECK(i.after_turn(false, 1'000'000) < milliseconds(500));
  CHECK(FakeXen::instance().unmasked == 1);
  i.after_turn(false);
  CHECK(i.after_turn(false, 20'000) >= milliseconds(19));
}

TEST_CASE("idle: a sleeping worker serves what comes and stops when told") {
  TestHost host({.spin_us = 20});
  TestGuest& guest = host.add_guest();
  host.ports[0]->queue.running = false;  // no interrupt: it would not let the worker sleep
  std::thread thread([&] { host.worker.run(); });
  const auto started = Clock::now();
  const auto in_time = [&] { return Clock::now() - started < std::chrono::seconds(10); };
  for (uint16_t i = 0; i < 3; ++i) {
    std::atomic_ref event(guest.from_guest.req_event());
    while (event != guest.from_guest.produced() + 1) REQUIRE(in_time());  // armed
    std::this_thread::sleep_for(milliseconds(5));
    guest.put_frame(host.frame(broadcast, guest), i);
    REQUIRE(guest.from_guest.push());
    FakeXen::instance().kick(guest.queue->from_guest_port);
    while (!guest.from_guest.get()) REQUIRE(in_time());
  }
  std::this_thread::sleep_for(milliseconds(50));
  host.post(Stop{});
  thread.join();
  const auto& counters = host.worker.counters();
  CHECK(counters.read(WorkerCounter::worker_sleeps) >= 3);
  CHECK(counters.read(WorkerCounter::worker_sleeps) < 50);
  CHECK(counters.read(WorkerCounter::worker_busy_turns) == 3);
  CHECK(counters.read(WorkerCounter::worker_turns) > 3);
  CHECK(counters.read(WorkerCounter::worker_busy_cycles) > 0);
  CHECK(counters.read(WorkerCounter::worker_cycles) > 60 * (rte_get_tsc_hz() / 1000));
  CHECK(counters.read(WorkerCounter::worker_cycles) >
        counters.read(WorkerCounter::worker_busy_cycles));
}

TEST_CASE("idle: a kick that gets lost holds a frame up for milliseconds") {
  TestHost host({.spin_us = 20});
  TestGuest& guest = host.add_guest();
  host.ports[0]->queue.running = false;
  std::thread thread([&] { host.worker.run(); });
  const auto started = Clock::now();
  const auto since = [&](auto then) { return Clock::now() - then; };
  std::atomic_ref event(guest.from_guest.req_event());
  while (event != guest.from_guest.produced() + 1) REQUIRE(since(started) < milliseconds(900));
  std::this_thread::sleep_for(milliseconds(5));
  const auto pushed = Clock::now();
  guest.put_frame(host.frame(broadcast, guest), 0);
  guest.from_guest.push();
  while (!guest.from_guest.get() && since(pushed) < milliseconds(900))
    std::this_thread::sleep_for(milliseconds(1));
  CHECK(since(pushed) < milliseconds(500));
  host.post(Stop{});
  thread.join();
}

TEST_CASE("idle: slots that wait for a group ask for no event and keep the worker awake") {
  TestHost host({.spin_us = 0, .gather_us = 100'000});
  TestGuest& guest = host.add_guest();
  host.ports[0]->queue.running = false;
  for (uint16_t i = 0; i < 10; ++i) guest.put_frame(host.frame(broadcast, guest), i);
  guest.from_guest.push();
  host.turn();
  guest.put_frame(host.frame(broadcast, guest), 10);
  guest.from_guest.push();
  const uint32_t asked = guest.from_guest.req_event();
  std::thread thread([&] { host.worker.run(); });
  std::this_thread::sleep_for(milliseconds(30));
  const uint32_t asked_meanwhile = std::atomic_ref(guest.from_guest.req_event());
  host.post(Stop{});
  thread.join();
  CHECK(asked_meanwhile == asked);
  CHECK(host.worker.counters().read(WorkerCounter::worker_sleeps) == 0);
  CHECK(guest.queue->from_guest.next_slot() == 10);
}

TEST_CASE("idle: a stall is noticed by a worker that sleeps") {
  TestHost host({.spin_us = 20});
  TestGuest& guest = host.add_guest();
  guest.settings.stall_ms = 15;
  host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, 60));
  host.turn();
  host.ports[0]->queue.running = false;
  std::thread thread([&] { host.worker.run(); });
  const auto started = Clock::now();
  while (!guest.queue->stalled && Clock::now() - started < milliseconds(900))
    std::this_thread::sleep_for(milliseconds(1));
  CHECK(Clock::now() - started < milliseconds(500));
  host.post(Stop{});
  thread.join();
}
