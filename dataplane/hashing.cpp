#include "dataplane/hashing.hpp"

#include <rte_ip.h>
#include <rte_net.h>
#include <rte_thash.h>

#include <cstddef>
#include <cstring>

namespace netback {
namespace {

constexpr uint32_t tcp_ports_bytes = 4;  // at the start of a TCP header

// Where in the frame the words lie that are hashed.
struct Tuple {
  uint8_t type;
  uint32_t addresses_at, address_bytes;  // both addresses
  uint32_t ports_at;                     // 0: none
};

std::optional<Tuple> tuple_of(const rte_mbuf* frame, uint32_t types) {
  rte_net_hdr_lens lengths{};
  const uint32_t found =
      rte_net_get_ptype(frame, &lengths, RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK | RTE_PTYPE_L4_MASK);
  const bool ipv4 = RTE_ETH_IS_IPV4_HDR(found);
  if (!ipv4 && !RTE_ETH_IS_IPV6_HDR(found)) return std::nullopt;
  const bool tcp = (found & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_TCP;
  const uint8_t with_ports =
      ipv4 ? _XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP : _XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP;
  const uint8_t without = ipv4 ? _XEN_NETIF_CTRL_HASH_TYPE_IPV4 : _XEN_NETIF_CTRL_HASH_TYPE_IPV6;
  Tuple tuple{.type = without, .addresses_at = lengths.l2_len, .address_bytes = 0, .ports_at = 0};
  tuple.addresses_at += static_cast<uint32_t>(ipv4 ? offsetof(rte_ipv4_hdr, src_addr)
                                                   : offsetof(rte_ipv6_hdr, src_addr));
  tuple.address_bytes = ipv4 ? 8 : 32;
  if (tcp && (types >> with_ports & 1) != 0) {
    tuple.type = with_ports;
    tuple.ports_at = lengths.l2_len + lengths.l3_len;
  } else if ((types >> without & 1) == 0) {
    return std::nullopt;
  }
  return tuple;
}

}  // namespace

Hashing::Hashing(const HashSettings& settings)
    : types_(settings.types),
      mapping_entries_(settings.mapping_entries),
      mapping_(settings.mapping) {
  static_assert(sizeof key_ == sizeof settings.key);
  std::array<uint32_t, tuple_words_max + 1> key;
  std::memcpy(key.data(), settings.key.data(), sizeof key);
  rte_convert_rss_key(key.data(), key_.data(), sizeof key_);
}

std::optional<FrameHash> Hashing::of(const rte_mbuf* frame) const {
  const auto tuple = tuple_of(frame, types_);
  if (!tuple) return std::nullopt;
  uint8_t bytes[tuple_words_max * 4];
  uint32_t count = 0;
  const auto add = [&](uint32_t at, uint32_t length) {
    const void* there = rte_pktmbuf_read(frame, at, length, bytes + count);
    if (there == nullptr) return false;
    if (there != bytes + count) std::memcpy(bytes + count, there, length);
    count += length;
    return true;
  };
  if (!add(tuple->addresses_at, tuple->address_bytes)) return std::nullopt;
  if (tuple->ports_at != 0 && !add(tuple->ports_at, tcp_ports_bytes)) return std::nullopt;
  uint32_t words[tuple_words_max];
  for (uint32_t i = 0; i < count / 4; ++i) {
    std::memcpy(&words[i], bytes + i * 4, 4);
    words[i] = rte_be_to_cpu_32(words[i]);
  }
  const auto* key = reinterpret_cast<const uint8_t*>(key_.data());
  return FrameHash{.value = rte_softrss_be(words, count / 4, key), .type = tuple->type};
}

uint32_t Hashing::queue_of(const rte_mbuf* frame, uint32_t queue_count) const {
  const auto hash = of(frame);
  const uint32_t value = hash ? hash->value : 0;
  return mapping_entries_ == 0 ? value % queue_count : mapping_[value % mapping_entries_];
}

}  // namespace netback
