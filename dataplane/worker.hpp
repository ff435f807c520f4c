// The loop of one lcore. It owns its queues and ports while they are attached, one grant handle,
// one event-channel handle and its counters; it never locks, allocates, logs or blocks in a stage.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/counters.hpp"
#include "dataplane/crossing.hpp"
#include "dataplane/frame.hpp"
#include "dataplane/from_guest/batch.hpp"
#include "dataplane/idle.hpp"
#include "dataplane/messages.hpp"
#include "dataplane/queue_set.hpp"
#include "dataplane/to_guest/batch.hpp"
#include "lib/dpdk/frame_pool.hpp"
#include "lib/xen/evtchn.hpp"
#include "lib/xen/grants.hpp"

namespace netback {

struct WorkerOptions {
  uint32_t spin_us = 50;   // without work for this long it sleeps; Idle::spin_always: never
  uint32_t gather_us = 0;  // how long a stream's slots wait for a whole group; 0: not at all
};

class Worker {
 public:
  // All of them outlive the worker. `events` is what control binds this worker's queues with.
  // `crossing`: its end of the ways to other workers; null: there is no other.
  Worker(const WorkerOptions& options, Mailbox& mailbox, Grants& grants, EventChannels& events,
         FramePool& pool, CrossingEnd* crossing = nullptr);

  // Until Stop. On its lcore.
  void run();
  // One turn of the loop; whether a frame moved. run() calls it; so do tests.
  bool turn();
  // Whether more is likely soon, though a turn moved no frame: run() does not sleep then.
  // `now`: TSC.
  bool expects_work(uint64_t now) const;

  const WorkerCounters& counters() const { return counters_; }

 private:
  void take_commands();
  uint64_t stream_until(uint64_t turn_started) const;
  bool apply(const Command& command);  // whether it is acked now, or later by finish_drains()
  void place(GuestQueue& queue) const;
  void attach(GuestQueue& queue);
  void detach(GuestQueue& queue);
  void finish_drains(uint64_t now);
  void quarantine_violators();
  void quarantine(GuestQueue& queue, Violation violation, uint32_t slot);
  void take_off(GuestQueue& queue);
  void drop_backlog(GuestQueue& queue);
  void count_turn(bool busy, uint64_t started, uint64_t ended);
  uint32_t sleep_us_max(uint64_t now) const;

  Mailbox& mailbox_;
  Grants& grants_;
  EventChannels& events_;
  FramePool& pool_;
  CrossingEnd* const crossing_;

  const ForwardTable* table_ = nullptr;
  QueueSet queues_;
  std::vector<PortQueue*> ports_;
  std::vector<GuestQueue*> holding_;  // with answers written and not published
  Backlogged backlogged_;
  struct Drain {
    uint32_t sequence;
    GuestQueue* queue;
    uint64_t deadline;  // TSC
  };
  std::vector<Drain> drains_;

  FromGuestBatch from_guest_;
  ToGuestBatch to_guest_;
  FrameBatch frames_;  // arrivals of this turn, from guests and ports

  const uint64_t gather_cycles_;  // TSC
  WorkerCounters counters_;
  Idle idle_;
  uint64_t last_turn_ended_ = 0;    // TSC
  uint64_t relay_polls_until_ = 0;  // TSC
  bool found_parked_ = false;       // the last turn ended with guests' requests found
  bool stopped_ = false;
};

}  // namespace netback
