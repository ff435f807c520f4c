#include "control/ctl/rates.hpp"

#include <cstdint>
#include <map>
#include <string_view>

namespace netback::ctl {
namespace {

uint64_t number(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<uint64_t>() : 0;
}

// The entry of a list whose `key` is the same; an empty one when there is none.
const Json& matching(const Json& list, const char* key, const Json& value) {
  static const Json none = Json::object();
  for (const Json& entry : list)
    if (entry.contains(key) && entry[key] == value) return entry;
  return none;
}

// How the counters of one object moved.
class Change {
 public:
  Change(const Json& before, const Json& after, double seconds)
      : before_(before), after_(after), seconds_(seconds) {}

  double total(const std::string& key) const {
    const uint64_t now = number(after_, key), then = number(before_, key);
    return static_cast<double>(now >= then ? now - then : now);
  }
  double per_second(const std::string& key) const {
    return seconds_ > 0 ? total(key) / seconds_ : 0;
  }
  double megabits(const std::string& key) const { return per_second(key) * 8 / 1e6; }
  double ratio(const std::string& key, const std::string& per) const {
    const double divisor = total(per);
    return divisor > 0 ? total(key) / divisor : 0;
  }
  const Json& after() const { return after_; }

 private:
  const Json& before_;
  const Json& after_;
  double seconds_;
};

DirectionRates direction_rates(const Change& change, const std::string& direction) {
  DirectionRates rates{
      .frames = change.per_second(direction + "_frames"),
      .megabits = change.megabits(direction + "_bytes"),
      .slots_per_copy = change.ratio(direction + "_copy_slots", direction + "_copy_calls"),
      .notifications_per_frame = change.ratio(direction + "_notifications", direction + "_frames")};
  const std::string prefix = direction + "_drop_";
  constexpr std::string_view suffix = "_frames";
  for (const auto& [key, value] : change.after().items()) {
    if (!key.starts_with(prefix) || !key.ends_with(suffix)) continue;
    const double drops = change.per_second(key);
    if (drops > 0)
      rates.drops.emplace_back(
          key.substr(prefix.size(), key.size() - prefix.size() - suffix.size()), drops);
  }
  return rates;
}

Json direction_json(const DirectionRates& rates) {
  Json drops = Json::object();
  for (const auto& [reason, frames] : rates.drops) drops[reason] = frames;
  return {{"frames_per_s", rates.frames},
          {"mbit_per_s", rates.megabits},
          {"slots_per_copy", rates.slots_per_copy},
          {"notifications_per_frame", rates.notifications_per_frame},
          {"drops_per_s", drops}};
}

}  // namespace

Rates rates_between(const Json& before, const Json& after) {
  Rates rates;
  rates.seconds = static_cast<double>(number(after, "time_ns") - number(before, "time_ns")) / 1e9;
  std::map<uint64_t, double> frames;  // that each worker moved
  for (const Json& vif : after["vifs"]) {
    const Change change(matching(before["vifs"], "vif", vif["vif"]), vif, rates.seconds);
    rates.vifs.push_back({vif.value("vif", ""), vif.value("domain", ""), vif.value("state", ""),
                          direction_rates(change, "from_guest"),
                          direction_rates(change, "to_guest")});
    frames[number(vif, "worker")] +=
        change.total("from_guest_frames") + change.total("to_guest_frames");
  }
  for (const Json& port : after["ports"]) {
    const Change change(matching(before["ports"], "port", port["port"]), port, rates.seconds);
    rates.ports.push_back(
        {port.value("port", ""), port.value("link", ""), change.per_second("port_received_frames"),
         change.megabits("port_received_bytes"), change.per_second("port_sent_frames"),
         change.megabits("port_sent_bytes"), change.ratio("port_sent_frames", "port_sent_bursts")});
  }
  for (const Json& worker : after["workers"]) {
    const Change change(matching(before["workers"], "worker", worker["worker"]), worker,
                        rates.seconds);
    const double moved = frames[number(worker, "worker")];
    rates.workers.push_back({worker.value("worker", 0u), worker.value("cpu", 0u),
                             change.ratio("worker_busy_cycles", "worker_cycles"),
                             moved > 0 ? change.total("worker_busy_cycles") / moved : 0,
                             change.per_second("worker_sleeps")});
  }
  return rates;
}

Json rates_json(const Rates& rates) {
  Json json = {{"seconds", rates.seconds}};
  json["vifs"] = json["ports"] = json["workers"] = Json::array();
  for (const auto& vif : rates.vifs)
    json["vifs"].push_back({{"vif", vif.vif},
                            {"domain", vif.domain},
                            {"state", vif.state},
                            {"from_guest", direction_json(vif.from_guest)},
                            {"to_guest", direction_json(vif.to_guest)}});
  for (const auto& port : rates.ports)
    json["ports"].push_back({{"port", port.port},
                             {"link", port.link},
                             {"received_frames_per_s", port.received_frames},
                             {"received_mbit_per_s", port.received_megabits},
                             {"sent_frames_per_s", port.sent_frames},
                             {"sent_mbit_per_s", port.sent_megabits},
                             {"frames_per_burst", port.frames_per_burst}});
  for (const auto& worker : rates.workers)
    json["workers"].push_back({{"worker", worker.worker},
                               {"cpu", worker.cpu},
                               {"busy", worker.busy},
                               {"cycles_per_frame", worker.cycles_per_frame},
                               {"sleeps_per_s", worker.sleeps}});
  return json;
}

}  // namespace netback::ctl
