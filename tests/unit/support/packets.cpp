#include "tests/unit/support/packets.hpp"

#include <algorithm>

namespace netback::test {
namespace {

constexpr uint8_t tcp_protocol = 6, udp_protocol = 17, destination_options = 60;

void put16(std::vector<uint8_t>& bytes, size_t at, size_t value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}

// RFC 1071 as it is written: sixteen-bit words, the odd byte padded with zero.
uint64_t add_words(const std::vector<uint8_t>& bytes, size_t from, size_t to, uint64_t sum) {
  for (size_t i = from; i < to; i += 2)
    sum += uint64_t{bytes[i]} << 8 | (i + 1 < to ? bytes[i + 1] : 0);
  return sum;
}

uint16_t fold(uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint64_t pseudo_header(const Packet& packet) {
  const size_t addresses = packet.l3 + (packet.ipv6 ? 8 : 12);
  const size_t bytes = packet.ipv6 ? 32 : 8;
  const uint64_t sum = add_words(packet.bytes, addresses, addresses + bytes, 0);
  return sum + (packet.end - packet.l4) + (packet.udp ? udp_protocol : tcp_protocol);
}

void put_ethernet(Packet& packet, const PacketShape& shape) {
  auto& bytes = packet.bytes;
  const uint8_t addresses[12] = {2, 0, 0, 0, 0, 0xaa, 2, 0, 0, 0, 0, 0xbb};
  std::copy_n(addresses, 12, bytes.begin());
  if (shape.tagged) {
    put16(bytes, 12, 0x8100);
    put16(bytes, 14, 42);
  }
  put16(bytes, packet.l3 - 2, shape.ipv6 ? 0x86dd : 0x0800);
}

void put_ipv4(Packet& packet, const PacketShape& shape) {
  auto& bytes = packet.bytes;
  bytes[packet.l3] = static_cast<uint8_t>(0x40 | (20 + shape.options) / 4);
  put16(bytes, packet.l3 + 2, packet.end - packet.l3);
  put16(bytes, packet.l3 + 6, 0);  // no fragment
  bytes[packet.l3 + 9] = shape.udp ? udp_protocol : tcp_protocol;
}

void put_ipv6(Packet& packet, const PacketShape& shape) {
  auto& bytes = packet.bytes;
  const uint8_t last = shape.udp ? udp_protocol : tcp_protocol;
  bytes[packet.l3] = 0x60;
  put16(bytes, packet.l3 + 4, packet.end - packet.l3 - 40);
  bytes[packet.l3 + 6] = shape.extensions.empty() ? last : destination_options;
  size_t at = packet.l3 + 40;
  for (size_t i = 0; i < shape.extensions.size(); ++i) {
    bytes[at] = i + 1 < shape.extensions.size() ? destination_options : last;
    bytes[at + 1] = static_cast<uint8_t>(shape.extensions[i] / 8 - 1);
    at += shape.extensions[i];
  }
}

uint32_t get16(const std::vector<uint8_t>& bytes, size_t at) {
  return uint32_t{bytes[at]} << 8 | bytes[at + 1];
}

void settle_segment(Packet& part, size_t index, size_t payload_at) {
  auto& bytes = part.bytes;
  if (part.ipv6) {
    put16(bytes, part.l3 + 4, part.end - part.l3 - 40);
  } else {
    put16(bytes, part.l3 + 2, part.end - part.l3);
    put16(bytes, part.l3 + 4, get16(bytes, part.l3 + 4) + index);
    put16(bytes, part.l3 + 10, 0);
    put16(bytes, part.l3 + 10, ~fold(add_words(bytes, part.l3, part.l4, 0)));
  }
  const uint64_t sequence =
      (uint64_t{get16(bytes, part.l4 + 4)} << 16 | get16(bytes, part.l4 + 6)) + payload_at;
  put16(bytes, part.l4 + 4, sequence >> 16);
  put16(bytes, part.l4 + 6, sequence);
}

}  // namespace

std::vector<std::vector<uint8_t>> segments_of(const Packet& packet, size_t segment_bytes) {
  std::vector<std::vector<uint8_t>> all;
  const size_t headers = packet.payload_at();
  for (size_t at = headers; at < packet.end; at += segment_bytes) {
    const size_t end = std::min(at + segment_bytes, packet.end);
    Packet part = packet;
    part.bytes.resize(headers);
    part.bytes.insert(part.bytes.end(), packet.bytes.begin() + static_cast<long>(at),
                      packet.bytes.begin() + static_cast<long>(end));
    part.end = part.bytes.size();
    settle_segment(part, all.size(), at - headers);
    uint8_t& flags = part.bytes[packet.l4 + 13];
    if (end != packet.end) flags &= 0xff & ~0x09;
    if (at != headers) flags &= 0xff & ~0x80;
    all.push_back(completed(part));
  }
  return all;
}

Packet make_packet(const PacketShape& shape) {
  Packet packet{.bytes = {}, .ipv6 = shape.ipv6, .udp = shape.udp};
  packet.l3 = shape.tagged ? 18 : 14;
  packet.l4 = packet.l3 + (shape.ipv6 ? 40 : 20 + shape.options);
  for (size_t bytes : shape.extensions) packet.l4 += bytes;
  packet.l4_header = shape.udp ? 8 : 20 + shape.tcp_options;
  packet.end = packet.payload_at() + shape.payload;
  packet.bytes.resize(packet.end + shape.padding);
  for (size_t i = 0; i < packet.bytes.size(); ++i)
    packet.bytes[i] = static_cast<uint8_t>(i * 37 + shape.seed * 101 + i / 256);
  put_ethernet(packet, shape);
  shape.ipv6 ? put_ipv6(packet, shape) : put_ipv4(packet, shape);
  if (shape.udp)
    put16(packet.bytes, packet.l4 + 4, packet.end - packet.l4);
  else
    packet.bytes[packet.l4 + 12] = static_cast<uint8_t>(packet.l4_header / 4 << 4);
  put16(packet.bytes, packet.checksum_at(), shape.checksum_field);
  if (!shape.udp && shape.tcp_flags >= 0)
    packet.bytes[packet.l4 + 13] = static_cast<uint8_t>(shape.tcp_flags);
  return packet;
}

uint16_t sum_of(const std::vector<uint8_t>& bytes) {
  return fold(add_words(bytes, 0, bytes.size(), 0));
}

uint16_t pseudo_header_sum(const Packet& packet) {
  return fold(pseudo_header(packet));
}

uint16_t right_checksum(const Packet& packet) {
  std::vector<uint8_t> bytes = packet.bytes;
  put16(bytes, packet.checksum_at(), 0);
  const uint16_t sum = fold(add_words(bytes, packet.l4, packet.end, pseudo_header(packet)));
  const auto inverted = static_cast<uint16_t>(~sum);
  return inverted == 0 ? 0xffff : inverted;
}

uint16_t checksum_of(const Packet& packet, const std::vector<uint8_t>& bytes) {
  const size_t at = packet.checksum_at();
  return static_cast<uint16_t>(bytes.at(at) << 8 | bytes.at(at + 1));
}

std::vector<uint8_t> completed(const Packet& packet) {
  std::vector<uint8_t> bytes = packet.bytes;
  put16(bytes, packet.checksum_at(), right_checksum(packet));
  return bytes;
}

}  // namespace netback::test
