// When a worker sleeps, and how it wakes.
#pragma once

#include <poll.h>

#include <cstdint>
#include <span>

#include "dataplane/counters.hpp"
#include "dataplane/crossing.hpp"
#include "dataplane/messages.hpp"
#include "dataplane/port/port_queue.hpp"
#include "dataplane/queue_set.hpp"
#include "lib/xen/evtchn.hpp"

namespace netback {

class Idle {
 public:
  static constexpr uint32_t spin_always = UINT32_MAX;  // never sleeps

  // spin_us: how long to go on polling without work. `crossing`: of a worker among several.
  Idle(uint32_t spin_us, Mailbox& mailbox, EventChannels& events, CrossingEnd* crossing = nullptr);

  // After every turn. Without work for long enough it arms every ring and port, has other workers
  // wake this one, lets one more turn look at them, and sleeps if that finds nothing either: at
  // most `sleep_us_max`.
  void after_turn(bool busy, uint64_t now, uint32_t sleep_us_max, QueueSet& queues,
                  std::span<PortQueue* const> ports, WorkerCounters& counters);

 private:
  bool arm_all(QueueSet& queues, std::span<PortQueue* const> ports);
  void disarm(std::span<PortQueue* const> ports);
  void sleep(uint32_t sleep_us_max, std::span<PortQueue* const> ports, bool quiet);
  void take_wakers(std::span<const pollfd> fds);

  const uint64_t spin_cycles_;
  Mailbox& mailbox_;
  EventChannels& events_;
  CrossingEnd* const crossing_;
  uint64_t last_work_ = 0;  // TSC
  bool armed_ = false;
};

}  // namespace netback
