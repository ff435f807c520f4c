// A worker's idling, told what to do turn by turn.
#pragma once

#include <rte_cycles.h>

#include <chrono>
#include <vector>

#include "dataplane/idle.hpp"
#include "tests/unit/support/test_host.hpp"

namespace netback::test {

struct Idling : Bench {
  Mailbox mailbox;
  QueueSet queues;
  TestGuest guest{0};
  std::vector<PortQueue*> ports;
  Idle idle;
  const uint64_t us = rte_get_tsc_hz() / 1'000'000;
  uint64_t now = 1000 * us;

  explicit Idling(uint32_t spin_us = 50) : idle(spin_us, mailbox, *events) {
    queues.add(*guest.queue);
    after_turn(true);
  }
  // How long it took: a sleep is at most `sleep_us`.
  std::chrono::milliseconds after_turn(bool busy, uint32_t sleep_us = 1000) {
    const auto started = std::chrono::steady_clock::now();
    idle.after_turn(busy, now, sleep_us, queues, ports, counters);
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 started);
  }
  uint64_t sleeps() const { return count(WorkerCounter::worker_sleeps); }
  bool armed() { return guest.from_guest.req_event() == guest.queue->from_guest.next_slot() + 1; }
  void disarm() { guest.from_guest.req_event() = 12345; }
};

}  // namespace netback::test
