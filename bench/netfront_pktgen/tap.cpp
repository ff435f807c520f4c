#include "bench/netfront_pktgen/tap.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "bench/netfront_pktgen/mac.hpp"

namespace netback {
namespace {

constexpr size_t frame_bytes_max = 65'535;

// Before each frame, as <linux/virtio_net.h> has it: that header is no C++.
struct Head {
  static constexpr uint8_t needs_checksum = 1;
  uint8_t flags = 0, segmentation = 0;
  uint16_t header_bytes = 0, segment_bytes = 0, checksum_start = 0, checksum_offset = 0;
};
static_assert(sizeof(Head) == 10);

uint32_t be16(std::span<const uint8_t> frame, size_t at) {
  return static_cast<uint32_t>(frame[at] << 8 | frame[at + 1]);
}

// Where the checksum that was left blank is, as Linux's netfront finds it (checksum_setup); a head
// that says nothing when it is neither TCP nor UDP.
Head blank_head(std::span<const uint8_t> frame) {
  if (frame.size() < 14 + 4 + 20) return {};
  const size_t ip = be16(frame, 12) == 0x8100 ? 18 : 14;
  const bool ipv4 = be16(frame, ip - 2) == 0x0800;
  if (!ipv4 && be16(frame, ip - 2) != 0x86dd) return {};
  const uint8_t protocol = frame[ip + (ipv4 ? 9 : 6)];
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) return {};
  const size_t start = ip + (ipv4 ? (frame[ip] & 15U) * 4 : 40);
  if (frame.size() < start + (protocol == IPPROTO_TCP ? 20 : 8)) return {};
  return {.flags = Head::needs_checksum,
          .checksum_start = static_cast<uint16_t>(start),
          .checksum_offset = static_cast<uint16_t>(protocol == IPPROTO_TCP ? 16 : 6)};
}

}  // namespace

Result<std::unique_ptr<Tap>> Tap::make(const std::string& name, const std::string& mac,
                                       bool blank_checksums) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return errno_error("cannot open /dev/net/tun", "modprobe tun");
  std::unique_ptr<Tap> tap(new Tap(fd));
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(fd, TUNSETIFF, &request) != 0)
    return errno_error(fmt::format("cannot make the tap {}", name), "run as root of the network");
  if (ioctl(fd, TUNSETOFFLOAD, blank_checksums ? TUN_F_CSUM : 0) != 0)
    return errno_error(fmt::format("cannot set up the tap {}", name));
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::ranges::copy(read_mac(mac), reinterpret_cast<uint8_t*>(request.ifr_hwaddr.sa_data));
  if (ioctl(fd, SIOCSIFHWADDR, &request) != 0)
    return errno_error(fmt::format("cannot give the tap {} its address", name));
  return tap;
}

Tap::~Tap() {
  close(fd_);
}

bool Tap::read(std::vector<uint8_t>& frame, bool& checksum_blank) {
  Head head;
  frame.resize(frame_bytes_max);
  const iovec parts[] = {{&head, sizeof(head)}, {frame.data(), frame.size()}};
  const ssize_t bytes = readv(fd_, parts, 2);
  if (bytes <= ssize_t{sizeof(head)}) return false;
  frame.resize(static_cast<size_t>(bytes) - sizeof(head));
  checksum_blank = (head.flags & Head::needs_checksum) != 0;
  return true;
}

bool Tap::write(std::span<const uint8_t> frame, bool checksum_blank) {
  Head head = checksum_blank ? blank_head(frame) : Head{};
  const iovec parts[] = {{&head, sizeof(head)}, {const_cast<uint8_t*>(frame.data()), frame.size()}};
  return writev(fd_, parts, 2) > 0;
}

}  // namespace netback
