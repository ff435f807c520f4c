// The multicast groups that a guest has joined (netif.h "Multicast control"): one list a vif, which
// the workers of its queues amend, forwarding asks and control reads. No lock: any of them may be
// at it at once.
#pragma once

#include <rte_ether.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "dataplane/limits.hpp"

namespace netback {

class MulticastGroups {
 public:
  // False: not a multicast address, or the list is full. One that is there already is no news.
  bool join(const rte_ether_addr& group) { return join(key_of(group)); }
  // One that is not there is left already.
  void leave(const rte_ether_addr& group);

  // Control: whether the list decides what the guest gets. Until then it is only kept.
  void apply(bool applied) {
    if (applied_.exchange(applied, std::memory_order_relaxed) != applied) note_change();
  }
  bool applied() const { return applied_.load(std::memory_order_relaxed); }

  // Whether the guest is to get a frame that is not for its own address alone. `to`: its
  // destination, in the low 48 bits as they lie in a frame, the first byte lowest.
  bool takes(uint64_t to) const {
    return !applied() || (to & group_bit) == 0 || to == broadcast || contains(to);
  }
  std::vector<rte_ether_addr> joined() const;
  // Another with each change of the list and of whether it is applied. Control reads it, and the
  // list after it: what changes from then on makes one more.
  uint32_t version() const { return version_.load(std::memory_order_acquire); }

 private:
  static constexpr uint64_t group_bit = 1, broadcast = 0xffff'ffff'ffff;
  static constexpr uint64_t none = 0;  // never a group: its first bit is not set

  static uint64_t key_of(const rte_ether_addr& address);
  static size_t bucket_of(uint64_t key) { return (key * 0x9e37'79b9'7f4a'7c15) >> 58; }
  void note_change() { version_.fetch_add(1, std::memory_order_release); }
  bool join(uint64_t key);
  bool contains(uint64_t key) const {
    // Most frames are of groups that nobody here has joined: known by one look.
    if (in_bucket_[bucket_of(key)].load(std::memory_order_acquire) == 0) return false;
    return find(key);
  }
  bool find(uint64_t key) const;

  std::atomic<bool> applied_ = false;
  std::atomic<uint32_t> version_ = 1;
  // How many of the list fall to each bucket, or are about to: never too few.
  std::array<std::atomic<uint8_t>, 64> in_bucket_{};
  std::array<std::atomic<uint64_t>, limits::multicast_groups_max> list_{};
};
static_assert(limits::multicast_groups_max < UINT8_MAX);

}  // namespace netback
