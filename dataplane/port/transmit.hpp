#pragma once

#include <cstdint>
#include <span>

#include "dataplane/forward_table.hpp"
#include "dataplane/port/port_queue.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback::port {

// Sends what forwarding collected for each port. What the driver cannot do is done here first:
// checksums, chains, segmentation; a frame that is cut goes whole or not at all, as far as buffers
// are concerned. What it does not take is dropped and counted at the vif that sent it: a NIC
// without descriptors must not hold guests up (seed S2).
//
// `now`: TSC. `stream_until`: what this turn brought is of a stream, and more of it is likely to
// come until then; 0: it is not. A port that wakes a thread holds it for so long, for fewer
// wake-ups. Whether one does.
bool transmit(std::span<PortQueue* const> ports, const ForwardTable& table, FramePool& pool,
              uint64_t now = UINT64_MAX, uint64_t stream_until = 0);

}  // namespace netback::port
