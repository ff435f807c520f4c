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
  static constexpr uint8_t needs_checksum = 1;                       // flags
  static constexpr uint8_t tcpv4 = 1, tcpv6 = 4, congestion = 0x80;  // segmentation
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
                                       bool blank_checksums, bool segmented) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return errno_error("cannot open /dev/net/tun", "modprobe tun");
  std::unique_ptr<Tap> tap(new Tap(fd));
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(fd, TUNSETIFF, &request) != 0)
    return errno_error(fmt::format("cannot make the tap {}", name), "run as root of the network");
  const unsigned segmentation = segmented ? TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0;
  if (ioctl(fd, TUNSETOFFLOAD, blank_checksums ? TUN_F_CSUM | segmentation : 0) != 0)
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

// Frames longer than netif has them are cut short by the kernel: its interface must not make such.
bool Tap::read(Frame& frame) {
  Head head;
  frame.bytes.resize(frame_bytes_max);
  const iovec parts[] = {{&head, sizeof(head)}, {frame.bytes.data(), frame.bytes.size()}};
  const ssize_t bytes = readv(fd_, parts, 2);
  if (bytes <= ssize_t{sizeof(head)}) return false;
  frame.bytes.resize(static_cast<size_t>(bytes) - sizeof(head));
  frame.checksum_blank = (head.flags & Head::needs_checksum) != 0;
  frame.segmentation = {};
  const uint8_t kind = head.segmentation & ~Head::congestion;
  if (kind == Head::tcpv4) frame.segmentation = {head.segment_bytes, XEN_NETIF_GSO_TYPE_TCPV4};
  if (kind == Head::tcpv6) frame.segmentation = {head.segment_bytes, XEN_NETIF_GSO_TYPE_TCPV6};
  return true;
}

bool Tap::write(std::span<const uint8_t> frame, bool checksum_blank,
                const Segmentation& segmentation) {
  Head head = checksum_blank ? blank_head(frame) : Head{};
  if (segmentation.segment_bytes > 0 && head.flags != 0) {
    const size_t tcp = head.checksum_start;
    head.segmentation = segmentation.type == XEN_NETIF_GSO_TYPE_TCPV4 ? Head::tcpv4 : Head::tcpv6;
    head.segment_bytes = segmentation.segment_bytes;
    head.header_bytes = static_cast<uint16_t>(tcp + (frame[tcp + 12] >> 4) * 4U);
    if (frame[tcp + 13] & 0x80) head.segmentation |= Head::congestion;  // CWR
  }
  const iovec parts[] = {{&head, sizeof(head)}, {const_cast<uint8_t*>(frame.data()), frame.size()}};
  return writev(fd_, parts, 2) > 0;
}

}  // namespace netback
