// A worker whose guests say nothing: when it looks whether they do.
#include <rte_cycles.h>

#include "dataplane/worker.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct ParkedHost : TestHost {
  TestGuest& guest = add_guest();
  const uint64_t interval = limits::parked_look_interval_us * (rte_get_tsc_hz() / 1'000'000);

  ParkedHost() { guest.post_buffers(200); }
  uint64_t collected() const { return guest.count(QueueCounter::from_guest_frames); }
  // The guest is parked. A frame of its own waits to be pushed, one for it at the port.
  void prepare(uint8_t number) {
    turn(limits::empty_turns_before_parking + 1);
    guest.put_frame(frame(elsewhere, guest), number);
    ports[0]->feed(make_mbuf(*pool, make_frame(guest.settings.mac, elsewhere, 60)));
  }
};

}  // namespace

TEST_CASE("worker: after a turn that moved frames, parked guests wait for their look") {
  ParkedHost host;
  bool in_time = false;  // unless the test itself stood still meanwhile
  for (uint8_t i = 0; i < 100 && !in_time; ++i) {
    host.prepare(i);
    const uint64_t before = rte_rdtsc();
    host.worker.turn();
    host.guest.from_guest.push();
    host.worker.turn();
    in_time = rte_rdtsc() - before < host.interval;
    if (in_time) CHECK(host.collected() == i);
    while (host.collected() == i) host.worker.turn();
  }
  if (!in_time) WARN("two turns take longer than the look's interval here");
}

TEST_CASE("worker: what parked guests say is found by the first turn without work, at its end") {
  ParkedHost host;
  bool in_time = false;  // unless the test itself stood still meanwhile
  for (uint8_t i = 0; i < 100 && !in_time; ++i) {
    host.prepare(i);
    host.ports[0]->queue.running = false;
    const uint64_t before = rte_rdtsc();
    host.worker.turn();  // ends with a look
    host.guest.from_guest.push();
    host.ports[0]->queue.running = true;
    host.worker.turn();  // the port's frame
    const bool expected_at_once = host.worker.expects_work(rte_rdtsc());
    const uint64_t at_once = host.collected() - i;
    host.worker.turn();
    in_time = rte_rdtsc() - before < host.interval;
    if (in_time) {
      CHECK(at_once == 0);
      CHECK_FALSE(expected_at_once);
      CHECK(host.collected() == i);
      CHECK(host.worker.expects_work(rte_rdtsc()));
      host.worker.turn();
      CHECK(host.collected() == i + 1u);
      CHECK_FALSE(host.worker.expects_work(rte_rdtsc()));
    }
    while (host.collected() == i) host.worker.turn();
  }
  if (!in_time) WARN("three turns take longer than the look's interval here");
}
