// What spreads the frames that a port receives over its queue pairs: hashes of the NIC's (RSS), so
// that each flow comes by one of them.
#pragma once

#include <rte_ethdev.h>

#include <cstdint>
#include <string>

#include "control/port_device.hpp"

namespace netback {

struct PortSpread {
  uint64_t hash_types = 0;  // DPDK's (RTE_ETH_RSS_*); 0: no RSS
  std::string text;         // for people: "on", or why not
};

PortSpread choose_spread(const rte_eth_dev_info& info, const PortDevice& device, size_t pairs);

// Gives each queue as much of the NIC's table as every other, once the device has started. False:
// it keeps a table of its own.
bool share_out_hashes(uint16_t device, uint16_t queues);

}  // namespace netback
