// TCP and UDP packets, and their checksums computed straight from RFC 1071: what the product's
// answers are compared with. Nothing here calls DPDK.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace netback::test {

struct PacketShape {
  bool ipv6 = false;
  bool udp = false;
  bool tagged = false;               // one VLAN tag
  size_t payload = 100;              // bytes behind the L4 header
  size_t padding = 0;                // Ethernet bytes behind the IP packet
  size_t options = 0;                // bytes of IPv4 options
  size_t tcp_options = 0;            // bytes of TCP options
  std::vector<size_t> extensions{};  // bytes of each IPv6 extension header
  int tcp_flags = -1;                // negative: whatever the pattern has there
  uint8_t seed = 1;
  uint16_t checksum_field = 0xdead;  // what the guest left where the checksum goes
};

struct Packet {
  std::vector<uint8_t> bytes;
  size_t l3 = 0, l4 = 0, end = 0;  // offsets of the headers and of the end of the IP packet
  bool ipv6 = false, udp = false;
  size_t l4_header = 0;  // bytes, options included

  size_t payload_at() const { return l4 + l4_header; }
  size_t checksum_at() const { return l4 + (udp ? 6 : 16); }
};

Packet make_packet(const PacketShape& shape);

// RFC 1071's sum of these bytes, folded and not inverted.
uint16_t sum_of(const std::vector<uint8_t>& bytes);

// What the sender should have put there; 0xffff for a UDP sum of zero (RFC 768).
uint16_t right_checksum(const Packet& packet);
// The pseudo-header's sum alone, folded and not inverted.
uint16_t pseudo_header_sum(const Packet& packet);
uint16_t checksum_of(const Packet& packet, const std::vector<uint8_t>& bytes);
// The packet's bytes with the right checksum.
std::vector<uint8_t> completed(const Packet& packet);

// What a TCP packet is on a wire once it is cut into segments of `segment_bytes` of payload: RFC
// 9293 and what Linux's receivers of segments expect. FIN and PSH are on the last, CWR on the
// first.
std::vector<std::vector<uint8_t>> segments_of(const Packet& packet, size_t segment_bytes);

}  // namespace netback::test
