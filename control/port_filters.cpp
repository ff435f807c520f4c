#include "control/port_filters.hpp"

#include <algorithm>

namespace netback {
namespace {

using Kind = FilterCall::Kind;

bool same(const Addresses& one, const Addresses& other) {
  return std::ranges::equal(
      one, other, [](const auto& a, const auto& b) { return rte_is_same_ether_addr(&a, &b); });
}

Addresses addresses_of(const AddressUsers& users) {
  Addresses all;
  for (const auto& [address, vifs] : users) all.insert(address);
  return all;
}

// Those that are programmed stay; then as many as there is room for. False: not all of them.
bool fit_unicast(const Addresses& wanted, const FilterState& programmed, const FilterLimits& limits,
                 FilterState& state) {
  for (const auto& address : wanted)
    if (programmed.unicast.contains(address)) state.unicast.insert(address);
  for (const auto& address : wanted)
    if (state.unicast.size() < limits.unicast_max && limits.unicast_refused == 0)
      state.unicast.insert(address);
  return state.unicast.size() == wanted.size();
}

// False: not all groups that are wanted, and promiscuous mode would help.
bool fit_multicast(const WantedFilters& wanted, const FilterLimits& limits, FilterState& state) {
  const bool takes_groups = limits.takes_groups(wanted.multicast.size());
  const bool all = !wanted.allmulticast.empty() || !takes_groups;
  state.allmulticast = all && limits.allmulticast_refused == 0;
  if (!state.allmulticast && takes_groups) state.multicast = addresses_of(wanted.multicast);
  return state.allmulticast || !all;
}

// One that is in the first and not in the second.
std::optional<rte_ether_addr> one_beyond(const Addresses& first, const Addresses& second) {
  for (const auto& address : first)
    if (!second.contains(address)) return address;
  return std::nullopt;
}

// A primary MAC must not be in the list of the others when it is set.
FilterCall call_for_primary(const FilterState& from, const FilterState& to) {
  const bool listed = from.unicast.contains(to.primary);
  return {listed ? Kind::remove_unicast : Kind::set_primary, to.primary};
}

}  // namespace

WantedFilters wanted_filters(const std::vector<FilterNeeds>& vifs) {
  WantedFilters wanted;
  for (const FilterNeeds& needs : vifs) {
    wanted.unicast[needs.mac].push_back(needs.vif);
    if (needs.set_physaddr) {
      wanted.primary = needs.mac;
      wanted.primary_for = needs.vif;
    }
    if (!needs.filtered) wanted.promiscuous.push_back(needs.vif);
    if (!needs.groups) {
      wanted.allmulticast.push_back(needs.vif);
      continue;
    }
    for (const auto& group : *needs.groups) {
      if (rte_is_broadcast_ether_addr(&group)) continue;  // comes to all, and drivers may refuse it
      Names& vifs_of_group = wanted.multicast[group];     // in a guest's list it may be twice
      if (vifs_of_group.empty() || vifs_of_group.back() != needs.vif)
        vifs_of_group.push_back(needs.vif);
    }
  }
  return wanted;
}

FilterState next_state(const WantedFilters& wanted, const FilterState& programmed,
                       const FilterLimits& limits) {
  FilterState state;
  state.primary = wanted.primary.value_or(limits.own);
  if (limits.primary_refused != 0) state.primary = programmed.primary;
  Addresses unicast = addresses_of(wanted.unicast);
  unicast.erase(state.primary);
  const bool fits = fit_unicast(unicast, programmed, limits, state);
  state.promiscuous = (!wanted.promiscuous.empty() || !fits) && limits.promiscuous_refused == 0;
  if (state.promiscuous) return state;
  if (!fit_multicast(wanted, limits, state)) state.promiscuous = limits.promiscuous_refused == 0;
  if (state.promiscuous) state.multicast.clear();
  return state;
}

std::optional<FilterCall> next_call(const FilterState& from, const FilterState& to,
                                    const rte_ether_addr& own) {
  const bool other_primary = !rte_is_same_ether_addr(&from.primary, &to.primary);
  if (other_primary && !rte_is_same_ether_addr(&to.primary, &own))
    return call_for_primary(from, to);
  if (to.promiscuous && !from.promiscuous) return FilterCall{Kind::enter_promiscuous};
  if (to.allmulticast && !from.allmulticast) return FilterCall{Kind::enter_allmulticast};
  const auto unneeded = one_beyond(from.unicast, to.unicast);
  // The primary that is about to go would be there already, and then not.
  Addresses there = from.unicast;
  there.insert(from.primary);
  if (const auto added = one_beyond(to.unicast, there)) {
    if (unneeded) return FilterCall{Kind::remove_unicast, *unneeded};  // makes room
    return FilterCall{Kind::add_unicast, *added};
  }
  if (!same(from.multicast, to.multicast)) return FilterCall{Kind::set_multicast};
  if (from.allmulticast && !to.allmulticast) return FilterCall{Kind::leave_allmulticast};
  if (from.promiscuous && !to.promiscuous) return FilterCall{Kind::leave_promiscuous};
  if (unneeded) return FilterCall{Kind::remove_unicast, *unneeded};
  if (other_primary) return call_for_primary(from, to);
  return std::nullopt;
}

void note_call(FilterState& state, const FilterCall& call, const FilterState& to) {
  switch (call.kind) {
    case Kind::set_primary:
      state.primary = call.address;
      break;
    case Kind::add_unicast:
      state.unicast.insert(call.address);
      break;
    case Kind::remove_unicast:
      state.unicast.erase(call.address);
      break;
    case Kind::set_multicast:
      state.multicast = to.multicast;
      break;
    case Kind::enter_allmulticast:
      state.allmulticast = true;
      break;
    case Kind::leave_allmulticast:
      state.allmulticast = false;
      break;
    case Kind::enter_promiscuous:
      state.promiscuous = true;
      break;
    case Kind::leave_promiscuous:
      state.promiscuous = false;
      break;
  }
}

}  // namespace netback
