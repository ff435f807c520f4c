#include "control/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "control/config_text.hpp"
#include "control/config_vif.hpp"

namespace netback {

namespace {

constexpr uint32_t memory_mb_min = 64;
constexpr uint32_t memory_mb_max = 1024 * 1024;
constexpr uint32_t frame_buffers_min = 1024;
constexpr uint32_t frame_buffers_max = 4 * 1024 * 1024;
constexpr uint32_t large_buffers_min = 64;
constexpr uint32_t large_buffers_max = 1024 * 1024;
constexpr uint32_t spin_us_max = 1'000'000;
constexpr uint32_t gather_us_max = 1'000;

// "always" or microseconds.
void read_spin(TableReader& table, DaemonConfig& config) {
  if (table.is_text("spin-us")) {
    if (table.one_of("spin-us", {"always"})) config.spin_us = DaemonConfig::spin_always;
    return;
  }
  config.spin_us = table.number("spin-us", 0, spin_us_max).value_or(config.spin_us);
}

// A name, a device or a bridge belongs to one port.
void check_unique(TableReader& table, std::string_view key, const std::string& value,
                  const std::vector<PortConfig>& others, std::string PortConfig::*field) {
  if (value.empty()) return;
  for (const PortConfig& other : others) {
    if (other.*field != value) continue;
    table.problem_at(key, fmt::format("'{}': \"{}\" is port '{}' already", key, value, other.name));
    return;
  }
}

// One for each worker, or one that they share: nothing between would be polled.
void read_queue_pairs(TableReader& table, size_t workers, PortConfig& port) {
  port.queue_pairs = table.number("queue-pairs", 1, limits::workers_max);
  if (!port.queue_pairs || *port.queue_pairs == 1 || *port.queue_pairs == workers) return;
  table.problem_at("queue-pairs",
                   fmt::format("'queue-pairs' is {}: a port has 1, or one for each of the {} cpus"
                               " of 'lcores'",
                               *port.queue_pairs, workers));
}

void read_port(const toml::table& text, Problems& problems, DaemonConfig& config) {
  std::vector<PortConfig>& ports = config.ports;
  TableReader table(text, problems);
  PortConfig port;
  port.name = table.text("name").value_or("");
  port.device = table.text("device").value_or("");
  port.mtu = table.number("mtu", mtu_min, mtu_max).value_or(port.mtu);
  port.bridge = table.text("bridge").value_or("");
  read_queue_pairs(table, std::max<size_t>(1, config.lcores.size()), port);
  table.finish();
  // Only now: a misspelt key says more than a missing one.
  for (const char* key : {"name", "device"}) {
    if (problems.none() && !table.has(key)) {
      problems.add(table.line(), fmt::format("[[port]] without '{}'", key));
    }
  }
  check_unique(table, "name", port.name, ports, &PortConfig::name);
  check_unique(table, "device", port.device, ports, &PortConfig::device);
  check_unique(table, "bridge", port.bridge, ports, &PortConfig::bridge);
  ports.push_back(std::move(port));
}

void read_defaults(const toml::table& text, Problems& problems, DaemonConfig& config) {
  TableReader table(text, problems);
  for (const char* key : {"mac", "devid", "domain", "uuid"}) {
    table.refuse(key, "belongs in a vif file: it says which vif the file is about");
  }
  read_settings(table, config.defaults, lock_ip_built_in);
  table.finish();
  if (!config.defaults.nic) return;
  for (const PortConfig& port : config.ports) {
    if (port.name == *config.defaults.nic) return;
  }
  table.problem_at("nic", fmt::format("port '{}' is not in {}; {}", *config.defaults.nic,
                                      daemon_file_name, port_names(config.ports)));
}

void check_workers(TableReader& table, const DaemonConfig& config) {
  if (config.lcores.size() <= limits::workers_max) return;
  table.problem_at("lcores", fmt::format("'lcores' names {} cpus: there can be {} workers",
                                         config.lcores.size(), limits::workers_max));
}

}  // namespace

Result<DaemonConfig> read_daemon_config(const std::string& directory) {
  const std::string file = (std::filesystem::path(directory) / daemon_file_name).string();
  auto text = read_toml(file);
  if (!text) return text.error();
  Problems problems(file);
  TableReader table(text.value(), problems);
  DaemonConfig config;
  config.lcores = table.lcores("lcores").value_or(config.lcores);
  config.memory = table.one_of("memory", {"auto", "hugepages", "pages"}).value_or(config.memory);
  config.memory_mb =
      table.number("memory-mb", memory_mb_min, memory_mb_max).value_or(config.memory_mb);
  config.frame_buffers = table.number("frame-buffers", frame_buffers_min, frame_buffers_max)
                             .value_or(config.frame_buffers);
  config.large_buffers = table.number("large-buffers", large_buffers_min, large_buffers_max)
                             .value_or(std::min(config.large_buffers, config.frame_buffers / 8));
  read_spin(table, config);
  config.gather_us = table.number("gather-us", 0, gather_us_max).value_or(config.gather_us);
  config.wait_for_hotplug = table.truth("wait-for-hotplug").value_or(config.wait_for_hotplug);
  config.log_level =
      table.one_of("log-level", {"error", "warn", "info", "debug"}).value_or(config.log_level);
  for (const toml::table* port : table.tables("port")) read_port(*port, problems, config);
  check_workers(table, config);
  if (const toml::table* defaults = table.table("defaults")) {
    read_defaults(*defaults, problems, config);
  }
  table.finish();
  if (!problems.none()) return problems.first();
  return config;
}

}  // namespace netback
