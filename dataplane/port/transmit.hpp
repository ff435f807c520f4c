#pragma once

#include <span>

#include "dataplane/forward_table.hpp"
#include "dataplane/port/port_queue.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback::port {

// Sends what forwarding collected for each port. What the driver cannot do is done here first:
// checksums, chains, segmentation; a frame that is cut goes whole or not at all, as far as buffers
// are concerned. What it does not take is dropped and counted at the vif that sent it: a NIC
// without descriptors must not hold guests up (seed S2). `stream`: more frames are likely to come
// next turn; a port that wakes a thread may then hold what it has, for fewer of its wake-ups.
// Whether one does.
bool transmit(std::span<PortQueue* const> ports, const ForwardTable& table, FramePool& pool,
              bool stream = false);

}  // namespace netback::port
