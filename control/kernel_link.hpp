// The kernel's side of a port: network interfaces by name. Small ioctls, no netlink.
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/result.hpp"

namespace netback {

// Paths below `root` in tests; empty on a real system.
bool interface_exists(const std::string& name, const std::string& root = {});
bool interface_is_ethernet(const std::string& name, const std::string& root = {});  // ARPHRD_ETHER
// Name of the bridge that it is on; empty when on none.
std::string interface_bridge(const std::string& name);

// Whether another process holds this tap. Only for names that exist.
bool tap_is_busy(const std::string& name);

// Whether the interface of this index is there, by whatever name; also when nobody can say.
bool interface_is_there(unsigned index);
// Whether it is up and has a link; also when nobody can say.
bool interface_is_running(const std::string& name);
// The other end of the veth pair that `name` is an end of, if it sends without checksums, for a
// device to complete; empty: no such end is known.
std::string sender_of_blank_checksums(const std::string& name);

Status set_interface_up(const std::string& name);
Status set_interface_mtu(const std::string& name, uint32_t mtu);
// Puts `name` on `bridge`. Already there is fine; on another bridge is an error.
Status join_bridge(const std::string& name, const std::string& bridge);

}  // namespace netback
