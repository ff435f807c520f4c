// The pages of a queue that its guest has us keep mapped (netif.h "Static Grants"), and the list of
// them that outlives this process: after a restart they are mapped again, and no guest notices.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/limits.hpp"
#include "lib/netif/netif.hpp"
#include "lib/xen/grants.hpp"
#include "lib/xen/staging_table.hpp"

namespace netback {

class Staging {
 public:
  // Of all guests together: each is a mapping of the process, and vm.max_map_count is 65,530.
  static constexpr uint32_t pages_of_process_max = 32'768;
  // Of all queues of a vif together, so that no one vif has what all others would have: all buffers
  // of both rings of eight queues.
  static constexpr uint32_t pages_of_vif_max = 2 * netif::ring_slots * limits::vif_queues_max;

  // Pages of each queue of a vif that has so many: none depends on what others have.
  static constexpr uint32_t pages_of_queue_max(uint32_t queue_count) {
    return std::min(StagingTable::pages_max, pages_of_vif_max / queue_count);
  }

  // `file` empty: nothing is kept. Its directory exists.
  Staging(Grants& grants, uint16_t domain, std::string file,
          uint32_t pages_max = StagingTable::pages_max);
  ~Staging() { unmap_all(); }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Maps what the last process had mapped; what cannot be mapped any more is left out.
  void restore();
  // Begins with nothing mapped: what a file says is of a guest that was here before.
  void forget();

  // All of the list or nothing: false when an entry is reserved, has unknown flags, is mapped
  // already and otherwise, cannot be mapped, or is one more than pages_max() or
  // pages_of_process_max.
  bool add(std::span<const netif::StaticGrant> list);
  // Takes what is here out and writes each entry's status. The pages stay mapped until the result
  // goes: until no worker has them.
  std::vector<MappedPage> remove(std::span<netif::StaticGrant> list);

  // As it is now; null when nothing is mapped.
  std::shared_ptr<const StagingTable> table() const;
  size_t count() const { return pages_.size(); }
  uint32_t pages_max() const { return pages_max_; }

 private:
  struct Page {
    MappedPage mapped;
    uint16_t flags;  // XEN_NETIF_CTRLF_GREF_*
  };
  bool map(const netif::StaticGrant& wanted, std::vector<uint32_t>& added);
  void unmap_all();
  void save() const;

  Grants& grants_;
  const uint16_t domain_;
  const std::string file_;
  const uint32_t pages_max_;
  std::map<uint32_t, Page> pages_;               // by reference
  static inline uint32_t pages_of_process_ = 0;  // the control thread's
};

}  // namespace netback
