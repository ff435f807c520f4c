// Buffers for frames: mbufs of a mempool whose elements never straddle a 4 KiB page, because a
// grant copy that does is two operations for the kernel (platform: IOCTL_GNTDEV_GRANT_COPY).
#pragma once

#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <memory>
#include <string>

#include "lib/base/result.hpp"

namespace netback {

class FramePool {
 public:
  // Bytes of frame in one buffer: a 1,518-byte frame lies in one; longer frames are chains.
  static constexpr uint32_t buffer_bytes = 2048;

  // `buffers` buffers take 4 KiB each. Needs EAL.
  static Result<std::unique_ptr<FramePool>> make(const std::string& name, uint32_t buffers);
  ~FramePool() { rte_mempool_free(pool_); }
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  rte_mempool* mempool() const { return pool_; }
  uint32_t buffers() const { return pool_->size; }
  uint32_t free_buffers() const { return rte_mempool_avail_count(pool_); }
  // At least so many are free for the calling lcore: those in other lcores' caches are not looked
  // at, for there are as many caches as lcores could be.
  uint32_t free_buffers_here() const {
    const rte_mempool_cache* cache = rte_mempool_default_cache(pool_, rte_lcore_id());
    return rte_mempool_get_ops(pool_->ops_index)->get_count(pool_) +
           (cache != nullptr ? cache->len : 0);
  }

 private:
  explicit FramePool(rte_mempool* pool) : pool_(pool) {}
  rte_mempool* pool_;
};

}  // namespace netback
