#include "tests/unit/support/fake_nic.hpp"

#include <dlfcn.h>
#include <rte_errno.h>
#include <rte_flow.h>

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

// Of the one kind of rule that there is.
std::string address_of(const rte_flow_item* pattern) {
  return address_text(static_cast<const rte_flow_item_eth*>(pattern->spec)->hdr.dst_addr);
}

bool is_for_one_address(const rte_flow_attr& attributes, const rte_flow_item* pattern,
                        const rte_flow_action* actions) {
  return attributes.ingress && pattern[0].type == RTE_FLOW_ITEM_TYPE_ETH &&
         rte_is_broadcast_ether_addr(
             &static_cast<const rte_flow_item_eth*>(pattern[0].mask)->hdr.dst_addr) &&
         pattern[1].type == RTE_FLOW_ITEM_TYPE_END &&
         actions[0].type == RTE_FLOW_ACTION_TYPE_QUEUE &&
         actions[1].type == RTE_FLOW_ACTION_TYPE_END;
}

// A rule's handle is its entry.
using Flow = std::pair<const std::string, uint16_t>;

int set_mode(const char* name, bool& mode, bool on) {
  const int refused = nic().begin(name);
  if (refused == 0) mode = on;
  return refused;
}

}  // namespace
}  // namespace netback::test

using netback::address_text;
using netback::test::address_of;
using netback::test::FakeNic;
using netback::test::Flow;
using netback::test::is_for_one_address;
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
  if (FakeNic::current == nullptr) return 0;
  info->max_mac_addrs = nic().addresses_max;
  info->max_rx_queues = std::min(info->max_rx_queues, nic().receive_queues_max);
  info->rx_offload_capa |= nic().more_receive_offloads;
  info->max_tx_queues = std::min(info->max_tx_queues, nic().transmit_queues_max);
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

int rte_eth_dev_configure(uint16_t port, uint16_t receive, uint16_t transmit,
                          const rte_eth_conf* wanted) {
  PASS_ON(rte_eth_dev_configure, port, receive, transmit, wanted);
  if (wanted->rxmode.mq_mode == RTE_ETH_MQ_RX_RSS && nic().refuses.contains("configure_rss"))
    return nic().refuses["configure_rss"];
  nic().configured = *wanted;
  return real(&rte_eth_dev_configure, "rte_eth_dev_configure")(port, receive, transmit, wanted);
}

int rte_eth_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t slots, unsigned socket,
                           const rte_eth_rxconf* how, rte_mempool* pool) {
  if (FakeNic::current != nullptr) nic().receive_slots.push_back(slots);
  return real(&rte_eth_rx_queue_setup, "rte_eth_rx_queue_setup")(port, queue, slots, socket, how,
                                                                 pool);
}

int rte_eth_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t slots, unsigned socket,
                           const rte_eth_txconf* how) {
  if (FakeNic::current != nullptr) nic().transmit_slots.push_back(slots);
  return real(&rte_eth_tx_queue_setup, "rte_eth_tx_queue_setup")(port, queue, slots, socket, how);
}

int rte_eth_dev_rx_intr_ctl_q_get_fd(uint16_t port, uint16_t queue) {
  PASS_ON(rte_eth_dev_rx_intr_ctl_q_get_fd, port, queue);
  const auto found = nic().receive_fds.find(queue);
  return found == nic().receive_fds.end() ? -1 : found->second;
}

int rte_eth_dev_rss_reta_update(uint16_t port, rte_eth_rss_reta_entry64* table, uint16_t size) {
  if (FakeNic::current != nullptr && nic().refuses.contains("rss_reta_update"))
    return nic().refuses["rss_reta_update"];
  return real(&rte_eth_dev_rss_reta_update, "rte_eth_dev_rss_reta_update")(port, table, size);
}

int rte_flow_validate(uint16_t port, const rte_flow_attr* attributes, const rte_flow_item* pattern,
                      const rte_flow_action* actions, rte_flow_error* error) {
  PASS_ON(rte_flow_validate, port, attributes, pattern, actions, error);
  if (!is_for_one_address(*attributes, pattern, actions)) return -ENOTSUP;
  return nic().refuses.contains("flow_validate") ? nic().begin("flow_validate") : 0;
}

rte_flow* rte_flow_create(uint16_t port, const rte_flow_attr* attributes,
                          const rte_flow_item* pattern, const rte_flow_action* actions,
                          rte_flow_error* error) {
  PASS_ON(rte_flow_create, port, attributes, pattern, actions, error);
  const uint16_t queue = static_cast<const rte_flow_action_queue*>(actions->conf)->index;
  const std::string address = address_of(pattern);
  int refused = nic().begin("flow_create", address + " to " + std::to_string(queue));
  if (refused == 0 && nic().flows.size() >= nic().flows_max) refused = -ENOSPC;
  if (refused == 0 && nic().flows.contains(address)) refused = -EEXIST;
  rte_errno = -refused;
  if (refused != 0) return nullptr;
  return reinterpret_cast<rte_flow*>(&*nic().flows.emplace(address, queue).first);
}

int rte_flow_destroy(uint16_t port, rte_flow* flow, rte_flow_error* error) {
  PASS_ON(rte_flow_destroy, port, flow, error);
  const std::string address = reinterpret_cast<Flow*>(flow)->first;
  if (nic().refuses.contains("flow_destroy")) return nic().begin("flow_destroy");
  nic().begin("flow_destroy", address);
  nic().flows.erase(address);
  return 0;
}

}  // extern "C"
