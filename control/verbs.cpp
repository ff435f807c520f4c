// What the daemon answers on its control socket.
#include <fmt/format.h>
#include <unistd.h>

#include "control/daemon.hpp"
#include "control/quote.hpp"
#include "control/stats.hpp"

namespace netback {
namespace {

using Json = Requests::Json;
using Answer = Requests::Answer;
using Refusal = Requests::Refusal;

// args[key] as text; empty when absent.
std::string text_argument(const Json& args, const char* key) {
  const auto found = args.find(key);
  return found != args.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Refusal no_vif(const std::string& name) {
  return {exit_code::failed, {"there is no vif " + in_quotes(name, '\''), "netbackctl list"}};
}

Json all(const std::vector<VifSession*>& vifs) {
  Json list = Json::array();
  for (const VifSession* vif : vifs) list.push_back(vif_summary(*vif));
  return list;
}

}  // namespace

void Daemon::add_verbs() {
  requests_.add("info", [this](const Json&) { return info(); });
  requests_.add("list", [this](const Json&) { return Json{{"vifs", all(watcher_->vifs())}}; });
  requests_.add("show", [this](const Json& args) {
    return with_vif(args, [](VifSession& vif) { return vif_details(vif); });
  });
  requests_.add("rearm", [this](const Json& args) {
    return with_vif(args, [](VifSession& vif) {
      vif.rearm();
      return Json{{"vif", vif.id().text()}};
    });
  });
  requests_.add("stats", [this](const Json& args) { return stats(args); });
  requests_.add("port", [this](const Json& args) { return ports(args); });
  add_port_verbs();
  requests_.add("stop", [this](const Json& args) { return stop(args); });
}

// Without side effects (seed L2).
Json Daemon::info() const {
  using std::chrono::seconds;
  const auto up = std::chrono::duration_cast<seconds>(Loop::Clock::now() - started_);
  size_t connected = 0;
  for (const VifSession* vif : watcher_->vifs()) connected += vif->connection() != nullptr;
  return {{"version", NETBACK_VERSION},
          {"pid", getpid()},
          {"uptime_s", up.count()},
          {"config", options_.config_directory},
          {"memory", hugepages_ ? "hugepages" : "pages"},
          {"memory_mb", config_.memory_mb},
          {"buffers", pool_->buffers()},
          {"buffers_free", pool_->free_buffers()},
          {"large_buffers", pool_->large_buffers()},
          {"large_buffers_free", pool_->free_large_buffers()},
          {"worker_cpus", config_.lcores},
          {"ports", ports_.size()},
          {"vifs", watcher_->vifs().size()},
          {"vifs_connected", connected}};
}

Answer Daemon::with_vif(const Json& args, const std::function<Json(VifSession&)>& action) const {
  const std::string name = text_argument(args, "vif");
  VifSession* vif = watcher_->find(name);
  if (vif == nullptr) return no_vif(name);
  return action(*vif);
}

Answer Daemon::stats(const Json& args) const {
  std::vector<VifSession*> vifs = watcher_->vifs();
  if (const std::string name = text_argument(args, "vif"); !name.empty()) {
    VifSession* vif = watcher_->find(name);
    if (vif == nullptr) return no_vif(name);
    vifs = {vif};
  }
  std::vector<const Worker*> workers;
  for (const RunningWorker& running : workers_) workers.push_back(running.worker.get());
  return stats_json({vifs, ports_, workers, config_.lcores});
}

Answer Daemon::ports(const Json& args) const {
  const std::string name = text_argument(args, "port");
  Json list = Json::array();
  for (const auto& port : ports_) {
    if (!name.empty() && port->config().name != name) continue;
    list.push_back(port_details(*port));
    list.back()["worker_cpu"] = config_.lcores[port->queue().worker];
    for (Json& pair : list.back()["queue_pairs"])
      pair["cpu"] = config_.lcores[pair["worker"].get<size_t>()];
  }
  if (!name.empty() && list.empty())
    return Refusal{exit_code::failed,
                   {"there is no port " + in_quotes(name, '\''), "netbackctl port"}};
  Json leaving = Json::array();  // removed, and not closed yet
  for (const auto& port : leaving_ports_) leaving.push_back(port->config().name);
  for (const auto& port : ports_)
    if (port->removed() == Port::Removed::soon) leaving.push_back(port->config().name);
  return Json{{"ports", list}, {"leaving", leaving}};
}

// Refused while a vif is connected, unless told to drain (seed L3, S15).
Answer Daemon::stop(const Json& args) {
  std::vector<VifSession*> connected = watcher_->vifs();
  std::erase_if(connected, [](const VifSession* vif) { return vif->connection() == nullptr; });
  const bool drain = args.value("drain", Json(false)) == true;
  if (!drain && !connected.empty()) {
    std::string names;
    for (const VifSession* vif : connected)
      names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", vif->id().text(),
                           vif->identity().domain);
    return Refusal{exit_code::busy,
                   {"connected: " + names, "netbackctl stop --drain keeps guests connected", true}};
  }
  loop_->defer([this] { begin_drain(); });  // after the answer is on its way
  return Json{{"stopping", true}, {"drained", connected.size()}};
}

}  // namespace netback
