// Buffers for frames: mbufs of a mempool whose elements never straddle a 4 KiB page, because a
// grant copy that does is two operations for the kernel (platform: IOCTL_GNTDEV_GRANT_COPY).
#pragma once

#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <bit>
#include <cstring>
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
  // All `count` buffers or none: raw, begin_frame() makes frames of them.
  bool take(rte_mbuf** buffers, uint32_t count) {
    return rte_mempool_get_bulk(pool_, reinterpret_cast<void**>(buffers), count) == 0;
  }
  uint32_t buffers() const { return pool_->size; }
  uint32_t free_buffers() const { return rte_mempool_avail_count(pool_); }
  // At least so many are free for the calling lcore: those in other lcores' caches are not looked
  // at, for there are as many caches as lcores could be.
  uint32_t free_buffers_here() const {
    const rte_mempool_cache* cache = rte_mempool_default_cache(pool_, rte_lcore_id());
    return rte_mempool_get_ops(pool_->ops_index)->get_count(pool_) +
           (cache != nullptr ? cache->len : 0);
  }

  // A frame of one buffer, from `source` (mbuf->port), with `bytes` bytes to be filled in. `next`
  // is null in every buffer that comes back to its pool (rte_pktmbuf_prefree_seg), and the offload
  // lengths mean nothing without flags: both stay as they are, as in drivers' receive functions.
  static void begin_frame(rte_mbuf* buffer, uint16_t source, uint16_t bytes) {
    static_assert(std::endian::native == std::endian::little);
    static_assert(offsetof(rte_mbuf, port) - offsetof(rte_mbuf, data_off) == 6);
    constexpr uint64_t one_whole_buffer =
        RTE_PKTMBUF_HEADROOM | uint64_t{1} << 16 | uint64_t{1} << 32;  // data_off, refcnt, nb_segs
    const uint64_t rearm = one_whole_buffer | uint64_t{source} << 48;
    std::memcpy(&buffer->rearm_data, &rearm, sizeof rearm);
    buffer->ol_flags = 0;
    buffer->packet_type = 0;
    buffer->pkt_len = bytes;
    buffer->data_len = bytes;
  }

 private:
  explicit FramePool(rte_mempool* pool) : pool_(pool) {}
  rte_mempool* pool_;
};

}  // namespace netback
