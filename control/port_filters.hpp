// What a port's NIC must let through for the vifs of the port, and the calls that bring it there.
// Pure: no DPDK call in here. What the NIC lets through beyond that, forwarding filters.
#pragma once

#include <rte_ether.h>

#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace netback {

struct AddressOrder {
  bool operator()(const rte_ether_addr& one, const rte_ether_addr& other) const {
    return std::memcmp(&one, &other, sizeof one) < 0;
  }
};
using Addresses = std::set<rte_ether_addr, AddressOrder>;
using Names = std::vector<std::string>;
// Whom each address is for.
using AddressUsers = std::map<rte_ether_addr, Names, AddressOrder>;

// Of one connected vif.
struct FilterNeeds {
  std::string vif;  // its name for people
  rte_ether_addr mac;
  bool filtered = true;       // false: it sees everything (rx-filter)
  bool set_physaddr = false;  // the port's primary MAC is to be its own
  // Those it has joined; none: it gets all of them, having no multicast control.
  std::optional<std::vector<rte_ether_addr>> groups = {};
};

// Of all vifs of a port, each with who needs it.
struct WantedFilters {
  std::optional<rte_ether_addr> primary = {};  // absent: the port's own
  std::string primary_for = {};
  AddressUsers unicast = {};  // with the primary
  AddressUsers multicast = {};
  Names allmulticast = {};
  Names promiscuous = {};
};

// `vifs` in the order in which they connected: of those that want the primary MAC to be theirs the
// newest has it (seed S10). Two vifs with one address need it once (seed S8).
WantedFilters wanted_filters(const std::vector<FilterNeeds>& vifs);

// What is programmed, or shall be.
struct FilterState {
  rte_ether_addr primary = {};
  Addresses unicast = {};  // without the primary
  Addresses multicast = {};
  bool allmulticast = false;
  bool promiscuous = false;
};

// What the NIC is, and what it has refused: the errno, 0 if nothing.
struct FilterLimits {
  rte_ether_addr own = {};  // its primary MAC before we came
  size_t unicast_max = 0;   // addresses besides the primary
  int primary_refused = 0;
  int unicast_refused = 0;
  int multicast_refused = 0;
  size_t multicast_refused_count = 0;  // the least number of groups that it did not take
  int allmulticast_refused = 0;
  int promiscuous_refused = 0;

  bool takes_groups(size_t count) const {
    return multicast_refused == 0 || count < multicast_refused_count;
  }
};

// The NIC's next state. Addresses that do not fit, or are refused, make it promiscuous; groups make
// it take all groups, and promiscuous if it refuses that. In promiscuous mode it has no groups
// (seed S13). Refused all that, it has what it takes.
FilterState next_state(const WantedFilters& wanted, const FilterState& programmed,
                       const FilterLimits& limits);

struct FilterCall {
  enum class Kind : uint8_t {
    set_primary,
    add_unicast,
    remove_unicast,
    set_multicast,  // the whole list
    // From here on the modes.
    enter_allmulticast,
    leave_allmulticast,
    enter_promiscuous,
    leave_promiscuous,
  };
  Kind kind;
  rte_ether_addr address = {};  // of the first three
};

// The next call from one state to the other; none: they are the same. In an order in which nothing
// that both let through is lost on the way, and what goes, goes as the seed has it (S12): groups,
// promiscuous mode, addresses. `own` is the NIC's own primary MAC.
std::optional<FilterCall> next_call(const FilterState& from, const FilterState& to,
                                    const rte_ether_addr& own);

// `state` after the call; the list of groups becomes `to`'s.
void note_call(FilterState& state, const FilterCall& call, const FilterState& to);

}  // namespace netback
