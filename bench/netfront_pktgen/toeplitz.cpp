#include "bench/netfront_pktgen/toeplitz.hpp"

namespace netback {
namespace {

constexpr uint8_t tcp = 6;

bool bit(std::span<const uint8_t> bytes, size_t number) {
  return number / 8 < bytes.size() && (bytes[number / 8] >> (7 - number % 8) & 1) != 0;
}

}  // namespace

// The 32 bits of the key from the place of each bit of the input that is set, added without carry.
uint32_t toeplitz(std::span<const uint8_t> key, std::span<const uint8_t> input) {
  uint32_t hash = 0;
  for (size_t i = 0; i < input.size() * 8; ++i) {
    if (!bit(input, i)) continue;
    uint32_t window = 0;
    for (size_t k = 0; k < 32; ++k) window = window << 1 | static_cast<uint32_t>(bit(key, i + k));
    hash ^= window;
  }
  return hash;
}

HashInfo expected_hash(uint32_t types, std::span<const uint8_t> key,
                       std::span<const uint8_t> frame) {
  if (frame.size() < 14) return {};
  const uint32_t ethertype = static_cast<uint32_t>(frame[12] << 8 | frame[13]);
  const bool ipv4 = ethertype == 0x0800;
  const size_t addresses = ipv4 ? 26 : 22, bytes = ipv4 ? 8 : 32, ports = ipv4 ? 34 : 54;
  if ((!ipv4 && ethertype != 0x86dd) || frame.size() < ports + 4) return {};
  const bool is_tcp = frame[ipv4 ? 23 : 20] == tcp;
  const uint8_t plain = ipv4 ? 0 : 2, with_ports = plain + 1;
  std::vector<uint8_t> input(&frame[addresses], &frame[addresses] + bytes);
  uint8_t type = plain;
  if (is_tcp && (types >> with_ports & 1) != 0) {
    type = with_ports;
    input.insert(input.end(), &frame[ports], &frame[ports] + 4);
  } else if ((types >> plain & 1) == 0) {
    return {};
  }
  return {type, XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ, toeplitz(key, input)};
}

}  // namespace netback
