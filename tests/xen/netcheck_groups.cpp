// A member of an IPv4 multicast group, and a sender to one.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <stdexcept>

#include "netcheck.hpp"

namespace {

sockaddr_in group_address() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(uint16_t(std::stoul(words.at(1))));
  if (inet_pton(AF_INET, words.at(0).c_str(), &address.sin_addr) != 1) {
    throw std::invalid_argument(words[0]);
  }
  return address;
}

ip_mreqn on_interface(in_addr group) {
  ip_mreqn membership{};
  membership.imr_multiaddr = group;
  membership.imr_ifindex = int(if_nametoindex(words.at(2).c_str()));
  if (membership.imr_ifindex == 0) fail(words[2].c_str());
  return membership;
}

}  // namespace

// The kernel leaves the group when this ends.
int group_recv() {
  const sockaddr_in address = group_address();
  const ip_mreqn membership = on_interface(address.sin_addr);
  const uint64_t count = std::stoull(words.at(3));
  const int fd = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  check(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
  check(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership), "join");
  uint64_t received = 0;
  uint64_t number = 0;
  while (received < count && readable(fd, option("timeout", 20) * 1000)) {
    if (recv(fd, &number, sizeof number, 0) == sizeof number && number == received) received++;
  }
  print_json({{"received", received}});
  return received == count ? 0 : 1;
}

int group_send() {
  const sockaddr_in address = group_address();
  const ip_mreqn membership = on_interface(address.sin_addr);
  const uint64_t count = std::stoull(words.at(3));
  const int fd = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  check(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &membership, sizeof membership), "interface");
  Pace pace;
  for (uint64_t number = 0; number < count; number++) {
    const auto* to = reinterpret_cast<const sockaddr*>(&address);
    check(int(sendto(fd, &number, sizeof number, 0, to, sizeof address)), "send");
    pace.wait_after(1);
  }
  print_json({{"sent", count}});
  return 0;
}
