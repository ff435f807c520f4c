#pragma once

#include <span>

#include "dataplane/port/port_queue.hpp"

namespace netback::port {

// Takes up to a burst from each port into `frames`, as far as there is room, and while some port
// gives whole bursts, a few times over: what a turn costs beside its frames is then shared by more.
void accept(std::span<PortQueue* const> ports, FrameBatch& frames);

}  // namespace netback::port
