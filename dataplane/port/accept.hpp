#pragma once

#include <span>

#include "dataplane/port/port_queue.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback::port {

// Takes up to a burst from each port into `frames`, as far as there is room, and while some port
// gives whole bursts, a few times over: what a turn costs beside its frames is then shared by more.
// What lies in a large buffer and needs none is copied into a short one: a burst of such frames
// that wait would keep all large ones from the others.
void accept(std::span<PortQueue* const> ports, FrameBatch& frames, const FramePool& pool);

}  // namespace netback::port
