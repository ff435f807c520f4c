#include "control/flow_steering.hpp"

#include <fmt/format.h>
#include <rte_errno.h>

#include <utility>

#include "control/filter_programmer.hpp"
#include "lib/base/log.hpp"

namespace netback {
namespace {

// "Frames for this address to that queue."
struct RuleRequest {
  RuleRequest(const rte_ether_addr& address, uint16_t queue) : to{.index = queue} {
    wanted.hdr.dst_addr = address;
    mask.hdr.dst_addr = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    attributes.ingress = 1;
    pattern[0] = {.type = RTE_FLOW_ITEM_TYPE_ETH, .spec = &wanted, .last = nullptr, .mask = &mask};
    pattern[1].type = RTE_FLOW_ITEM_TYPE_END;
    actions[0] = {.type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &to};
    actions[1].type = RTE_FLOW_ACTION_TYPE_END;
  }
  RuleRequest(const RuleRequest&) = delete;

  rte_flow_attr attributes{};
  rte_flow_item_eth wanted{}, mask{};
  rte_flow_action_queue to;
  rte_flow_item pattern[2]{};
  rte_flow_action actions[2]{};
};

}  // namespace

void FlowSteering::begin(uint16_t device) {
  device_ = device;
  absent_ = 0;
  refused_.clear();
  for (const auto& [address, rule] : wanted_) settle(address);
}

void FlowSteering::end() {
  device_.reset();
  programmed_.clear();
  refused_.clear();
}

void FlowSteering::steer(const rte_ether_addr& address, std::optional<FlowRule> wanted) {
  if (wanted)
    wanted_[address] = *std::move(wanted);
  else
    wanted_.erase(address);
  if (device_) settle(address);
}

void FlowSteering::clear() {
  wanted_.clear();
  refused_.clear();
  std::erase_if(programmed_, [this](const auto& one) { return remove(one.second); });
}

// Brings about what is wanted of one address.
void FlowSteering::settle(const rte_ether_addr& address) {
  const auto wanted = wanted_.find(address);
  const bool is_wanted = wanted != wanted_.end();
  if (!is_wanted) refused_.erase(address);
  const auto made = programmed_.find(address);
  if (made != programmed_.end()) {
    FlowRule& rule = made->second.rule;
    if (is_wanted && rule.queue == wanted->second.queue) {
      rule.vif = wanted->second.vif;
      return;
    }
    if (!remove(made->second)) return;
    programmed_.erase(made);
  }
  if (is_wanted && absent_ == 0 && !refused_.contains(address)) add(address, wanted->second);
}

bool FlowSteering::remove(const Programmed& programmed) {
  rte_flow_error ignored{};
  ++counts_.calls;
  const int result = rte_flow_destroy(*device_, programmed.handle, &ignored);
  if (result == 0) return true;
  ++counts_.refused;
  log::warn("port '{}': its driver does not take a flow rule away: {}", name_,
            rte_strerror(-result));
  return false;
}

void FlowSteering::add(const rte_ether_addr& address, const FlowRule& rule) {
  const RuleRequest request(address, rule.queue);
  rte_flow_error ignored{};
  ++counts_.calls;
  const int result =
      rte_flow_validate(*device_, &request.attributes, request.pattern, request.actions, &ignored);
  if (result != 0) return refuse(address, -result);
  rte_flow* handle =
      rte_flow_create(*device_, &request.attributes, request.pattern, request.actions, &ignored);
  if (handle == nullptr) return refuse(address, rte_errno != 0 ? rte_errno : EIO);
  programmed_[address] = {rule, handle};
}

// Who has no such rules says so of the first.
void FlowSteering::refuse(const rte_ether_addr& address, int error) {
  ++counts_.refused;
  const bool first = std::exchange(refused_[address], error) == 0 && refused_.size() == 1;
  if ((error == ENOSYS || error == ENOTSUP) && programmed_.empty()) absent_ = error;
  if (first)
    log::info(
        "port '{}': its driver refuses a flow rule for {}: {}: its frames may come by any"
        " worker, and cross",
        name_, address_text(address), rte_strerror(error));
}

FlowRules FlowSteering::programmed() const {
  FlowRules rules;
  for (const auto& [address, one] : programmed_) rules.emplace(address, one.rule);
  return rules;
}

std::string FlowSteering::text() const {
  if (!device_) return "off: one queue pair, or no device";
  if (absent_ != 0) return fmt::format("absent: the driver says: {}", rte_strerror(absent_));
  if (refused_.empty()) return "on";
  return fmt::format("on, but for {} address{}: {}", refused_.size(),
                     refused_.size() == 1 ? "" : "es", rte_strerror(refused_.begin()->second));
}

}  // namespace netback
