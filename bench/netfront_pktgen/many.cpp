#include "bench/netfront_pktgen/many.hpp"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

namespace netback {
namespace {

using Traffics = std::vector<std::unique_ptr<Traffic>>;

Traffics begin_all(const Frontends& frontends, const TrafficOptions& options,
                   const std::atomic<bool>& stopped) {
  Traffics traffics;
  for (const auto& frontend : frontends) {
    const auto& queues = frontend->queues();
    QueuePart part{.count = static_cast<uint32_t>(queues.size())};
    for (const auto& queue : queues) {
      traffics.push_back(std::make_unique<Traffic>(*queue, options, stopped, part));
      ++part.number;
    }
  }
  for (const auto& traffic : traffics) traffic->begin();
  return traffics;
}

// `kind`: what they are, in the plural.
nlohmann::json results_of(const Traffics& traffics, const char* kind) {
  nlohmann::json sum = nlohmann::json::object(), each = nlohmann::json::array();
  for (const auto& traffic : traffics) {
    const nlohmann::json one = traffic->result();
    each.push_back(
        {{"sent", one["sent"]}, {"answered", one["answered"]}, {"received", one["received"]}});
    if (one.contains("steady_answered")) each.back()["steady_answered"] = one["steady_answered"];
    for (const auto& [key, value] : one.items())
      if (value.is_number_unsigned())
        sum[key] = sum.value(key, uint64_t{0}) + value.get<uint64_t>();
      else if (value.is_number())
        sum[key] = sum.value(key, 0.0) + value.get<double>();
    for (const char* time : {"seconds", "steady_seconds"})
      if (one.contains(time)) sum[time] = one[time];
  }
  sum[kind] = each;
  return sum;
}

std::chrono::nanoseconds until_due(const Traffics& traffics) {
  auto soonest = pause_max;
  for (const auto& traffic : traffics) soonest = std::min(soonest, traffic->until_due());
  return soonest;
}

}  // namespace

nlohmann::json send_by_turns(const Frontends& frontends, const TrafficOptions& options,
                             const std::atomic<bool>& stopped) {
  using Clock = std::chrono::steady_clock;
  const Traffics traffics = begin_all(frontends, options, stopped);
  const auto started = Clock::now();
  while (!traffics.front()->over(0)) {
    const double seconds = std::chrono::duration<double>(Clock::now() - started).count();
    for (const auto& traffic : traffics) traffic->send_due(seconds);
  }
  for (const auto& traffic : traffics) traffic->wait_for_answers();
  return results_of(traffics, "vifs");
}

nlohmann::json run_queues(const Frontends& frontends, const TrafficOptions& options,
                          const std::atomic<bool>& stopped, const char* kind) {
  const Traffics traffics = begin_all(frontends, options, stopped);
  const auto finished = [](const auto& traffic) { return traffic->finished(); };
  while (!std::ranges::all_of(traffics, finished)) {
    bool moved = false;
    for (const auto& traffic : traffics) moved |= traffic->step();
    if (!moved && options.events) frontends.front()->wait(until_due(traffics));
  }
  for (const auto& traffic : traffics) {
    traffic->receive_rest();
    traffic->wait_for_answers();
  }
  return results_of(traffics, kind);
}

nlohmann::json hold(GuestDevices& devices, const Frontends& frontends,
                    const TrafficOptions& options, const std::atomic<bool>& stopped) {
  constexpr std::chrono::milliseconds look_at_stopped(100);
  const Traffics traffics = begin_all(frontends, options, stopped);
  bool look = true;
  while (!stopped) {
    if (!look && !devices.wait(look_at_stopped)) continue;
    look = false;
    for (const auto& traffic : traffics) traffic->receive_some();
    for (const auto& frontend : frontends)
      for (const auto& queue : frontend->queues()) look |= queue->ask_events();
  }
  for (const auto& traffic : traffics) traffic->receive_rest();
  return results_of(traffics, "vifs");
}

}  // namespace netback
