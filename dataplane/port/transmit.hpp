#pragma once

#include <span>

#include "dataplane/forward_table.hpp"
#include "dataplane/port/port_queue.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback::port {

// Sends what forwarding collected for each port. What the driver cannot do is done here first:
// checksums, chains. What it does not take is dropped and counted at the vif that sent it: a NIC
// without descriptors must not hold guests up (seed S2).
void transmit(std::span<PortQueue* const> ports, const ForwardTable& table, FramePool& pool);

}  // namespace netback::port
