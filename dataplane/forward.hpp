// Where each frame goes: to the vif with its destination address, to all for broadcast and
// multicast, else to the port; never back to its sender, who is known by identity, not by address.
#pragma once

#include <vector>

#include "dataplane/forward_table.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback {

// Moves every frame of `frames` to a port's outgoing batch, to backlogs of vifs, or drops it.
// `backlogged` lists the queues that have a backlog. `now`: TSC.
void forward(const ForwardTable& table, FrameBatch& frames, const FramePool& pool,
             std::vector<GuestQueue*>& backlogged, uint64_t now);

}  // namespace netback
