#include "control/vif_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "control/ip_text.hpp"

namespace netback {
namespace {

namespace keys = netif::keys;

std::map<std::string, std::string> read_keys(const Store& store, const std::string& directory) {
  std::map<std::string, std::string> values;
  const auto there = store.directory(directory);  // few of them are
  for (const char* key : {keys::mac, keys::mtu, keys::rate, keys::nic, keys::bridge, keys::vlan,
                          keys::ip, keys::need_rx_filter, keys::need_set_physaddr})
    if (std::find(there.begin(), there.end(), key) != there.end())
      if (auto value = store.read(directory + "/" + key)) values[key] = *value;
  return values;
}

Result<Port*> find_port(const PlanSources& sources, const Origin<std::string>& nic) {
  for (const auto& port : sources.ports)
    if (port->config().name == nic.value) return port.get();
  return Error{fmt::format("there is no port '{}' ({})", nic.value, nic.from),
               "write it into dpdk-netback.toml and netbackctl port add, or correct nic"};
}

// Numbers of the workers that run on one of these cpus; all if none is named.
std::vector<size_t> workers_of(const std::vector<unsigned>& cpus,
                               const std::vector<unsigned>& wanted) {
  std::vector<size_t> workers;
  for (size_t i = 0; i < cpus.size(); ++i)
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), cpus[i]) != wanted.end())
      workers.push_back(i);
  return workers;
}

}  // namespace

std::string VifId::text() const {
  return fmt::format("{}.{}", domain, devid);
}

VifIdentity identify_vif(const Store& store, const VifId& id, const std::string& directory) {
  const std::string domain = store.domain_path(id.domain);
  VifIdentity identity{.mac = store.read(directory + "/" + keys::mac).value_or(""),
                       .domain = store.read(domain + "/name").value_or(""),
                       .uuid = store.read(domain + "/vm").value_or(""),
                       .devid = id.devid};
  // "/vm/UUID"
  if (const size_t slash = identity.uuid.rfind('/'); slash != std::string::npos)
    identity.uuid.erase(0, slash + 1);
  return identity;
}

Result<VifPlan> plan_vif(const PlanSources& sources, const VifIdentity& identity,
                         const std::string& directory) {
  const auto file = match_vif(sources.files.read(), identity);
  if (!file) return file.error();
  auto settings =
      effective_settings(Result(file).value(), read_keys(sources.store, directory), sources.config);
  if (!settings) return settings.error();
  VifPlan plan{.settings = std::move(settings).value()};
  auto port = find_port(sources, plan.settings.nic);
  if (!port) return port.error();
  plan.port = port.value();
  plan.workers = workers_of(sources.config.lcores, plan.settings.lcores.value);

  const auto& [mtu, from] = plan.settings.mtu;
  if (mtu > plan.port->config().mtu)
    return Error{fmt::format("mtu {} ({}) is more than port '{}' takes: {}", mtu, from,
                             plan.port->config().name, plan.port->config().mtu),
                 "lower the vif's mtu or raise the port's"};
  if (rte_ether_unformat_addr(plan.settings.mac.value.c_str(), &plan.queue.mac) != 0)
    return Error{fmt::format("mac '{}' is not an Ethernet address", plan.settings.mac.value)};
  plan.queue.frame_bytes_max = mtu + limits::ethernet_header_bytes;
  plan.queue.vlan = static_cast<uint16_t>(plan.settings.vlan.value);
  plan.queue.lock_mac = plan.settings.lock_mac.value;
  if (plan.settings.lock_ip.value && !plan.settings.ip.value.empty()) {
    const auto addresses = parse_addresses(plan.settings.ip.value);
    if (!addresses) return addresses.error();
    plan.queue.addresses =
        std::make_shared<SourceAddresses>(Result(addresses).value(), plan.queue.mac);
  }
  plan.queue.backlog_frames_max = plan.settings.backlog_frames.value;
  return plan;
}

}  // namespace netback
