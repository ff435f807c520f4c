// Buffers for frames, mbufs of two mempools. A grant copy is an operation for each page of ours
// that it touches (platform: IOCTL_GNTDEV_GRANT_COPY), so a short buffer never straddles a 4 KiB
// page, and a large one has three whole ones.
#pragma once

#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <algorithm>
#include <atomic>
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

  // And in a large one behind the usual headroom, for frames that would take many of the others:
  // net_virtio's receive fills such a chain without a gap, but begins the data of all buffers but
  // the first 12 bytes earlier, for a header that they do not have. There the three pages begin, so
  // many bytes into the buffer, and the data of each ends with a page.
  static constexpr uint32_t large_pages_offset = RTE_PKTMBUF_HEADROOM - 12;
  static constexpr uint32_t large_buffer_bytes = 3 * 4096 - 12;

  // `buffers` buffers take 4 KiB each, large ones 16. Needs EAL.
  static Result<std::unique_ptr<FramePool>> make(const std::string& name, uint32_t buffers,
                                                 uint32_t large_buffers = 0);
  ~FramePool() {
    rte_mempool_free(large_);
    rte_mempool_free(pool_);
  }
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  rte_mempool* mempool() const { return pool_; }
  // All `count` buffers or none: raw, begin_frame() makes frames of them.
  bool take(rte_mbuf** buffers, uint32_t count) {
    return rte_mempool_get_bulk(pool_, reinterpret_cast<void**>(buffers), count) == 0;
  }
  // A copy of the frame in one short buffer; nullptr when there is none or it is too small.
  rte_mbuf* copy_short(const rte_mbuf* frame) const {
    if (frame->pkt_len > buffer_bytes) return nullptr;
    return rte_pktmbuf_copy(frame, pool_, 0, UINT32_MAX);
  }
  uint32_t buffers() const { return pool_->size; }
  uint32_t free_buffers() const { return rte_mempool_avail_count(pool_); }
  // At least so many are free for the calling lcore: those in other lcores' caches are not looked
  // at, for there are as many caches as lcores could be.
  uint32_t free_buffers_here() const { return free_here(pool_); }

  // The same of large buffers; of a pool without any, null, false, 0.
  rte_mempool* large_mempool() const { return large_; }
  bool take_large(rte_mbuf** buffers, uint32_t count) {
    return large_ != nullptr &&
           rte_mempool_get_bulk(large_, reinterpret_cast<void**>(buffers), count) == 0;
  }
  void give_back_large(rte_mbuf* const* buffers, uint32_t count) {
    rte_mempool_put_bulk(large_, reinterpret_cast<void* const*>(buffers), count);
  }
  // Ports may need so many more to fill their rings, or, of one that goes, so many fewer: control
  // says so, while workers run as well.
  void keep_large(int64_t count) {
    kept_large_.store(static_cast<uint32_t>(kept_large_ + count), std::memory_order_relaxed);
  }
  // At least so many are free for others than those, as free_buffers_here().
  uint32_t free_large_buffers_here() const {
    const uint32_t free = large_ != nullptr ? free_here(large_) : 0;
    return free - std::min(free, kept_large_.load(std::memory_order_relaxed));
  }
  uint32_t large_buffers() const { return large_ != nullptr ? large_->size : 0; }
  uint32_t free_large_buffers() const {
    return large_ != nullptr ? rte_mempool_avail_count(large_) : 0;
  }

  // Whether the frame lies in large buffers, all of them: none is a mixture.
  static bool in_large(const rte_mbuf* frame) {
    return frame->buf_len > RTE_PKTMBUF_HEADROOM + buffer_bytes;
  }
  // A large buffer keeps as much memory from others as so many short ones.
  static constexpr uint32_t large_weight = (large_buffer_bytes + buffer_bytes - 1) / buffer_bytes;
  static uint32_t weight(const rte_mbuf* frame) {
    return in_large(frame) ? frame->nb_segs * large_weight : frame->nb_segs;
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
  static uint32_t free_here(const rte_mempool* pool) {
    const rte_mempool_cache* cache =
        rte_mempool_default_cache(const_cast<rte_mempool*>(pool), rte_lcore_id());
    return rte_mempool_get_ops(pool->ops_index)->get_count(pool) +
           (cache != nullptr ? cache->len : 0);
  }

  explicit FramePool(rte_mempool* pool) : pool_(pool) {}
  rte_mempool* pool_;
  rte_mempool* large_ = nullptr;
  std::atomic<uint32_t> kept_large_ = 0;  // control writes
};

}  // namespace netback
