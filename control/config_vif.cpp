#include "control/config_vif.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "control/ip_text.hpp"
#include "control/quote.hpp"

namespace netback {

namespace {

constexpr char is_xls[] = "belongs in the xl file";

std::string lower_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// `text` with 0 for each hexadecimal digit: its shape.
std::string hex_shape(std::string text) {
  for (char& c : text) {
    if (std::isxdigit(static_cast<unsigned char>(c))) c = '0';
  }
  return text;
}

// Which vif the file is about.
void read_identity(TableReader& table, VifConfig& vif) {
  if (const auto text = table.text("mac")) {
    auto mac = checked_mac(*text);
    if (mac) {
      vif.mac = std::move(mac).value();
    } else {
      table.problem_at("mac", "'mac' " + mac.error().message);
    }
  }
  vif.devid = table.number("devid", 0, INT32_MAX);
  vif.domain = table.text("domain");
  if (const auto text = table.text("uuid")) {
    if (hex_shape(*text) == "00000000-0000-0000-0000-000000000000") {
      vif.uuid = lower_case(*text);
    } else {
      table.problem_at("uuid", fmt::format("'uuid' must be like "
                                           "c0ffee00-1234-5678-9abc-def012345678, not {}",
                                           in_quotes(*text)));
    }
  }
}

// An ip that is for people may be anything.
void read_ip(TableReader& table, VifConfig& vif, bool lock_ip) {
  vif.ip = table.text("ip");
  vif.lock_ip = table.truth("lock-ip");
  if (!vif.ip || !vif.lock_ip.value_or(lock_ip)) return;
  if (const auto addresses = parse_addresses(*vif.ip); !addresses)
    table.problem_at("ip", fmt::format("'ip' {}; for people alone with lock-ip = false",
                                       addresses.error().message));
}

template <class T>
bool differ(const std::optional<T>& one, const std::optional<T>& other) {
  return one && other && *one != *other;
}

template <class T>
bool agree_on(const std::optional<T>& one, const std::optional<T>& other) {
  return one && one == other;
}

// Whether there is a vif that both files are about. (Of one that names only a MAC and another that
// names only a domain this is not known before the vif is there.)
bool overlap(const VifConfig& one, const VifConfig& other) {
  if (differ(one.mac, other.mac) || differ(one.devid, other.devid) ||
      differ(one.domain, other.domain) || differ(one.uuid, other.uuid)) {
    return false;
  }
  return agree_on(one.mac, other.mac) || agree_on(one.domain, other.domain) ||
         agree_on(one.uuid, other.uuid);
}

bool is_about(const VifConfig& file, const VifIdentity& vif) {
  return (!file.mac || *file.mac == lower_case(vif.mac)) &&
         (!file.devid || *file.devid == vif.devid) &&
         (!file.domain || *file.domain == vif.domain) &&
         (!file.uuid || *file.uuid == lower_case(vif.uuid));
}

Error both_match(const VifConfig& one, const VifConfig& other) {
  return {fmt::format("{} and {} match the same vif", one.file, other.file),
          "remove one of them, or give both a domain and a devid"};
}

}  // namespace

bool is_identified(const VifConfig& vif) {
  return vif.mac || (vif.devid && (vif.domain || vif.uuid));
}

VifConfig read_vif_file(const std::string& file, std::vector<Error>& errors,
                        const VifConfig& defaults) {
  VifConfig vif;
  vif.file = file;
  const auto fail = [&](Error error) {
    vif.error = error.message;
    errors.push_back(std::move(error));
    return vif;
  };
  auto text = read_toml(file);
  if (!text) return fail(text.error());
  Problems problems(file);
  TableReader table(text.value(), problems);
  read_identity(table, vif);
  read_settings(table, vif, defaults.lock_ip.value_or(lock_ip_built_in));
  table.finish();
  if (problems.none() && !is_identified(vif)) {
    problems.add(1, "which vif? Give mac, or domain and devid, or uuid and devid");
  }
  if (!problems.none()) return fail(problems.first());
  return vif;
}

void read_settings(TableReader& table, VifConfig& vif, bool lock_ip) {
  vif.nic = table.text("nic");
  vif.mtu = table.number("mtu", mtu_min, mtu_max);
  read_ip(table, vif, lock_ip);
  vif.rx_filter = table.truth("rx-filter");
  vif.lock_mac = table.truth("lock-mac");
  vif.lcores = table.lcores("lcores");
  vif.backlog_frames = table.number("backlog-frames", 1, limits::backlog_frames_max);
  vif.queues_max = table.number("queues-max", 1, limits::vif_queues_max);
  vif.set_physaddr = table.truth("set-physaddr");
  vif.switching = table.truth("switching");
  vif.rate = table.rate("rate");
  vif.rate_to_guest = table.rate("rate-to-guest");
  vif.vlan = table.number("vlan", 1, vlan_max);
  for (const char* key : {"script", "backend", "bridge", "vifname", "trusted"}) {
    table.refuse(key, is_xls);
  }
}

Result<std::string> checked_mac(std::string_view text) {
  const std::string mac = lower_case(std::string(text));
  const auto fail = [&](std::string_view wanted) {
    return Error{fmt::format("must be {}, not {}", wanted, in_quotes(text))};
  };
  if (hex_shape(mac) != "00:00:00:00:00:00") return fail("a MAC address like 00:16:3e:01:02:03");
  // The lowest bit of the first byte.
  constexpr std::string_view odd_digits = "13579bdf";
  if (odd_digits.find(mac[1]) != odd_digits.npos) return fail("the MAC address of one interface");
  if (mac == "00:00:00:00:00:00") return fail("a MAC address other than zero");
  return mac;
}

std::vector<std::string> vif_file_names(const std::string& directory, std::vector<Error>& errors) {
  namespace fs = std::filesystem;
  std::vector<std::string> names;
  std::error_code code;
  const fs::path vif_directory = fs::path(directory) / "vif.d";
  for (fs::directory_iterator entry(vif_directory, code), end; !code && entry != end;
       entry.increment(code)) {
    if (entry->path().extension() == ".toml") names.push_back(entry->path().string());
  }
  // Without vif.d there are no files; vifs run on xenstore and [defaults].
  if (code && code != std::errc::no_such_file_or_directory) {
    errors.push_back({fmt::format("{}: {}", vif_directory.string(), code.message())});
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<VifConfig> read_vif_configs(const std::string& directory, std::vector<Error>& errors,
                                        const VifConfig& defaults) {
  std::vector<VifConfig> files;
  for (const std::string& name : vif_file_names(directory, errors)) {
    VifConfig file = read_vif_file(name, errors, defaults);
    if (!is_identified(file)) continue;
    for (const VifConfig& other : files) {
      if (overlap(file, other)) errors.push_back(both_match(other, file));
    }
    files.push_back(std::move(file));
  }
  return files;
}

Result<std::optional<VifConfig>> match_vif(const std::vector<VifConfig>& files,
                                           const VifIdentity& vif) {
  std::optional<VifConfig> match;
  for (const VifConfig& file : files) {
    if (!is_about(file, vif)) continue;
    if (match) return both_match(*match, file);
    match = file;
  }
  if (match && !match->error.empty()) return Error{match->error};
  return match;
}

}  // namespace netback
