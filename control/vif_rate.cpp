// A vif's limits: as its queues have them, and as xenstore changes them.
#include <fmt/format.h>
#include <rte_cycles.h>

#include "control/rate_text.hpp"
#include "control/vif_session.hpp"
#include "lib/base/log.hpp"

namespace netback {

// One that cannot be understood leaves the rate as it is, and `show` says so.
void VifSession::follow_rate() {
  if (!plan_ || plan_->settings.rate.from == from_vif_file) return;
  auto& warnings = plan_->settings.warnings;
  std::erase_if(warnings, [](const auto& warning) { return warning.starts_with("xenstore rate"); });
  auto rate = effective_rate({}, world_.store.read(path(netif::keys::rate)), world_.plans.config);
  if (!rate) {
    warnings.push_back(fmt::format("{}; it stays {}", rate.error().message,
                                   rate_text(plan_->settings.rate.value)));
    return log::warn("vif {}: {}", id_.text(), warnings.back());
  }
  const bool same = plan_->settings.rate.value == rate.value().value;
  plan_->settings.rate = rate.value();
  if (same) return;
  log::info("vif {}: rate {}", id_.text(), rate_text(plan_->settings.rate.value));
  if (connection_) apply_rates();
}

void VifSession::apply_rates() {
  const auto apply = [this](RateBudget& budget, const RateLimit& limit,
                            std::atomic<RateBudget*> GuestQueue::*place) {
    if (limit.limited()) budget.set(limit, rte_get_tsc_hz());
    for (GuestQueue* queue : connection_->queues())
      (queue->*place).store(limit.limited() ? &budget : nullptr, std::memory_order_relaxed);
  };
  apply(from_guest_rate_, plan_->settings.rate.value, &GuestQueue::from_guest_rate);
  apply(to_guest_rate_, plan_->settings.rate_to_guest.value, &GuestQueue::to_guest_rate);
}

}  // namespace netback
