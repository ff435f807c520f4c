// The filters of a NIC below a daemon in a lab, at the C ABI of DPDK: preloaded, it answers in
// place of the driver of every port. Files of the directory NIC say how, and what was called:
//   calls      a line for each: its name without rte_eth_ and dev_, what it was about, its result
//   refuse     lines of a call's name and the errno that it is refused with
//   addresses  how many its table takes, the primary MAC with them; 16 without the file
//   delay      milliseconds that each call takes
//   removed    there for as long as the driver says that the device has been removed
//   hides      a number: transmit offloads that its driver does not say it has; 0 without the file
//   takes      of each burst it takes no more frames; asked for when the port starts
#include <dlfcn.h>
#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "lib/base/mac_text.hpp"

namespace {

std::string text_of(const rte_ether_addr& address) {
  return netback::mac_text(address.addr_bytes);
}

std::string file(const char* name) {
  const char* directory = std::getenv("NIC");
  return fmt::format("{}/{}", directory != nullptr ? directory : ".", name);
}

template <class Number>
Number number_in(const char* name, Number otherwise) {
  std::ifstream(file(name)) >> otherwise;
  return otherwise;
}

class Nic {
 public:
  // What the call is refused with; 0: it is done. Notes it.
  int call(const std::string& name, const std::string& about, int result = 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(number_in("delay", 0)));
    std::ifstream refusals(file("refuse"));
    for (std::string refused; refusals >> refused;) {
      int error = 0;
      refusals >> error;
      if (refused == name) result = -error;
    }
    std::ofstream(file("calls"), std::ios::app)
        << fmt::format("{} {} {}\n", name, about.empty() ? "-" : about, result);
    return result;
  }
  static unsigned addresses_max() { return number_in("addresses", 16U); }

  int add(const rte_ether_addr& address) {
    const std::string text = text_of(address);
    const bool full = !listed_.contains(text) && listed_.size() + 1 >= addresses_max();
    const int result = call("mac_addr_add", text, full ? -ENOSPC : 0);
    if (result == 0) listed_.insert(text);
    return result;
  }
  int remove(const rte_ether_addr& address) {
    const int result = call("mac_addr_remove", text_of(address));
    if (result == 0) listed_.erase(text_of(address));
    return result;
  }
  int set_primary(const rte_ether_addr& address) {
    const bool listed = listed_.contains(text_of(address));
    const int result = call("default_mac_addr_set", text_of(address), listed ? -EEXIST : 0);
    if (result == 0) primary_ = address;
    return result;
  }
  const rte_ether_addr& primary() const { return primary_; }

 private:
  rte_ether_addr primary_{{2, 0, 0, 0, 0, 0xfe}};
  std::set<std::string> listed_;  // besides it
};

Nic nic;

eth_tx_burst_t driver_sends = nullptr;  // of the one port
uint16_t takes = UINT16_MAX;

uint16_t send_some(void* queue, rte_mbuf** frames, uint16_t count) {
  return driver_sends(queue, frames, std::min(count, takes));
}

}  // namespace

extern "C" {

int rte_eth_dev_info_get(uint16_t port, rte_eth_dev_info* info) {
  const auto real =
      reinterpret_cast<decltype(&rte_eth_dev_info_get)>(dlsym(RTLD_NEXT, "rte_eth_dev_info_get"));
  const int result = real(port, info);
  info->max_mac_addrs = Nic::addresses_max();
  info->tx_offload_capa &= ~number_in("hides", uint64_t{0});
  return result;
}

int rte_eth_dev_start(uint16_t port) {
  const auto real =
      reinterpret_cast<decltype(&rte_eth_dev_start)>(dlsym(RTLD_NEXT, "rte_eth_dev_start"));
  const int result = real(port);
  takes = number_in("takes", takes);
  if (result == 0 && takes != UINT16_MAX)
    driver_sends = std::exchange(rte_eth_fp_ops[port].tx_pkt_burst, send_some);
  return result;
}

int rte_eth_dev_is_removed(uint16_t) {
  return std::ifstream(file("removed")).good() ? 1 : 0;
}

int rte_eth_macaddr_get(uint16_t, rte_ether_addr* address) {
  *address = nic.primary();
  return 0;
}

int rte_eth_dev_default_mac_addr_set(uint16_t, rte_ether_addr* address) {
  return nic.set_primary(*address);
}

int rte_eth_dev_mac_addr_add(uint16_t, rte_ether_addr* address, uint32_t) {
  return nic.add(*address);
}

int rte_eth_dev_mac_addr_remove(uint16_t, rte_ether_addr* address) {
  return nic.remove(*address);
}

int rte_eth_dev_set_mc_addr_list(uint16_t, rte_ether_addr* groups, uint32_t count) {
  std::string all;
  for (uint32_t i = 0; i < count; ++i) all += (all.empty() ? "" : ",") + text_of(groups[i]);
  return nic.call("set_mc_addr_list", all);
}

int rte_eth_allmulticast_enable(uint16_t) {
  return nic.call("allmulticast_enable", "");
}

int rte_eth_allmulticast_disable(uint16_t) {
  return nic.call("allmulticast_disable", "");
}

int rte_eth_promiscuous_enable(uint16_t) {
  return nic.call("promiscuous_enable", "");
}

int rte_eth_promiscuous_disable(uint16_t) {
  return nic.call("promiscuous_disable", "");
}

// As it is found.
int rte_eth_allmulticast_get(uint16_t) {
  return 0;
}

int rte_eth_promiscuous_get(uint16_t) {
  return 0;
}

// Rules for one address each; a handle is the address.
int rte_flow_validate(uint16_t, const rte_flow_attr*, const rte_flow_item*, const rte_flow_action*,
                      rte_flow_error*) {
  return 0;
}

rte_flow* rte_flow_create(uint16_t, const rte_flow_attr*, const rte_flow_item* pattern,
                          const rte_flow_action* actions, rte_flow_error*) {
  const auto* wanted = static_cast<const rte_flow_item_eth*>(pattern->spec);
  const auto* queue = static_cast<const rte_flow_action_queue*>(actions->conf);
  const std::string address = text_of(wanted->hdr.dst_addr);
  const int result = nic.call("flow_create", fmt::format("{},{}", address, queue->index));
  rte_errno = -result;
  return result == 0 ? reinterpret_cast<rte_flow*>(new std::string(address)) : nullptr;
}

int rte_flow_destroy(uint16_t, rte_flow* flow, rte_flow_error*) {
  auto* address = reinterpret_cast<std::string*>(flow);
  const int result = nic.call("flow_destroy", *address);
  if (result == 0) delete address;
  return result;
}

}  // extern "C"
