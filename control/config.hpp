// The configuration files: dpdk-netback.toml and one file per vif in vif.d/. Kebab-case TOML. An
// error is one line: "FILE:LINE: unknown key 'x', did you mean 'y'?".
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/rate.hpp"
#include "lib/base/result.hpp"

namespace netback {

struct PortConfig {
  std::string name;  // how vifs name it
  std::string
      device;  // EAL device string, as "net_null0" or "net_virtio_user0,path=/dev/vhost-net"
  uint32_t mtu = 1500;
  std::string bridge;  // put the port's kernel tap on this bridge; empty: leave it alone
  // One for each worker, or 1, which is what all of them share. Absent: as the driver is known to.
  std::optional<uint32_t> queue_pairs = {};
};

// Settings of a vif; absent = not given here (the next source decides). The same keys, with the
// same rules, in a vif file, in [defaults] and (xl's) in xenstore.
struct VifConfig {
  std::string file;  // where it came from, for messages; empty for [defaults]
  // Not empty: the file is bad and so is the vif that it is about (match_vif() fails with this).
  std::string error;
  // Which vif the file is about: mac, or uuid + devid, or domain + devid. A vif must agree with all
  // that are given. In lower case: mac, uuid.
  std::optional<std::string> mac;
  std::optional<uint32_t> devid;
  std::optional<std::string> domain;  // the guest's name
  std::optional<std::string> uuid;
  std::optional<std::string> nic;  // a [[port]]'s name
  std::optional<uint32_t> mtu;
  std::optional<RateLimit> rate;  // from the guest
  std::optional<RateLimit> rate_to_guest;
  std::optional<uint32_t> vlan;   // 1 to 4094
  std::optional<std::string> ip;  // addresses; ip_text
  std::optional<bool> rx_filter;
  std::optional<bool> set_physaddr;
  std::optional<bool> lock_mac;
  std::optional<bool> lock_ip;
  std::optional<bool> switching;
  std::optional<std::vector<unsigned>> lcores;
  std::optional<uint32_t> backlog_frames;
  std::optional<uint32_t> queues_max;  // 1 to limits::vif_queues_max
};

struct DaemonConfig {
  std::vector<unsigned> lcores = {};  // cpus of the workers; empty: the last cpu
  std::string memory = "auto";        // "auto", "hugepages" or "pages"
  uint32_t memory_mb = 256;
  uint32_t frame_buffers = 16384;
  uint32_t large_buffers = 2048;
  uint32_t spin_us = 50;
  uint32_t gather_us = 20;
  static constexpr uint32_t spin_always = UINT32_MAX;  // "always"; as Idle::spin_always
  bool wait_for_hotplug = true;  // false: a driver domain without hotplug scripts
  std::string log_level = "info";
  std::vector<PortConfig> ports;
  VifConfig defaults;

  // Which of the workers has a port's first queue pair: the ports have them by turns.
  size_t worker_of_port(size_t port) const { return lcores.empty() ? 0 : port % lcores.size(); }
};

// Reads `directory`/dpdk-netback.toml; all of it is checked. The error names the first bad line.
Result<DaemonConfig> read_daemon_config(const std::string& directory);
// Reads every `directory`/vif.d/*.toml in order of name; `errors` gets one line for each bad file
// or pair of files that match the same vif. A bad file is returned too when it can be told which
// vif it is about, so that this vif is refused instead of running on other settings. `defaults`: of
// the daemon's file; their lock-ip decides whether a file without one must have addresses in ip.
std::vector<VifConfig> read_vif_configs(const std::string& directory, std::vector<Error>& errors,
                                        const VifConfig& defaults);

// Who a vif is, for finding its file.
struct VifIdentity {
  std::string mac;     // as xenstore has it
  std::string domain;  // name, may be empty
  std::string uuid;    // may be empty
  uint32_t devid = 0;
};
// The file that matches, nothing when none does; fails when two do or the one that does is bad.
Result<std::optional<VifConfig>> match_vif(const std::vector<VifConfig>& files,
                                           const VifIdentity& vif);

inline constexpr std::string_view from_vif_file = "vif file";
// A setting's value and who set it: from_vif_file, "xenstore", "defaults" or "built in".
template <class T>
struct Origin {
  T value;
  std::string_view from;
};
// The settings that are in force for a vif: file > xenstore > [defaults] > built in.
struct EffectiveVif {
  Origin<std::string> nic;  // the name of one of the daemon's ports
  Origin<std::string> mac;  // lower case
  Origin<uint32_t> mtu;
  Origin<uint32_t> vlan;   // 0: none
  Origin<RateLimit> rate;  // from the guest
  Origin<RateLimit> rate_to_guest;
  Origin<bool> rx_filter;
  Origin<bool> set_physaddr;
  Origin<bool> lock_mac;
  Origin<std::string> ip;  // that the guest may use; empty: all
  Origin<bool> lock_ip;    // false: ip is for people
  Origin<bool> switching;  // false: it and the other vifs of its port do not reach each other
  Origin<uint32_t> backlog_frames;
  Origin<uint32_t> queues_max;
  Origin<std::vector<unsigned>> lcores;  // cpus, of which one serves it; empty: of all
  std::vector<std::string> warnings;     // one line each: what was asked for and is not done
};
// `xenstore` maps our directory's keys to values (mac, mtu, rate, nic, bridge, vlan, ip,
// SUNW-need-rx-filter, SUNW-need-set-physaddr); an absent key is not in it. Fails on a value that
// cannot be: says which key, from where, and why. The port is the first given of: file nic,
// xenstore nic, the port on xenstore's bridge, [defaults] nic.
Result<EffectiveVif> effective_settings(const std::optional<VifConfig>& file,
                                        const std::map<std::string, std::string>& xenstore,
                                        const DaemonConfig& daemon);

// The rate alone, which may change while the vif is connected. `given`: the vif's file says so.
Result<Origin<RateLimit>> effective_rate(const std::optional<RateLimit>& given,
                                         const std::optional<std::string>& xenstore,
                                         const DaemonConfig& daemon);

}  // namespace netback
