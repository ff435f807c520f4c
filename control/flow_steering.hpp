// A port's flow rules (rte_flow): what is for a vif's address comes by the queue pair of the vif's
// worker, if the NIC can do that. Without them it comes by any, and crosses.
#pragma once

#include <rte_flow.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "control/port_filters.hpp"

namespace netback {

struct FlowRule {
  std::string vif;     // for people
  uint16_t queue = 0;  // of the port
};
using FlowRules = std::map<rte_ether_addr, FlowRule, AddressOrder>;

class FlowSteering {
 public:
  // `name`: of the port, for the log.
  explicit FlowSteering(std::string name) : name_(std::move(name)) {}
  FlowSteering(const FlowSteering&) = delete;
  FlowSteering& operator=(const FlowSteering&) = delete;

  // A device is there that has several queues and no rules. It gets those that are wanted.
  void begin(uint16_t device);
  // It has gone, or is about to be closed, and its rules with it.
  void end();

  // What is wanted of one address from now on; none: no rule. One that was refused is not tried
  // again while it is wanted, though there may be room by then: frames on their way would be
  // overtaken by those that come after the rule. What cannot be taken away leads to a pair whose
  // worker passes it on, as without a rule.
  void steer(const rte_ether_addr& address, std::optional<FlowRule> wanted);
  // Nothing is wanted any more.
  void clear();

  FlowRules programmed() const;
  std::string text() const;  // for people: "on", or why not

  struct Counts {
    uint64_t calls = 0;    // to make a rule or take it away
    uint64_t refused = 0;  // of those
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Programmed {
    FlowRule rule;
    rte_flow* handle;
  };
  void settle(const rte_ether_addr& address);
  bool remove(const Programmed& programmed);
  void add(const rte_ether_addr& address, const FlowRule& rule);
  void refuse(const rte_ether_addr& address, int error);

  const std::string name_;
  std::optional<uint16_t> device_;  // none: it has gone, or has one queue
  FlowRules wanted_;
  std::map<rte_ether_addr, Programmed, AddressOrder> programmed_;
  std::map<rte_ether_addr, int, AddressOrder> refused_;  // wanted ones, with the errno
  int absent_ = 0;                                       // the errno of a driver that has no rules
  Counts counts_;
};

}  // namespace netback
