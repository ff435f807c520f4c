#include <fmt/format.h>

#include <algorithm>

#include "control/config_vif.hpp"
#include "control/ip_text.hpp"
#include "control/quote.hpp"
#include "control/rate_text.hpp"
#include "lib/netif/netif.hpp"
#include "lib/xen/number.hpp"

namespace netback {

namespace {

namespace keys = netif::keys;

using Keys = std::map<std::string, std::string>;

constexpr std::string_view from_xenstore = "xenstore";
constexpr std::string_view from_defaults = "defaults";
constexpr std::string_view built_in = "built in";

std::optional<std::string> find(const Keys& xenstore, const char* key) {
  const auto found = xenstore.find(key);
  if (found == xenstore.end()) return std::nullopt;
  return found->second;
}

Error bad_key(const char* key, std::string_view why) {
  return {fmt::format("xenstore {}: {}", key, why)};
}

// The first that is given.
template <class T>
Origin<T> pick(const std::optional<T>& file, const std::optional<T>& xenstore,
               const std::optional<T>& defaults, T otherwise) {
  if (file) return {*file, from_vif_file};
  if (xenstore) return {*xenstore, from_xenstore};
  if (defaults) return {*defaults, from_defaults};
  return {std::move(otherwise), built_in};
}

// A key that may be absent and otherwise is a number in the range.
Status read_number(const Keys& xenstore, const char* key, uint32_t lowest, uint32_t highest,
                   std::optional<uint32_t>& number) {
  const auto text = find(xenstore, key);
  if (!text) return Done{};
  number = parse_number<uint32_t>(*text);
  if (number && *number >= lowest && *number <= highest) return Done{};
  return bad_key(key, fmt::format("must be a whole number from {} to {}, not {}", lowest, highest,
                                  in_quotes(*text)));
}

// illumos's keys of what a vif needs: a number, more than 0 for yes.
Status read_need(const Keys& xenstore, const char* key, std::optional<bool>& need) {
  std::optional<uint32_t> number;
  if (Status read = read_number(xenstore, key, 0, INT32_MAX, number); !read) return read;
  if (number) need = *number > 0;
  return Done{};
}

Result<Origin<std::string>> choose_mac(const VifConfig& file, const Keys& xenstore) {
  const auto text = find(xenstore, keys::mac);
  // libxl always writes one. A file's MAC is the one that it was matched by.
  if (file.mac) return Origin<std::string>{*file.mac, from_vif_file};
  if (!text) return bad_key(keys::mac, "is absent");
  auto mac = checked_mac(*text);
  if (!mac) return bad_key(keys::mac, mac.error().message);
  return Origin<std::string>{std::move(mac).value(), from_xenstore};
}

// The port on `bridge`, the key that xl always writes.
std::optional<std::string> port_on_bridge(const std::vector<PortConfig>& ports,
                                          const std::optional<std::string>& bridge) {
  if (!bridge || bridge->empty()) return std::nullopt;
  for (const PortConfig& port : ports) {
    if (port.bridge == *bridge) return port.name;
  }
  return std::nullopt;
}

Result<Origin<std::string>> choose_port(const VifConfig& file, const Keys& xenstore,
                                        const DaemonConfig& daemon) {
  auto store_nic = find(xenstore, keys::nic);
  const auto bridge = find(xenstore, keys::bridge);
  if (!store_nic) store_nic = port_on_bridge(daemon.ports, bridge);
  const auto port = pick(file.nic, store_nic, daemon.defaults.nic, std::string{});
  if (port.from == built_in) {
    const std::string why = bridge
                                ? fmt::format("no port is on bridge {}", in_quotes(*bridge, '\''))
                                : "no port is given";
    return Error{fmt::format("{} and {} has no [defaults] nic; {}", why, daemon_file_name,
                             port_names(daemon.ports)),
                 "give nic in a vif file or bridge in the xl file"};
  }
  for (const PortConfig& known : daemon.ports) {
    if (known.name == port.value) return port;
  }
  return Error{fmt::format("nic from {}: port {} is not in {}; {}",
                           port.from == from_vif_file ? file.file : std::string(port.from),
                           in_quotes(port.value, '\''), daemon_file_name,
                           port_names(daemon.ports))};
}

// The cpus of which one shall serve the vif.
Result<Origin<std::vector<unsigned>>> choose_lcores(const VifConfig& file,
                                                    const DaemonConfig& daemon) {
  const std::optional<std::vector<unsigned>> no_list;
  auto wanted = pick(file.lcores, no_list, daemon.defaults.lcores, std::vector<unsigned>{});
  for (const unsigned lcore : wanted.value) {
    if (std::find(daemon.lcores.begin(), daemon.lcores.end(), lcore) != daemon.lcores.end())
      continue;
    return Error{fmt::format("lcores from {}: {} is not among those of {}",
                             file.lcores ? file.file : std::string(from_defaults), lcore,
                             daemon_file_name)};
  }
  return wanted;
}

// xl hands on what it is given, for scripts of Open vSwitch lists of VLANs as well. One that is
// asked for and silently not there would be worse than no vif.
Status read_vlan(const Keys& xenstore, std::optional<uint32_t>& vlan) {
  if (find(xenstore, keys::vlan) == "") return Done{};
  return read_number(xenstore, keys::vlan, 1, vlan_max, vlan);
}

// xl hands on what it is given, for the firewall rules of its scripts. Addresses that are asked for
// and cannot be understood would be no lock.
Result<Origin<std::string>> choose_ip(const VifConfig& file, const Keys& xenstore,
                                      const VifConfig& defaults, bool locked) {
  auto in_store = find(xenstore, keys::ip);
  if (in_store == "") in_store.reset();
  auto ip = pick(file.ip, in_store, defaults.ip, std::string());
  if (!locked || ip.value.empty()) return ip;
  if (const auto addresses = parse_addresses(ip.value); !addresses)
    return Error{fmt::format("{} ip: {}", ip.from, addresses.error().message),
                 "correct it, or set lock-ip = false"};
  return ip;
}

}  // namespace

std::string port_names(const std::vector<PortConfig>& ports) {
  if (ports.empty()) return "there is no [[port]]";
  std::string names;
  for (const PortConfig& port : ports) {
    names += (names.empty() ? "ports: " : ", ") + port.name;
    if (!port.bridge.empty()) names += fmt::format(" (bridge {})", port.bridge);
  }
  return names;
}

// A limit that cannot be understood is an error, not none as Linux has it: one that is asked for
// and silently not there would be worse than no vif.
Result<Origin<RateLimit>> effective_rate(const std::optional<RateLimit>& given,
                                         const std::optional<std::string>& xenstore,
                                         const DaemonConfig& daemon) {
  std::optional<RateLimit> in_store;
  if (xenstore && !xenstore->empty()) {
    auto rate = parse_store_rate(*xenstore);
    if (!rate) return bad_key(keys::rate, rate.error().message);
    in_store = rate.value();
  }
  return pick(given, in_store, daemon.defaults.rate, RateLimit{});
}

Result<EffectiveVif> effective_settings(const std::optional<VifConfig>& given,
                                        const std::map<std::string, std::string>& xenstore,
                                        const DaemonConfig& daemon) {
  const VifConfig file = given.value_or(VifConfig{});
  const VifConfig& defaults = daemon.defaults;
  auto nic = choose_port(file, xenstore, daemon);
  if (!nic) return nic.error();
  auto lcores = choose_lcores(file, daemon);
  if (!lcores) return lcores.error();
  auto mac = choose_mac(file, xenstore);
  if (!mac) return mac.error();
  std::optional<uint32_t> mtu;
  if (auto read = read_number(xenstore, keys::mtu, mtu_min, mtu_max, mtu); !read) {
    return read.error();
  }
  std::optional<uint32_t> vlan;
  if (auto read = read_vlan(xenstore, vlan); !read) return read.error();
  std::optional<bool> store_filter, store_physaddr;
  if (auto read = read_need(xenstore, keys::need_rx_filter, store_filter); !read) {
    return read.error();
  }
  if (auto read = read_need(xenstore, keys::need_set_physaddr, store_physaddr); !read) {
    return read.error();
  }

  auto rate = effective_rate(file.rate, find(xenstore, keys::rate), daemon);
  if (!rate) return rate.error();

  const std::optional<bool> no_truth;
  const auto lock_ip = pick(file.lock_ip, no_truth, defaults.lock_ip, lock_ip_built_in);
  auto ip = choose_ip(file, xenstore, defaults, lock_ip.value);
  if (!ip) return ip.error();
  const std::optional<uint32_t> no_number;
  const std::optional<RateLimit> no_rate;
  return EffectiveVif{
      .nic = std::move(nic).value(),
      .mac = std::move(mac).value(),
      .mtu = pick(file.mtu, mtu, defaults.mtu, 1500u),
      .vlan = pick(file.vlan, vlan, defaults.vlan, 0u),
      .rate = rate.value(),
      .rate_to_guest = pick(file.rate_to_guest, no_rate, defaults.rate_to_guest, RateLimit{}),
      // Filtered: no guest of today asks, and a shared port must not leak (seed S6).
      .rx_filter = pick(file.rx_filter, store_filter, defaults.rx_filter, true),
      .set_physaddr = pick(file.set_physaddr, store_physaddr, defaults.set_physaddr, false),
      .lock_mac = pick(file.lock_mac, no_truth, defaults.lock_mac, false),
      .ip = std::move(ip).value(),
      .lock_ip = lock_ip,
      .switching = pick(file.switching, no_truth, defaults.switching, true),
      .backlog_frames =
          pick(file.backlog_frames, no_number, defaults.backlog_frames, limits::backlog_frames_max),
      .queues_max = pick(file.queues_max, no_number, defaults.queues_max, limits::vif_queues_max),
      .lcores = std::move(lcores).value(),
      .warnings = {},
  };
}

}  // namespace netback
