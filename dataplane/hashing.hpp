// The hash of a frame that a guest asks for on its control ring (netif.h "Hash types", "Hash
// algorithms"), and what it decides: the queue that takes the frame. Control makes one from what
// the guest has set; nobody changes it; the next one replaces it.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <optional>

#include "lib/netif/netif.hpp"

namespace netback {

struct FrameHash {
  uint32_t value;
  uint8_t type;  // _XEN_NETIF_CTRL_HASH_TYPE_*
  bool operator==(const FrameHash&) const = default;
};

// As the guest has set it. The limits are Linux's (drivers/net/xen-netback
// XEN_NETBK_MAX_HASH_KEY_SIZE, XEN_NETBK_MAX_HASH_MAPPING_SIZE).
struct HashSettings {
  static constexpr uint32_t key_bytes_max = 40, mapping_entries_max = 128;
  static constexpr uint32_t all_types =
      XEN_NETIF_CTRL_HASH_TYPE_IPV4 | XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP |
      XEN_NETIF_CTRL_HASH_TYPE_IPV6 | XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP;

  uint32_t algorithm = XEN_NETIF_CTRL_HASH_ALGORITHM_NONE;
  uint32_t types = 0;                        // XEN_NETIF_CTRL_HASH_TYPE_*
  std::array<uint8_t, key_bytes_max> key{};  // zeros behind what was set
  uint32_t mapping_entries = 0;              // 0: none, the queue is the hash modulo their number
  std::array<uint32_t, mapping_entries_max> mapping{};  // queues

  // Whether there is anything to compute.
  bool on() const { return algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ && types != 0; }
};

class Hashing {
 public:
  // `settings` are on(), its types are of all_types, its mapping's queues are the vif's.
  explicit Hashing(const HashSettings& settings);

  // By the richest of the types that the guest has chosen; nothing when none fits the frame, as
  // Linux has it: a fragment has no TCP header, what is no IP has no hash.
  std::optional<FrameHash> of(const rte_mbuf* frame) const;
  // Which of the vif's queues takes the frame; one without a hash counts as if it were 0.
  uint32_t queue_of(const rte_mbuf* frame, uint32_t queue_count) const;

 private:
  static constexpr uint32_t tuple_words_max = 9;  // two IPv6 addresses and two ports

  uint32_t types_;
  std::array<uint32_t, tuple_words_max + 1> key_;  // as rte_softrss_be() wants it
  uint32_t mapping_entries_;
  std::array<uint32_t, HashSettings::mapping_entries_max> mapping_;
};

}  // namespace netback
