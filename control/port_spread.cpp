#include "control/port_spread.hpp"

#include <vector>

namespace netback {
namespace {

// Not by UDP's ports, as the kernel's drivers have it: fragments have none, and would be overtaken
// by whole datagrams of their flow.
constexpr uint64_t types_wanted = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP;

}  // namespace

PortSpread choose_spread(const rte_eth_dev_info& info, const PortDevice& device, size_t pairs) {
  if (pairs == 1) return {.text = "off: one queue pair"};
  if (device.quirks->kernel_tap && device.iface.empty())
    return {.text = "absent: whoever is behind the socket spreads flows"};
  if (device.quirks->kernel_tap) return {.text = "absent: the kernel spreads flows"};
  const uint64_t types = info.flow_type_rss_offloads & types_wanted;
  if (types == 0) return {.text = "absent: the driver has none"};
  return {.hash_types = types, .text = "on"};
}

bool share_out_hashes(uint16_t device, uint16_t queues) {
  rte_eth_dev_info info{};
  if (rte_eth_dev_info_get(device, &info) != 0 || info.reta_size == 0) return false;
  const uint16_t groups = (info.reta_size + RTE_ETH_RETA_GROUP_SIZE - 1) / RTE_ETH_RETA_GROUP_SIZE;
  std::vector<rte_eth_rss_reta_entry64> table(groups);
  for (uint16_t i = 0; i < info.reta_size; ++i) {
    auto& group = table[i / RTE_ETH_RETA_GROUP_SIZE];
    group.mask |= uint64_t{1} << i % RTE_ETH_RETA_GROUP_SIZE;
    group.reta[i % RTE_ETH_RETA_GROUP_SIZE] = i % queues;
  }
  return rte_eth_dev_rss_reta_update(device, table.data(), info.reta_size) == 0;
}

}  // namespace netback
