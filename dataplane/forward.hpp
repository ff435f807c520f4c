// Where each frame goes: to the vif with its destination address, to all for broadcast and
// multicast (only of joined groups, for guests that say which), else to the port; never back to its
// sender, who is known by identity, not by address.
#pragma once

#include "dataplane/forward_table.hpp"
#include "dataplane/vif_places.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback {

// Moves every frame of `frames` to a port's outgoing batch, to backlogs of vifs, or drops it.
// `backlogged` lists the queues that have a backlog. `now`: TSC.
void forward(const ForwardTable& table, FrameBatch& frames, const FramePool& pool,
             Backlogged& backlogged, uint64_t now);

}  // namespace netback
