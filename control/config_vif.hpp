// What a vif file, [defaults] and xenstore have in common. Inside config only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "control/config.hpp"
#include "control/config_text.hpp"
#include "dataplane/limits.hpp"
#include "dataplane/vlan.hpp"

namespace netback {

inline constexpr char daemon_file_name[] = "dpdk-netback.toml";

// Whether an ip locks, where nobody says so.
inline constexpr bool lock_ip_built_in = true;

// IPv4 works from 68 bytes on (RFC 791); the longest frame has one VLAN tag.
inline constexpr uint32_t mtu_min = 68;
inline constexpr uint32_t mtu_max =
    limits::frame_bytes_max - limits::ethernet_header_bytes - limits::vlan_tag_bytes;

// The settings of `table`, without what says which vif it is about. `lock_ip`: what holds for a
// table without lock-ip; an ip that locks must be addresses.
void read_settings(TableReader& table, VifConfig& vif, bool lock_ip);

// `text` in lower case. Fails with "must be a MAC address like ..., not ...": also on addresses
// that no one interface can have.
Result<std::string> checked_mac(std::string_view text);

// The files of `directory`/vif.d, in order of name.
std::vector<std::string> vif_file_names(const std::string& directory, std::vector<Error>& errors);
// One of them. It has an error when it is bad; so has `errors` then. `defaults`: as for
// read_vif_configs().
VifConfig read_vif_file(const std::string& file, std::vector<Error>& errors,
                        const VifConfig& defaults);
// Whether the file says which vif it is about.
bool is_identified(const VifConfig& vif);

// "ports: a, b", or that there are none.
std::string port_names(const std::vector<PortConfig>& ports);

}  // namespace netback
