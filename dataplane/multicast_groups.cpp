#include "dataplane/multicast_groups.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace netback {

uint64_t MulticastGroups::key_of(const rte_ether_addr& address) {
  static_assert(std::endian::native == std::endian::little);
  uint64_t key = 0;
  std::memcpy(&key, address.addr_bytes, sizeof address.addr_bytes);
  return key;
}

bool MulticastGroups::find(uint64_t key) const {
  return std::ranges::any_of(list_, [key](const auto& entry) { return entry.load() == key; });
}

// Counted before it is there, and until it is gone: who finds the bucket empty may believe it.
bool MulticastGroups::join(uint64_t key) {
  if ((key & group_bit) == 0) return false;
  if (find(key)) return true;
  in_bucket_[bucket_of(key)].fetch_add(1);
  for (auto& entry : list_) {
    uint64_t expected = none;
    if (!entry.compare_exchange_strong(expected, key)) continue;
    note_change();
    return true;
  }
  in_bucket_[bucket_of(key)].fetch_sub(1);
  return false;
}

// All of them: two queues of a vif may have joined one group in the same moment.
void MulticastGroups::leave(const rte_ether_addr& group) {
  const uint64_t key = key_of(group);
  if (key == none) return;
  for (auto& entry : list_) {
    uint64_t expected = key;
    if (!entry.compare_exchange_strong(expected, none)) continue;
    in_bucket_[bucket_of(key)].fetch_sub(1);
    note_change();
  }
}

std::vector<rte_ether_addr> MulticastGroups::joined() const {
  std::vector<rte_ether_addr> all;
  for (const auto& entry : list_) {
    const uint64_t key = entry.load();
    if (key == none) continue;
    std::memcpy(all.emplace_back().addr_bytes, &key, RTE_ETHER_ADDR_LEN);
  }
  return all;
}

}  // namespace netback
