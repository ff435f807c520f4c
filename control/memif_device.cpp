#include "control/memif_device.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "lib/xen/number.hpp"

namespace netback {
namespace {

constexpr char default_socket[] = "/run/memif.sock";  // the driver's

std::string socket_of(const PortDevice& device) {
  const std::string socket = device_argument(device.arguments, "socket");
  return socket.empty() ? default_socket : socket;
}

// Unless told otherwise the driver's sockets have names and no files.
bool is_abstract(const PortDevice& device) {
  return device_argument(device.arguments, "socket-abstract") != "no";
}

// By the kernel's list for our network namespace. To connect would be an answer too, and be the end
// of a server of DPDK's when we close at once: SIGPIPE.
bool is_listened_on(const PortDevice& device) {
  constexpr unsigned long accepts_connections = 0x10000;  // __SO_ACCEPTCON
  const std::string name = (is_abstract(device) ? "@" : "") + socket_of(device);
  std::ifstream list("/proc/net/unix");
  for (std::string line; std::getline(list, line);) {
    std::istringstream words(line);
    std::string number, references, protocol, flags, type, state, inode, path;
    words >> number >> references >> protocol >> flags >> type >> state >> inode >> path;
    if (path == name && (std::strtoul(flags.c_str(), nullptr, 16) & accepts_connections))
      return true;
  }
  return false;
}

// A socket's file behind which there is nobody. In another network namespace there may be somebody.
bool is_left_over(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const bool refused =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno == ECONNREFUSED;
  close(fd);
  return refused;
}

Error memif_error(const PortConfig& config, const std::string& what, std::string fix = {}) {
  return {fmt::format("port '{}': device '{}': {}", config.name, config.device, what),
          std::move(fix)};
}

Status check_socket(const PortConfig& config, const PortDevice& device) {
  const std::string name = socket_of(device);
  if (name.size() + is_abstract(device) >= sizeof sockaddr_un::sun_path)
    return memif_error(config, fmt::format("socket={} is longer than {} bytes", name,
                                           sizeof sockaddr_un::sun_path - 1));
  if (is_abstract(device)) return Done{};
  const std::string directory = std::filesystem::path(name).parent_path().string();
  if (directory.empty() || name.front() != '/')
    return memif_error(config, fmt::format("socket={} is no path from / on", name));
  if (access(directory.c_str(), R_OK | W_OK | X_OK) == 0) return Done{};
  const bool is_absent = errno == ENOENT;
  return memif_error(config, errno_error("cannot use the socket's directory " + directory).message,
                     is_absent ? "mkdir " + directory : "give it to the daemon's user");
}

Status check_server(const PortConfig& config, const PortDevice& device) {
  const std::string name = socket_of(device);
  if (!is_listened_on(device)) {
    if (is_abstract(device) || access(name.c_str(), F_OK) != 0) return Done{};
    if (memif_socket_inode(device) != 0 && is_left_over(name) && unlink(name.c_str()) == 0)
      return Done{};
  }
  return memif_error(config, fmt::format("{} is in use already", name),
                     "choose another socket=, or role=client");
}

Status check_buffers(const PortConfig& config, PortDevice& device) {
  if (config.mtu > memif_mtu_max)
    return memif_error(config,
                       fmt::format("mtu {} does not fit, at most {}", config.mtu, memif_mtu_max),
                       "lower the port's mtu");
  const std::string text = device_argument(device.arguments, "bsize");
  if (text.empty()) {
    device.arguments += fmt::format(",bsize={}", memif_buffer_bytes);
    return Done{};
  }
  const auto bytes = parse_number<uint32_t>(text);
  if (!bytes || *bytes <= FramePool::buffer_bytes || *bytes > UINT16_MAX)
    return memif_error(config,
                       fmt::format("bsize={} is not within {} to {}", text,
                                   FramePool::buffer_bytes + 1, UINT16_MAX),
                       fmt::format("leave it out: {}", memif_buffer_bytes));
  return Done{};
}

}  // namespace

Status check_memif(const PortConfig& config, PortDevice& device) {
  const std::string role = device_argument(device.arguments, "role");
  if (role != "server" && role != "client")
    return memif_error(config, "needs role=server or role=client",
                       "server: it makes the socket, and peers come and go");
  for (const char* key : {"socket-abstract", "zero-copy"}) {
    const std::string said = device_argument(device.arguments, key);
    if (!said.empty() && said != "yes" && said != "no")
      return memif_error(config, fmt::format("{}={} is neither yes nor no", key, said));
  }
  if (device_argument(device.arguments, "zero-copy") == "yes")
    return memif_error(config,
                       "with zero-copy=yes its peer could read and write all guests' frames",
                       "leave it out");
  if (Status status = check_buffers(config, device); !status) return status;
  if (Status status = check_socket(config, device); !status) return status;
  device.connects = role == "client";
  device.for_good = !device.connects;  // a socket that nobody listens on any more, by a table freed
  if (!device.connects) return check_server(config, device);
  if (is_abstract(device) || memif_socket_inode(device) != 0) return Done{};
  return memif_error(config, fmt::format("there is no socket {}", socket_of(device)),
                     "start its server first, or role=server");
}

uint64_t memif_socket_inode(const PortDevice& device) {
  struct stat found {};
  if (is_abstract(device) || stat(socket_of(device).c_str(), &found) != 0) return 0;
  return S_ISSOCK(found.st_mode) ? found.st_ino : 0;
}

bool memif_server_is_there(const PortDevice& device, uint64_t before) {
  if (is_listened_on(device)) return true;
  const uint64_t now = memif_socket_inode(device);
  return now != 0 && now != before;
}

}  // namespace netback
