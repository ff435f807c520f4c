#include "tests/unit/support/fake_nic.hpp"

#include <dlfcn.h>

#include <algorithm>

#include "control/filter_programmer.hpp"

namespace netback::test {

FakeNic* FakeNic::current = nullptr;

int FakeNic::begin(const std::string& name, const std::string& argument) {
  calls.push_back(argument.empty() ? name : name + " " + argument);
  const auto found = refuses.find(name);
  return found == refuses.end() ? 0 : found->second;
}

size_t FakeNic::count(const std::string& name) const {
  return static_cast<size_t>(
      std::ranges::count_if(calls, [&](const auto& call) { return call.starts_with(name); }));
}

namespace {

FakeNic& nic() {
  return *FakeNic::current;
}

// DPDK's own function, which this program's hides.
template <class Function>
Function* real(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int set_mode(const char* name, bool& mode, bool on) {
  const int refused = nic().begin(name);
  if (refused == 0) mode = on;
  return refused;
}

}  // namespace
}  // namespace netback::test

using netback::address_text;
using netback::test::FakeNic;
using netback::test::nic;
using netback::test::real;
using netback::test::set_mode;

#define PASS_ON(function, ...) \
  if (FakeNic::current == nullptr) return real(&function, #function)(__VA_ARGS__)

extern "C" {

int rte_eth_dev_is_removed(uint16_t port) {
  PASS_ON(rte_eth_dev_is_removed, port);
  ++nic().removed_asked;
  return nic().removed ? 1 : 0;
}

int rte_eth_dev_info_get(uint16_t port, rte_eth_dev_info* info) {
  const bool hidden = FakeNic::current != nullptr && !rte_eth_dev_is_valid_port(port);
  *info = {};
  if (!hidden)
    if (const int failed = real(&rte_eth_dev_info_get, "rte_eth_dev_info_get")(port, info))
      return failed;
  if (FakeNic::current != nullptr) info->max_mac_addrs = nic().addresses_max;
  return 0;
}

int rte_eth_macaddr_get(uint16_t port, rte_ether_addr* address) {
  PASS_ON(rte_eth_macaddr_get, port, address);
  *address = nic().state.primary;
  return 0;
}

int rte_eth_dev_default_mac_addr_set(uint16_t port, rte_ether_addr* address) {
  PASS_ON(rte_eth_dev_default_mac_addr_set, port, address);
  if (const int refused = nic().begin("default_mac_addr_set", address_text(*address)))
    return refused;
  if (nic().state.unicast.contains(*address)) return -EEXIST;
  nic().state.primary = *address;
  return 0;
}

int rte_eth_dev_mac_addr_add(uint16_t port, rte_ether_addr* address, uint32_t pool) {
  PASS_ON(rte_eth_dev_mac_addr_add, port, address, pool);
  if (const int refused = nic().begin("mac_addr_add", address_text(*address))) return refused;
  if (rte_is_same_ether_addr(address, &nic().state.primary)) return 0;
  if (nic().state.unicast.size() + 1 >= nic().addresses_max) return -ENOSPC;
  nic().state.unicast.insert(*address);
  return 0;
}

int rte_eth_dev_mac_addr_remove(uint16_t port, rte_ether_addr* address) {
  PASS_ON(rte_eth_dev_mac_addr_remove, port, address);
  if (const int refused = nic().begin("mac_addr_remove", address_text(*address))) return refused;
  if (rte_is_same_ether_addr(address, &nic().state.primary)) return -EADDRINUSE;
  nic().state.unicast.erase(*address);
  return 0;
}

int rte_eth_dev_set_mc_addr_list(uint16_t port, rte_ether_addr* groups, uint32_t count) {
  PASS_ON(rte_eth_dev_set_mc_addr_list, port, groups, count);
  if (const int refused = nic().begin("set_mc_addr_list", std::to_string(count))) return refused;
  if (count > nic().groups_max) return -ENOSPC;
  nic().state.multicast = {groups, groups + count};
  return 0;
}

int rte_eth_allmulticast_enable(uint16_t port) {
  PASS_ON(rte_eth_allmulticast_enable, port);
  return set_mode("allmulticast_enable", nic().state.allmulticast, true);
}

int rte_eth_allmulticast_disable(uint16_t port) {
  PASS_ON(rte_eth_allmulticast_disable, port);
  return set_mode("allmulticast_disable", nic().state.allmulticast, false);
}

int rte_eth_promiscuous_enable(uint16_t port) {
  PASS_ON(rte_eth_promiscuous_enable, port);
  return set_mode("promiscuous_enable", nic().state.promiscuous, true);
}

int rte_eth_promiscuous_disable(uint16_t port) {
  PASS_ON(rte_eth_promiscuous_disable, port);
  return set_mode("promiscuous_disable", nic().state.promiscuous, false);
}

int rte_eth_allmulticast_get(uint16_t port) {
  PASS_ON(rte_eth_allmulticast_get, port);
  return nic().state.allmulticast ? 1 : 0;
}

int rte_eth_promiscuous_get(uint16_t port) {
  PASS_ON(rte_eth_promiscuous_get, port);
  return nic().state.promiscuous ? 1 : 0;
}

}  // extern "C"
