#include "control/kernel_link.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

namespace netback {
namespace {

namespace fs = std::filesystem;

std::string interface_path(const std::string& name, const std::string& root) {
  return root + "/sys/class/net/" + name;
}

ifreq request_for(const std::string& name) {
  ifreq request = {};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

// One ioctl on a throw-away socket; false leaves errno.
bool interface_ioctl(unsigned long number, ifreq& request) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const int result = ioctl(fd, number, &request);
  const int error = errno;
  close(fd);
  errno = error;
  return result == 0;
}

unsigned interface_number(const std::string& name, const char* file) {
  unsigned number = 0;
  std::ifstream(interface_path(name, {}) + "/" + file) >> number;
  return number;
}

// The other end of a veth pair; empty: not one, or the end is in another network namespace.
std::string veth_peer(const std::string& name) {
  char peer[IFNAMSIZ] = {};
  const unsigned link = interface_number(name, "iflink"), index = interface_number(name, "ifindex");
  if (link == index || if_indextoname(link, peer) == nullptr) return {};
  return interface_number(peer, "iflink") == index ? peer : "";
}

// What the driver of an interface says; none: it does not.
std::optional<uint32_t> ethtool(const std::string& name, uint32_t question) {
  ethtool_value answer{.cmd = question, .data = 0};
  ifreq request = request_for(name);
  request.ifr_data = reinterpret_cast<char*>(&answer);
  if (!interface_ioctl(SIOCETHTOOL, request)) return std::nullopt;
  return answer.data;
}

}  // namespace

bool interface_exists(const std::string& name, const std::string& root) {
  std::error_code ignored;
  return fs::exists(interface_path(name, root), ignored);
}

bool interface_is_ethernet(const std::string& name, const std::string& root) {
  int type = -1;
  std::ifstream(interface_path(name, root) + "/type") >> type;
  return type == 1;  // ARPHRD_ETHER
}

std::string interface_bridge(const std::string& name) {
  std::error_code error;
  const fs::path master = fs::read_symlink(interface_path(name, {}) + "/master", error);
  return error ? std::string() : master.filename().string();
}

bool tap_is_busy(const std::string& name) {
  // One that does not persist is there only for as long as somebody holds it; of several queues, as
  // net_tap's, it would let us in all the same.
  unsigned flags = 0;
  std::ifstream(interface_path(name, {}) + "/tun_flags") >> std::hex >> flags;
  if ((flags & IFF_PERSIST) == 0) return true;
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  ifreq request = request_for(name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  const bool busy = ioctl(fd, TUNSETIFF, &request) != 0 && errno == EBUSY;
  close(fd);
  return busy;
}

bool interface_is_there(unsigned index) {
  char name[IF_NAMESIZE];
  return if_indextoname(index, name) != nullptr || errno != ENXIO;
}

// IFF_RUNNING tells of a link up to a second late: the kernel looks at changes once a second.
bool interface_is_running(const std::string& name) {
  if (const auto link = ethtool(name, ETHTOOL_GLINK)) return *link != 0;
  ifreq request = request_for(name);
  return !interface_ioctl(SIOCGIFFLAGS, request) || (request.ifr_flags & IFF_RUNNING) != 0;
}

std::string sender_of_blank_checksums(const std::string& name) {
  const std::string peer = veth_peer(name);
  if (peer.empty() || ethtool(peer, ETHTOOL_GTXCSUM).value_or(0) == 0) return "";
  return peer;
}

Status set_interface_up(const std::string& name) {
  ifreq request = request_for(name);
  if (!interface_ioctl(SIOCGIFFLAGS, request)) return errno_error("no interface " + name);
  request.ifr_flags |= IFF_UP;
  if (!interface_ioctl(SIOCSIFFLAGS, request))
    return errno_error("cannot set up interface " + name, "run as root");
  return Done{};
}

Status set_interface_mtu(const std::string& name, uint32_t mtu) {
  ifreq request = request_for(name);
  request.ifr_mtu = static_cast<int>(mtu);
  if (!interface_ioctl(SIOCSIFMTU, request))
    return errno_error(fmt::format("cannot set mtu {} of interface {}", mtu, name));
  return Done{};
}

Status join_bridge(const std::string& name, const std::string& bridge) {
  const std::string now_on = interface_bridge(name);
  if (now_on == bridge) return Done{};
  if (!now_on.empty())
    return Error{fmt::format("interface {} is on bridge {}, not {}", name, now_on, bridge),
                 fmt::format("ip link set {} nomaster", name)};
  if (!interface_exists(bridge))
    return Error{fmt::format("there is no bridge {}", bridge),
                 fmt::format("ip link add {} type bridge && ip link set {} up", bridge, bridge)};
  const unsigned index = if_nametoindex(name.c_str());
  ifreq request = request_for(bridge);
  request.ifr_ifindex = static_cast<int>(index);
  if (index == 0 || !interface_ioctl(SIOCBRADDIF, request))
    return errno_error(fmt::format("cannot put interface {} on bridge {}", name, bridge),
                       errno == EOPNOTSUPP ? fmt::format("{} is not a bridge", bridge) : "");
  return Done{};
}

}  // namespace netback
