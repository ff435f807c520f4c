#include "control/filter_programmer.hpp"

#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>

#include "lib/base/log.hpp"
#include "lib/base/mac_text.hpp"

namespace netback {
namespace {

using Kind = FilterCall::Kind;

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::set_primary:
      return "primary MAC";
    case Kind::add_unicast:
    case Kind::remove_unicast:
      return "address";
    case Kind::set_multicast:
      return "list of groups";
    case Kind::enter_allmulticast:
    case Kind::leave_allmulticast:
      return "taking all groups";
    default:
      return "promiscuous mode";
  }
}

std::string_view consequence_of(Kind kind) {
  switch (kind) {
    case Kind::set_primary:
      return "it keeps the MAC that it has";
    case Kind::add_unicast:
    case Kind::enter_allmulticast:
      return "promiscuous instead";
    case Kind::set_multicast:
      return "it takes all groups instead";
    case Kind::enter_promiscuous:
      return "frames for guests may not arrive";
    default:
      return "it lets more through than is needed";
  }
}

}  // namespace

FilterProgrammer::FilterProgrammer(std::string name, uint16_t port, bool lets_all_through)
    : name_(std::move(name)), lets_all_through_(lets_all_through) {
  ask_driver(port);
}

void FilterProgrammer::ask_driver(uint16_t port) {
  port_ = port;
  limits_ = {};
  rte_eth_dev_info info{};
  if (rte_eth_dev_info_get(port, &info) == 0 && info.max_mac_addrs > 0)
    limits_.unicast_max = info.max_mac_addrs - 1;
  rte_eth_macaddr_get(port, &limits_.own);
  programmed_ = {.primary = limits_.own,
                 .allmulticast = rte_eth_allmulticast_get(port) == 1,
                 .promiscuous = rte_eth_promiscuous_get(port) == 1};
}

void FilterProgrammer::end() {
  port_.reset();
  programmed_ = {.primary = limits_.own};
}

void FilterProgrammer::begin(uint16_t port) {
  ask_driver(port);
  bring_about();
}

void FilterProgrammer::program(WantedFilters wanted) {
  wanted_ = std::move(wanted);
  limits_ = {.own = limits_.own, .unicast_max = limits_.unicast_max};
  bring_about();
}

void FilterProgrammer::program_groups(WantedFilters wanted) {
  wanted_ = std::move(wanted);
  bring_about();
}

// Ends: each call brings the NIC nearer, or adds to what it has refused.
void FilterProgrammer::bring_about() {
  while (port_) {
    const FilterState to = next_state(wanted_, programmed_, limits_);
    const auto next = next_call(programmed_, to, limits_.own);
    if (!next) return;
    ++counts_.calls;
    const int error = -call(*next, to);
    if (error != 0) log_once(*next, error);
    if (error == 0 || !refused(*next, to, error)) done(*next, to);
  }
}

// 0, or -errno.
int FilterProgrammer::call(const FilterCall& call, const FilterState& to) const {
  rte_ether_addr address = call.address;
  switch (call.kind) {
    case Kind::set_primary:
      return rte_eth_dev_default_mac_addr_set(*port_, &address);
    case Kind::add_unicast:
      return rte_eth_dev_mac_addr_add(*port_, &address, 0);
    case Kind::remove_unicast:
      return rte_eth_dev_mac_addr_remove(*port_, &address);
    case Kind::set_multicast: {
      std::vector<rte_ether_addr> groups(to.multicast.begin(), to.multicast.end());
      return rte_eth_dev_set_mc_addr_list(*port_, groups.data(),
                                          static_cast<uint32_t>(groups.size()));
    }
    case Kind::enter_allmulticast:
      return rte_eth_allmulticast_enable(*port_);
    case Kind::leave_allmulticast:
      return rte_eth_allmulticast_disable(*port_);
    case Kind::enter_promiscuous:
      return rte_eth_promiscuous_enable(*port_);
    default:
      return rte_eth_promiscuous_disable(*port_);
  }
}

void FilterProgrammer::done(const FilterCall& call, const FilterState& to) {
  note_call(programmed_, call, to);
  count_fallback(call);
}

