// A worker some of whose guests wait for their vifs' rates.
#include <rte_cycles.h>

#include <chrono>
#include <thread>

#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

}  // namespace

TEST_CASE(
    "rate: requests that wait for a rate let the worker sleep, and it wakes in time for them") {
  RateBudget budget;  // outlives the host, which takes its queues off at its end
  TestHost host({.spin_us = 20});
  TestGuest& guest = host.add_guest();
  TestGuest& other = host.add_guest();
  host.ports[0]->queue.running = false;
  // A frame each 2 ms; no more is kept for who comes late.
  budget.set({.bytes = 50, .interval_us = 1'000}, rte_get_tsc_hz());
  guest.queue->from_guest_rate = &budget;
  for (uint16_t i = 0; i < 200; ++i) guest.put_frame(host.frame(elsewhere, guest), i);
  guest.from_guest.push();
  const auto started = Clock::now();
  std::thread thread([&] { host.worker.run(); });
  std::this_thread::sleep_for(milliseconds(100));
  // Nor does another guest notice.
  const auto pushed = Clock::now();
  other.put_frame(host.frame(elsewhere, other), 0);
  if (other.from_guest.push()) FakeXen::instance().kick(other.queue->from_guest_port);
  while (!other.from_guest.get() && Clock::now() - pushed < milliseconds(900)) {
  }
  CHECK(Clock::now() - pushed < milliseconds(100));
  std::this_thread::sleep_for(milliseconds(100));
  host.post(Stop{});
  thread.join();
  const uint32_t taken = guest.queue->from_guest.next_slot();
  const auto due = static_cast<uint32_t>((Clock::now() - started) / milliseconds(2));
  CHECK(taken >= due / 2);
  CHECK(taken <= due + 2);
  // A sleep or two for each frame: neither none nor one after the other.
  const uint64_t sleeps = host.worker.counters().read(WorkerCounter::worker_sleeps);
  CHECK(sleeps >= taken / 2);
  CHECK(sleeps < taken * 6);
}
