// Programs the filters of a port's NIC as differences, with what its driver refuses made up for.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "control/port_filters.hpp"

namespace netback {

class FilterProgrammer {
 public:
  // `port` is DPDK's number of it, `name` for the log. Asks the driver for its primary MAC, for how
  // many addresses it takes and which modes it is in; nothing is programmed yet.
  // `lets_all_through`: it has nothing to filter with, and that it refuses is no news.
  FilterProgrammer(std::string name, uint16_t port, bool lets_all_through = false);

  // Its device has gone, or is about to be closed: what is programmed is forgotten, what is wanted
  // from now on is kept for the device that comes, and programmed then.
  void end();
  void begin(uint16_t port);

  // Vifs came or went: what the driver has refused is tried again.
  void program(WantedFilters wanted);
  // Nothing but groups, or who has multicast control, changed: a list of groups that the driver has
  // refused is tried again when it has become shorter, and nothing else.
  void program_groups(WantedFilters wanted);

  const WantedFilters& wanted() const { return wanted_; }
  const FilterState& programmed() const { return programmed_; }
  // Why it is in this mode: vifs, and what was refused; empty when it is not.
  Names why_promiscuous() const;
  Names why_allmulticast() const;

  struct Counts {
    uint64_t calls = 0;  // of the driver, refused or not
    // Times that it took to the mode though no vif needs it, for want of anything better.
    uint64_t promiscuous_fallbacks = 0, allmulticast_fallbacks = 0;
    // Calls that the driver refused.
    uint64_t primary_refused = 0, unicast_refused = 0, multicast_refused = 0,
             allmulticast_refused = 0, promiscuous_refused = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  void ask_driver(uint16_t port);
  void bring_about();
  int call(const FilterCall& call, const FilterState& to) const;
  void done(const FilterCall& call, const FilterState& to);
  bool refused(const FilterCall& call, const FilterState& to, int error);
  void count_fallback(const FilterCall& call);
  void log_once(const FilterCall& call, int error);
  size_t unlisted() const;
  bool needs_all_groups() const;

  const std::string name_;
  std::optional<uint16_t> port_;  // none: its device has gone
  const bool lets_all_through_;
  WantedFilters wanted_;
  FilterState programmed_;
  FilterLimits limits_;
  Counts counts_;
  std::set<std::pair<FilterCall::Kind, int>> logged_;  // calls and the errors that they met
};

// As people write it: "00:16:3e:01:02:03".
std::string address_text(const rte_ether_addr& address);

}  // namespace netback
