// The parts of netcheck below IP: numbered raw frames, and events of an interface.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netcheck.hpp"

namespace {

constexpr uint16_t frame_type = 0x88b5;       // IEEE 802 local experimental
constexpr size_t frame_head_bytes = 14 + 16;  // Ethernet, then seed and number
volatile sig_atomic_t stopped = 0;

int packet_socket(const std::string& interface, ifreq& hardware) {
  const int fd = check(socket(AF_PACKET, SOCK_RAW, htons(frame_type)), "AF_PACKET");
  interface.copy(hardware.ifr_name, IFNAMSIZ - 1);
  check(ioctl(fd, SIOCGIFINDEX, &hardware), interface.c_str());
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(frame_type);
  address.sll_ifindex = hardware.ifr_ifindex;
  check(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
  check(ioctl(fd, SIOCGIFHWADDR, &hardware), interface.c_str());
  return fd;
}

// All of a frame after its Ethernet header follows from the seed, its number and its size.
void fill_frame(std::vector<uint8_t>& frame, uint64_t seed, uint64_t number) {
  std::memcpy(&frame[14], &seed, 8);
  std::memcpy(&frame[22], &number, 8);
  fill(&frame[frame_head_bytes], frame.size() - frame_head_bytes, seed, number * 8192);
}

struct LinkCounts {
  uint64_t messages = 0, up = 0, down = 0, added = 0, removed = 0;
  bool present = false, running = false;
};

void count_link_message(const nlmsghdr* message, LinkCounts& counts) {
  const auto* info = static_cast<const ifinfomsg*>(NLMSG_DATA(message));
  const auto* attribute = IFLA_RTA(info);
  std::string name;
  for (auto left = IFLA_PAYLOAD(message); RTA_OK(attribute, left);
       attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type == IFLA_IFNAME) name = static_cast<char*>(RTA_DATA(attribute));
  }
  if (name != words[0]) return;
  const bool present = message->nlmsg_type == RTM_NEWLINK;
  const bool running = present && (info->ifi_flags & IFF_RUNNING) != 0;
  counts.messages++;
  if (present && !counts.present) counts.added++;
  if (!present && counts.present) counts.removed++;
  if (running && !counts.running) counts.up++;
  if (!running && counts.running) counts.down++;
  counts.present = present;
  counts.running = running;
}

}  // namespace

int frames_send() {
  ifreq hardware{};
  const int fd = packet_socket(words.at(0), hardware);
  const uint64_t count = std::stoull(words.at(1));
  std::vector<uint8_t> frame(std::max<size_t>(std::stoul(words.at(2)), frame_head_bytes));
  std::fill_n(frame.begin(), 6, 0xff);
  if (options.count("dst") != 0) {
    std::sscanf(options["dst"].c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &frame[0], &frame[1],
                &frame[2], &frame[3], &frame[4], &frame[5]);
  }
  std::memcpy(&frame[6], hardware.ifr_hwaddr.sa_data, 6);
  frame[12] = frame_type >> 8;
  frame[13] = frame_type & 0xff;
  const auto start = Clock::now();
  Pace pace;
  for (uint64_t number = 0; number < count; number++) {
    fill_frame(frame, option("seed", 1), number);
    while (send(fd, frame.data(), frame.size(), 0) < 0) {
      if (errno != ENOBUFS && errno != EAGAIN) fail("send");
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    pace.wait_after(1);
  }
  print_json({{"sent", count}, {"milliseconds", uint64_t(seconds_since(start) * 1000)}});
  return 0;
}

int frames_capture() {
  ifreq hardware{};
  const int fd = packet_socket(words.at(0), hardware);
  const uint64_t count = std::stoull(words.at(1));
  const uint64_t seed = option("seed", 1);
  const int buffer_bytes = 64 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes);
  std::vector<uint8_t> seen(count);
  uint64_t distinct = 0, repeated = 0, changed = 0, reordered = 0, next = 0;
  std::vector<uint8_t> frame(65536), expected;
  while (distinct < count && readable(fd, option("timeout", 10) * 1000)) {
    const ssize_t bytes = recv(fd, frame.data(), frame.size(), 0);
    if (bytes < ssize_t(frame_head_bytes)) continue;
    uint64_t head[2];
    std::memcpy(head, &frame[14], sizeof head);
    if (head[0] != seed) continue;
    expected.assign(frame.begin(), frame.begin() + bytes);
    fill_frame(expected, seed, head[1]);
    if (head[1] >= count || std::memcmp(expected.data(), frame.data(), size_t(bytes)) != 0) {
      changed++;
      continue;
    }
    if (head[1] < next) reordered++;
    next = std::max(next, head[1] + 1);
    if (seen[head[1]]++ == 0)
      distinct++;
    else
      repeated++;
  }
  tpacket_stats statistics{};
  socklen_t length = sizeof statistics;
  getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length);
  print_json({{"distinct", distinct},
              {"missing", count - distinct},
              {"repeated", repeated},
              {"changed", changed},
              {"reordered", reordered},
              {"dropped_by_capture", statistics.tp_drops}});
  return distinct == count && repeated == 0 && changed == 0 ? 0 : 1;
}

int link_events() {
  for (const int number : {SIGTERM, SIGINT}) signal(number, [](int) { stopped = 1; });
  const int fd = check(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), "netlink");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  check(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), "netlink");
  ifreq link{};
  words.at(0).copy(link.ifr_name, IFNAMSIZ - 1);
  LinkCounts counts;
  counts.present = ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCGIFFLAGS, &link) == 0;
  counts.running = counts.present && (link.ifr_flags & IFF_RUNNING) != 0;
  const auto end = Clock::now() + std::chrono::seconds(option("timeout", 86400));
  alignas(nlmsghdr) char buffer[32768];
  while (stopped == 0 && Clock::now() < end) {
    if (!readable(fd, 100)) continue;
    size_t left = size_t(std::max<ssize_t>(recv(fd, buffer, sizeof buffer, 0), 0));
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
      count_link_message(message, counts);
    }
  }
  print_json({{"messages", counts.messages},
              {"up", counts.up},
              {"down", counts.down},
              {"added", counts.added},
              {"removed", counts.removed}});
  return 0;
}
