// Where each frame goes: to the vif with its destination address, to all for broadcast and
// multicast (only of joined groups, for guests that say which), else to the port; never back to its
// sender, who is known by identity, not by address.
#pragma once

#include "dataplane/counters.hpp"
#include "dataplane/crossing.hpp"
#include "dataplane/forward_table.hpp"
#include "dataplane/vif_places.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback {

struct Forwarded {
  uint64_t frames = 0;
  uint64_t relayed_bytes = 0;  // of frames from a guest for one other guest

  Forwarded& operator+=(const Forwarded& more) {
    frames += more.frames;
    relayed_bytes += more.relayed_bytes;
    return *this;
  }
};

// Moves every frame of `frames` to a port's outgoing batch, to backlogs of vifs, to the workers
// that serve those, or drops it. `backlogged` lists the queues that have a backlog. `now`: TSC.
// `crossing`: this worker's end of the ways to others; null: there is no other.
Forwarded forward(const ForwardTable& table, FrameBatch& frames, const FramePool& pool,
                  Backlogged& backlogged, uint64_t now, CrossingEnd* crossing = nullptr);

// The same with what others have sent here, as far as one turn takes it. They have decided where
// it goes; what their table knew and this one does not is dropped and counted.
Forwarded forward_crossed(const ForwardTable& table, CrossingEnd& crossing, const FramePool& pool,
                          Backlogged& backlogged, uint64_t now, WorkerCounters& counters);

}  // namespace netback
