#include "bench/netfront_pktgen/tcp_stream.hpp"

#include <algorithm>

namespace netback {
namespace {

constexpr uint32_t l3_at = 14, tcp_bytes = 20, protocol_tcp = 6;

void put16(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}
void put32(uint8_t* at, uint32_t value) {
  put16(at, value >> 16);
  put16(at + 2, value & 0xffff);
}
uint32_t get16(const uint8_t* at) {
  return uint32_t{at[0]} << 8 | at[1];
}
uint32_t get32(const uint8_t* at) {
  return get16(at) << 16 | get16(at + 2);
}

// The stream's byte at a place: no two pages, no two segments of it are alike.
uint8_t byte_at(uint32_t place) {
  return static_cast<uint8_t>((place * 2'654'435'761U) >> 24);
}

uint32_t sum_of(std::span<const uint8_t> bytes, uint32_t sum) {
  for (size_t i = 0; i < bytes.size(); i += 2)
    sum += uint32_t{bytes[i]} << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

// Of the addresses, the protocol and TCP's length.
uint32_t pseudo_header_sum(std::span<const uint8_t> frame, uint32_t tcp_at) {
  const bool ipv4 = tcp_at == l3_at + 20;
  const auto addresses = frame.subspan(ipv4 ? l3_at + 12 : l3_at + 8, ipv4 ? 8 : 32);
  return sum_of(addresses, protocol_tcp + static_cast<uint32_t>(frame.size()) - tcp_at);
}

// Where TCP begins, without options or extension headers before it; 0: it is none of ours.
uint32_t find_tcp(std::span<const uint8_t> frame) {
  if (frame.size() < l3_at + 40) return 0;
  const bool ipv4 = get16(&frame[12]) == 0x0800 && frame[l3_at] == 0x45;
  const bool ipv6 = get16(&frame[12]) == 0x86dd;
  if (ipv4 && frame[l3_at + 9] == protocol_tcp) return l3_at + 20;
  return ipv6 && frame[l3_at + 6] == protocol_tcp && frame.size() >= l3_at + 60 ? l3_at + 40 : 0;
}

bool ip_is_right(std::span<const uint8_t> frame, uint32_t tcp_at) {
  const auto ip_bytes = static_cast<uint32_t>(frame.size()) - l3_at;
  if (tcp_at == l3_at + 40) return get16(&frame[l3_at + 4]) == ip_bytes - 40;
  return get16(&frame[l3_at + 2]) == ip_bytes && sum_of(frame.subspan(l3_at, 20), 0) == 0xffff;
}

}  // namespace

std::span<const uint8_t> TcpStream::next(Version version, const std::array<uint8_t, 6>& to,
                                         const std::array<uint8_t, 6>& from, uint32_t bytes) {
  frame_.assign(bytes, 0);
  std::ranges::copy(to, frame_.begin());
  std::ranges::copy(from, frame_.begin() + 6);
  uint8_t* ip = &frame_[l3_at];
  uint32_t tcp_at = l3_at + 20;
  if (version == Version::ipv4) {
    put16(&frame_[12], 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, bytes - l3_at);
    put16(ip + 4, identity_++);
    ip[8] = 64;
    ip[9] = protocol_tcp;
    put32(ip + 12, 0x0a000001);
    put32(ip + 16, 0x0a000002);
    put16(ip + 10, ~sum_of({ip, 20}, 0) & 0xffff);
  } else {
    tcp_at = l3_at + 40;
    put16(&frame_[12], 0x86dd);
    ip[0] = 0x60;
    put16(ip + 4, bytes - tcp_at);
    ip[6] = protocol_tcp;
    ip[7] = 64;
    ip[8] = ip[24] = 0xfd;
    ip[23] = 1;
    ip[39] = 2;
  }
  uint8_t* tcp = &frame_[tcp_at];
  put16(tcp, 1024);
  put16(tcp + 2, 9);
  put32(tcp + 4, sequence_);
  tcp[12] = tcp_bytes / 4 << 4;
  tcp[13] = 0x18;  // ACK, PSH
  put16(tcp + 16, pseudo_header_sum(frame_, tcp_at));
  for (uint32_t at = tcp_at + tcp_bytes; at < bytes; ++at) frame_[at] = byte_at(sequence_++);
  return frame_;
}

bool TcpStream::check(std::span<const uint8_t> frame, bool checksum_blank) {
  const uint32_t tcp_at = find_tcp(frame);
  if (tcp_at == 0) return true;
  const uint32_t pseudo = pseudo_header_sum(frame, tcp_at);
  const bool checksum_right = checksum_blank ? get16(&frame[tcp_at + 16]) == pseudo
                                             : sum_of(frame.subspan(tcp_at), pseudo) == 0xffff;
  if (!ip_is_right(frame, tcp_at) || !checksum_right) return false;
  uint32_t place = get32(&frame[tcp_at + 4]);
  if (static_cast<int32_t>(place - expected_) < 0) return false;  // again, or too late
  missing_bytes_ += place - expected_;
  for (const uint8_t byte : frame.subspan(tcp_at + tcp_bytes))
    if (byte != byte_at(place++)) return false;
  expected_ = place;
  checked_bytes_ += frame.size() - tcp_at - tcp_bytes;
  return true;
}

}  // namespace netback
