#include "control/port_plug.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_eal.h>

#include <algorithm>

#include "control/config_vif.hpp"
#include "control/daemon.hpp"
#include "control/quote.hpp"
#include "control/startup.hpp"
#include "lib/base/log.hpp"

namespace netback {
namespace {

using Refusal = Requests::Refusal;

Refusal busy(const std::string& what, std::string fix = {}) {
  return {exit_code::busy, {what, std::move(fix)}};
}

}  // namespace

Result<PortConfig> read_port_config(const std::string& directory, const std::string& name) {
  auto read = read_daemon_config(directory);
  if (!read) return read.error();
  const DaemonConfig file = std::move(read).value();
  for (const PortConfig& port : file.ports)
    if (port.name == name) return port;
  return Error{fmt::format("{}/{} has no [[port]] {}; {}", directory, daemon_file_name,
                           in_quotes(name, '\''), port_names(file.ports)),
               "write it there first"};
}

Port* PortPlug::find(const std::string& name) const {
  const auto found = std::ranges::find(
      parts_.ports, name, [](const auto& port) -> const auto& { return port->config().name; });
  return found == parts_.ports.end() ? nullptr : found->get();
}

std::vector<std::string> PortPlug::vifs_on(const Port& port) const {
  std::vector<std::string> names;
  for (const VifSession* vif : parts_.watcher.vifs())
    if (vif->plan() && vif->plan()->port == &port)
      names.push_back(fmt::format("{} ({})", vif->id().text(), vif->identity().domain));
  return names;
}

PortPlug::Refused PortPlug::add(const std::string& name) {
  Port* const known = find(name);
  if (known != nullptr && known->removed() != Port::Removed::whole)
    return known->removed() == Port::Removed::no
               ? busy(fmt::format("port '{}' is there already", name),
                      fmt::format("netbackctl port remove {}", name))
               : busy(fmt::format("port '{}' is being removed", name), "try again");
  if (std::ranges::any_of(parts_.leaving, [&](const auto& p) { return p->config().name == name; }))
    return busy(fmt::format("port '{}' is being removed", name), "try again");
  const auto config = read_port_config(parts_.config_directory, name);
  if (!config) return Refusal{exit_code::usage, config.error()};
  const auto device = checked_device(Result(config).value(), known);
  if (!device) return Refusal{exit_code::failed, device.error()};
  if (known != nullptr)
    if (auto refused = unsuited(*known, Result(config).value(), Result(device).value()))
      return refused;
  Status status = known != nullptr
                      ? known->plug(Result(config).value(), Result(device).value(), parts_.pool)
                      : open(Result(config).value(), Result(device).value());
  if (!status) return Refusal{exit_code::failed, status.error()};
  if (known != nullptr) {
    auto& configs = parts_.config.ports;
    *std::ranges::find(configs, name, &PortConfig::name) = known->config();
    parts_.watch.fence(*known, [] {});  // one that sleeps is to arm it
    parts_.watcher.port_link_changed(*known);
  }
  log::info("port '{}': added, device '{}'", name, Result(config).value().device);
  for (VifSession* vif : parts_.watcher.vifs())
    if (!vif->plan()) vif->rearm();
  return std::nullopt;
}

// What cannot be opened in the place of a port that has vifs: workers have its queue pairs, guests
// its mtu.
PortPlug::Refused PortPlug::unsuited(const Port& known, const PortConfig& config,
                                     const PortDevice& device) const {
  const auto was = [&](const std::string& what) {
    if (vifs_on(known).empty())
      return busy(fmt::format("port '{}' was {} and is not closed", config.name, what),
                  fmt::format("netbackctl port remove {}, then add it", config.name));
    return busy(fmt::format("port '{}' has vifs and was {}", config.name, what),
                "detach them before it becomes another");
  };
  if (known.device().quirks != device.quirks)
    return was(fmt::format("a {}", known.device().quirks->driver));
  if (const size_t pairs = known.pairs().size(); device.queue_pairs != pairs)
    return was(fmt::format("of {} queue pairs", pairs));
  for (const VifSession* vif : parts_.watcher.vifs())
    if (vif->plan() && vif->plan()->port == &known && vif->plan()->settings.mtu.value > config.mtu)
      return busy(fmt::format("port '{}': mtu {} is less than that of vif {}, {}", config.name,
                              config.mtu, vif->id().text(), vif->plan()->settings.mtu.value),
                  "a larger mtu, or detach the vif");
  return std::nullopt;
}

// As the daemon's start does it. `known`: whose place it takes, with as many queue pairs if nobody
// asks for a number; or null.
Result<PortDevice> PortPlug::checked_device(PortConfig config, const Port* known) const {
  if (Status status = check_bridge(config); !status) return status.error();
  if (known != nullptr && !config.queue_pairs)
    config.queue_pairs = static_cast<uint32_t>(known->pairs().size());
  auto checked = check_device(config, {}, static_cast<uint16_t>(parts_.workers.size()));
  if (!checked) return checked.error();
  PortDevice device = std::move(checked).value();
  if (Status status = check_free(config, device); !status) return status.error();
  device.plugged = true;
  if (device.pci()) {
    if (Status status = check_memory({device}, parts_.hugepages); !status) return status.error();
    if (!rte_eal_has_pci())
      return Error{fmt::format("port '{}': DPDK left the PCI bus alone when it was started: no "
                               "port was a NIC then",
                               config.name),
                   "netbackctl stop --drain, and start the daemon again"};
  }
  std::vector<PortDevice> all = {device};
  for (const auto& port : parts_.ports)
    if (port->config().name != config.name) all.push_back(port->device());
  count_large_pairs(all);
  return all.front();
}

// Ports that have left the file since they were opened have a device, too.
Status PortPlug::check_free(const PortConfig& config, const PortDevice& device) const {
  for (const auto* ports : {&parts_.ports, &parts_.leaving})
    for (const auto& port : *ports) {
      if (port->config().name == config.name || port->removed() == Port::Removed::whole) continue;
      if (port->device().name == device.name)
        return Error{fmt::format("port '{}': device '{}' is port '{}' already", config.name,
                                 device.name, port->config().name),
                     fmt::format("netbackctl port remove {}", port->config().name)};
    }
  return Done{};
}

Status PortPlug::check_bridge(const PortConfig& config) const {
  for (const PortConfig& other : parts_.config.ports)
    if (!config.bridge.empty() && other.bridge == config.bridge && other.name != config.name)
      return Error{fmt::format("port '{}': bridge '{}' has port '{}' already", config.name,
                               config.bridge, other.name),
                   fmt::format("netbackctl port remove {}", other.name)};
  return Done{};
}

Status PortPlug::open(const PortConfig& config, const PortDevice& device) {
  if (parts_.ports.size() + parts_.leaving.size() >= limits::ports_max)
    return Error{fmt::format("there are {} ports already", limits::ports_max)};
  auto opened = Port::open(config, device, parts_.pool);
  if (!opened) return opened.error();
  PortQueue& queue = opened.value()->queue();
  // DPDK's number may be another port's place in the table: one whose device has come back by
  // another number, or one that is leaving.
  const uint16_t place = free_number();
  for (const auto& pair : opened.value()->pairs()) pair->port = place;
  opened.value()->lend_to(choose_worker(), static_cast<uint16_t>(parts_.workers.size()));
  parts_.ports.push_back(std::move(opened).value());
  if (device.for_good) parts_.devices.push_back(device);
  parts_.config.ports.push_back(config);
  parts_.forwarding.add_port(queue);
  return Done{};
}

uint16_t PortPlug::choose_worker() const {
  std::vector<size_t> ports(parts_.workers.size());
  for (const auto& port : parts_.ports)
    for (const auto& pair : port->pairs()) ++ports[pair->worker];
  return static_cast<uint16_t>(std::ranges::min_element(ports) - ports.begin());
}

// Not soon one that was another's: frames that have crossed with it may still be on their way.
uint16_t PortPlug::free_number() {
  const auto has = [](uint16_t number) {
    return [number](const auto& port) { return port->queue().port == number; };
  };
  do last_number_ = static_cast<uint16_t>((last_number_ + 1) % limits::ports_max);
  while (std::ranges::any_of(parts_.ports, has(last_number_)) ||
         std::ranges::any_of(parts_.leaving, has(last_number_)));
  return last_number_;
}

PortPlug::Refused PortPlug::remove(const std::string& name, bool force) {
  Port* const port = find(name);
  if (port == nullptr)
    return Refusal{exit_code::failed,
                   {"there is no port " + in_quotes(name, '\''), "netbackctl port"}};
  if (port->removed() == Port::Removed::soon)
    return busy(fmt::format("port '{}' is being removed", name), "try again");
  if (port->device().for_good)
    return busy(
        fmt::format("port '{}': what its driver has opened stays open until the daemon ends", name),
        "netbackctl stop --drain, and start the daemon without it");
  const auto vifs = vifs_on(*port);
  if (!vifs.empty() && port->removed() == Port::Removed::whole)
    return busy(
        fmt::format("port '{}' is removed; it stays for its vifs: {}", name, fmt::join(vifs, ", ")),
        "detach them, or add it again");
  if (!vifs.empty() && !force)
    return busy(fmt::format("port '{}' has vifs: {}", name, fmt::join(vifs, ", ")),
                "detach them, or --force: it is as if its device had gone");
  parts_.watch.forget(*port);
  vifs.empty() ? close_soon(*port) : unplug(*port);
  return std::nullopt;
}

// The vifs stay, without a carrier.
void PortPlug::unplug(Port& port) {
  log::warn("port '{}': removed by force; what is for it is dropped until it is added again",
            port.config().name);
  port.begin_removal();
  parts_.watcher.port_link_changed(port);
  // Until all have seen it one may be in the driver.
  parts_.watch.fence(port, [&port] { port.finish_removal(); });
}

void PortPlug::close_soon(Port& port) {
  const std::string& name = port.config().name;
  std::erase_if(parts_.config.ports, [&](const PortConfig& each) { return each.name == name; });
  port.begin_removal();
  const auto place =
      std::ranges::find(parts_.ports, &port, [](const auto& each) { return each.get(); });
  parts_.leaving.push_back(std::move(*place));
  parts_.ports.erase(place);
  parts_.forwarding.remove_port(port.queue(), [this, gone = &port] { close_now(gone); });
}

// Nobody knows of it any more.
void PortPlug::close_now(const Port* port) {
  const auto place =
      std::ranges::find(parts_.leaving, port, [](const auto& each) { return each.get(); });
  const std::string name = port->config().name;
  (*place)->give_back();
  parts_.leaving.erase(place);
  log::info("port '{}': removed", name);
}

}  // namespace netback