// Whether something must be made up for. What it refuses to take away is let through, no more.
bool FilterProgrammer::refused(const FilterCall& call, const FilterState& to, int error) {
  const auto is_programmed = [this](const auto& group) {
    return programmed_.multicast.contains(group);
  };
  switch (call.kind) {
    case Kind::set_primary:
      ++counts_.primary_refused;
      limits_.primary_refused = error;
      return true;
    case Kind::add_unicast:
      ++counts_.unicast_refused;
      limits_.unicast_refused = error;
      return true;
    case Kind::remove_unicast:
      ++counts_.unicast_refused;
      return false;
    case Kind::set_multicast:
      ++counts_.multicast_refused;
      if (std::ranges::all_of(to.multicast, is_programmed)) return false;
      limits_.multicast_refused = error;
      limits_.multicast_refused_count = to.multicast.size();
      return true;
    case Kind::enter_allmulticast:
      ++counts_.allmulticast_refused;
      limits_.allmulticast_refused = error;
      return true;
    case Kind::leave_allmulticast:
      ++counts_.allmulticast_refused;
      return false;
    case Kind::enter_promiscuous:
      ++counts_.promiscuous_refused;
      limits_.promiscuous_refused = error;
      return true;
    default:
      ++counts_.promiscuous_refused;
      return false;
  }
}

void FilterProgrammer::count_fallback(const FilterCall& call) {
  if (call.kind == Kind::enter_allmulticast && wanted_.allmulticast.empty())
    ++counts_.allmulticast_fallbacks;
  if (call.kind != Kind::enter_promiscuous || !wanted_.promiscuous.empty()) return;
  if (counts_.promiscuous_fallbacks++ == 0)
    log::info("port '{}': promiscuous; frames are filtered in software: {}", name_,
              fmt::join(why_promiscuous(), ", "));
}

// Who has no such mode has nothing to filter with.
void FilterProgrammer::log_once(const FilterCall& call, int error) {
  if (!logged_.insert({call.kind, error}).second) return;
  const std::string line =
      fmt::format("port '{}': its driver refuses {}: {}: {}", name_, name_of(call.kind),
                  rte_strerror(error), consequence_of(call.kind));
  if (call.kind == Kind::set_primary) return log::warn("{}", line);
  const bool mode = call.kind >= Kind::enter_allmulticast;
  if (lets_all_through_ || (mode && error == ENOTSUP)) return log::debug("{}", line);
  error == ENOTSUP ? log::info("{}", line) : log::warn("{}", line);
}

// Addresses that are wanted and not programmed.
size_t FilterProgrammer::unlisted() const {
  return static_cast<size_t>(std::ranges::count_if(wanted_.unicast, [this](const auto& user) {
    return !programmed_.unicast.contains(user.first) &&
           !rte_is_same_ether_addr(&user.first, &programmed_.primary);
  }));
}

bool FilterProgrammer::needs_all_groups() const {
  return !wanted_.allmulticast.empty() || !limits_.takes_groups(wanted_.multicast.size());
}

Names FilterProgrammer::why_promiscuous() const {
  Names why;
  if (!programmed_.promiscuous) return why;
  for (const auto& vif : wanted_.promiscuous) why.push_back(fmt::format("vif {}", vif));
  if (limits_.unicast_refused != 0)
    why.push_back(fmt::format("address refused ({})", rte_strerror(limits_.unicast_refused)));
  else if (const size_t count = unlisted(); count > 0)
    why.push_back(fmt::format("{} more addresses than the NIC takes", count));
  if (needs_all_groups() && limits_.allmulticast_refused != 0)
    why.push_back(
        fmt::format("all groups refused ({})", rte_strerror(limits_.allmulticast_refused)));
  return why;
}

Names FilterProgrammer::why_allmulticast() const {
  Names why;
  if (!programmed_.allmulticast) return why;
  for (const auto& vif : wanted_.allmulticast) why.push_back(fmt::format("vif {}", vif));
  if (!limits_.takes_groups(wanted_.multicast.size()))
    why.push_back(
        fmt::format("list of groups refused ({})", rte_strerror(limits_.multicast_refused)));
  return why;
}

std::string address_text(const rte_ether_addr& address) {
  return mac_text(address.addr_bytes);
}

}  // namespace netback
