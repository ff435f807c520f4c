// IP addresses as people and xl write them.
#pragma once

#include <string_view>
#include <vector>

#include "dataplane/source_addresses.hpp"
#include "lib/base/result.hpp"

namespace netback {

// Of one vif. Each is compared with a frame's source.
inline constexpr size_t vif_addresses_max = 64;

// Addresses of IPv4 or IPv6 between spaces or commas, each alone or with the bits of a prefix:
// "192.0.2.1 2001:db8::/64", as the ip of an xl file goes to iptables. At least one. Fails with
// "must be ..., not ...".
Result<std::vector<AddressPrefix>> parse_addresses(std::string_view text);

}  // namespace netback
