// Buffers that a grant copy never splits.
#include "lib/dpdk/frame_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

uint8_t* pages_of(const rte_mbuf* large) {
  return static_cast<uint8_t*>(large->buf_addr) + FramePool::large_pages_offset;
}

}  // namespace

TEST_CASE("frame pool: no buffer straddles a page and neighbours differ in colour") {
  const auto pool = make_pool(500);
  std::vector<rte_mbuf*> buffers(500);
  REQUIRE(rte_pktmbuf_alloc_bulk(pool->mempool(), buffers.data(), 500) == 0);
  std::set<uintptr_t> pages, offsets;
  for (rte_mbuf* buffer : buffers) {
    const auto start = reinterpret_cast<uintptr_t>(buffer);
    const auto data_end = reinterpret_cast<uintptr_t>(buffer->buf_addr) + buffer->buf_len;
    CHECK(start / 4096 == (data_end - 1) / 4096);
    CHECK(reinterpret_cast<uintptr_t>(buffer) % RTE_CACHE_LINE_SIZE == 0);
    CHECK(rte_pktmbuf_tailroom(buffer) == FramePool::buffer_bytes);
    CHECK(buffer->buf_iova == reinterpret_cast<uintptr_t>(buffer->buf_addr));
    pages.insert(start / 4096);
    offsets.insert(start % 4096);
  }
  CHECK(pages.size() == 500);
  CHECK(offsets.size() >= 16);
  rte_pktmbuf_free_bulk(buffers.data(), 500);
  CHECK(pool->free_buffers() == 500);
}

TEST_CASE("frame pool: holds exactly as many buffers as asked for") {
  const auto pool = make_pool(400);
  CHECK(pool->buffers() == 400);
  std::vector<rte_mbuf*> buffers(401);
  CHECK(rte_pktmbuf_alloc_bulk(pool->mempool(), buffers.data(), 401) != 0);
  REQUIRE(rte_pktmbuf_alloc_bulk(pool->mempool(), buffers.data(), 400) == 0);
  CHECK(pool->free_buffers() == 0);
  rte_pktmbuf_free_bulk(buffers.data(), 400);
  CHECK(pool->free_buffers() == 400);
}

TEST_CASE("frame pool: says what to do when there is no memory") {
  const auto pool = FramePool::make("too-large", 1'000'000);
  REQUIRE_FALSE(pool.ok());
  CHECK(pool.error().message.find("no memory for 1000000 frame buffers") == 0);
  CHECK(pool.error().fix == "raise memory-mb or lower frame-buffers in dpdk-netback.toml");
}

TEST_CASE("frame pool: says what to do when there is no memory for large buffers") {
  const auto pool = FramePool::make("all-large", 1024, 1'000'000);
  REQUIRE_FALSE(pool.ok());
  CHECK(pool.error().message.find("no memory for 1000000 large buffers") == 0);
  CHECK(pool.error().fix == "raise memory-mb or lower large-buffers in dpdk-netback.toml");
}

TEST_CASE("frame pool: a large buffer has three whole pages, and none share one") {
  const auto pool = make_pool(400, 100);
  CHECK(pool->large_buffers() == 100);
  std::vector<rte_mbuf*> buffers(100);
  CHECK_FALSE(pool->take_large(buffers.data(), 101));
  REQUIRE(pool->take_large(buffers.data(), 100));
  CHECK(pool->free_large_buffers() == 0);
  CHECK(pool->free_buffers() == 400);
  CHECK(rte_pktmbuf_data_room_size(pool->large_mempool()) ==
        RTE_PKTMBUF_HEADROOM + FramePool::large_buffer_bytes);
  std::set<uintptr_t> pages;
  for (rte_mbuf* buffer : buffers) {
    FramePool::begin_frame(buffer, 0, 100);
    CHECK(reinterpret_cast<uintptr_t>(buffer) % RTE_CACHE_LINE_SIZE == 0);
    const uint8_t* pages_begin = pages_of(buffer);
    CHECK(reinterpret_cast<uintptr_t>(pages_begin) % 4096 == 0);
    CHECK(pages_begin + 3 * 4096 ==
          rte_pktmbuf_mtod(buffer, uint8_t*) + 100 + rte_pktmbuf_tailroom(buffer));
    CHECK(pages_begin + 12 == rte_pktmbuf_mtod(buffer, uint8_t*));
    CHECK(rte_pktmbuf_tailroom(buffer) == FramePool::large_buffer_bytes - 100);
    CHECK(FramePool::in_large(buffer));
    CHECK(buffer->buf_iova == reinterpret_cast<uintptr_t>(buffer->buf_addr));
    const auto end = reinterpret_cast<uintptr_t>(buffer->buf_addr) + buffer->buf_len;
    for (uintptr_t page = reinterpret_cast<uintptr_t>(buffer) / 4096; page <= (end - 1) / 4096;
         ++page)
      pages.insert(page);
  }
  CHECK(pages.size() == 400);
  pool->give_back_large(buffers.data(), 100);
  CHECK(pool->free_large_buffers() == 100);
}

namespace {

// The 16 KiB in which a large buffer lies.
uint8_t* place_of(const rte_mbuf* large) {
  return pages_of(large) - 4096;
}

bool all_there(rte_mbuf* large) {
  unsigned char there[4] = {};
  REQUIRE(mincore(place_of(large), sizeof there * 4096, there) == 0);
  return std::all_of(std::begin(there), std::end(there), [](auto page) { return page & 1; });
}

std::vector<rte_mbuf*> take_all_large(FramePool& pool) {
  std::vector<rte_mbuf*> buffers(pool.large_buffers());
  REQUIRE(pool.take_large(buffers.data(), static_cast<uint32_t>(buffers.size())));
  return buffers;
}

}  // namespace

TEST_CASE("frame pool: has the pages of its buffers from the start") {
  // Twice, the kernel having got back in between what others may have touched before.
  for (const bool again : {false, true}) {
    const auto pool = make_pool(400, 200);
    const auto buffers = take_all_large(*pool);
    CHECK(std::all_of(buffers.begin(), buffers.end(), all_there));
    pool->give_back_large(buffers.data(), 200);
    if (again) continue;
    for (rte_mbuf* buffer : buffers)
      REQUIRE(madvise(place_of(buffer) + 4096, 3 * 4096, MADV_REMOVE) == 0);
    CHECK_FALSE(all_there(buffers.front()));
  }
}

TEST_CASE("frame pool: what other lcores may hold back of the large buffers is little") {
  const auto pool = make_pool(400, 100);
  CHECK(pool->large_mempool()->cache_size == 16);
}

TEST_CASE("frame pool: without large buffers there are none to be had") {
  const auto pool = make_pool(400);
  rte_mbuf* buffer = nullptr;
  CHECK_FALSE(pool->take_large(&buffer, 1));
  CHECK(pool->large_mempool() == nullptr);
  CHECK(pool->large_buffers() == 0);
  CHECK(pool->free_large_buffers() == 0);
  CHECK(pool->free_large_buffers_here() == 0);
}

TEST_CASE("frame pool: a large buffer weighs as much as the short ones it could be") {
  const auto pool = make_pool(400, 64);
  rte_mbuf* large[2];
  rte_mbuf* shorts[2];
  REQUIRE(rte_pktmbuf_alloc_bulk(pool->large_mempool(), large, 2) == 0);
  REQUIRE(rte_pktmbuf_alloc_bulk(pool->mempool(), shorts, 2) == 0);
  CHECK_FALSE(FramePool::in_large(shorts[0]));
  CHECK(FramePool::weight(large[0]) == 6);
  CHECK(FramePool::weight(shorts[0]) == 1);
  REQUIRE(rte_pktmbuf_append(large[0], FramePool::large_buffer_bytes) != nullptr);
  REQUIRE(rte_pktmbuf_append(shorts[0], FramePool::buffer_bytes) != nullptr);
  REQUIRE(rte_pktmbuf_chain(large[0], large[1]) == 0);
  REQUIRE(rte_pktmbuf_chain(shorts[0], shorts[1]) == 0);
  CHECK(FramePool::weight(large[0]) == 12);
  CHECK(FramePool::weight(shorts[0]) == 2);
  CHECK(pool->free_large_buffers_here() == 62);
  pool->keep_large(40);
  pool->keep_large(12);
  CHECK(pool->free_large_buffers_here() == 10);
  pool->keep_large(12);
  CHECK(pool->free_large_buffers_here() == 0);
  pool->keep_large(-24);
  CHECK(pool->free_large_buffers_here() == 22);
  rte_pktmbuf_free(large[0]);
  rte_pktmbuf_free(shorts[0]);
}

TEST_CASE("frame pool: all buffers that are asked for, or none") {
  const auto pool = make_pool(400);
  std::vector<rte_mbuf*> buffers(401);
  CHECK_FALSE(pool->take(buffers.data(), 401));
  CHECK(pool->free_buffers() == 400);
  REQUIRE(pool->take(buffers.data(), 400));
  CHECK(std::set<rte_mbuf*>(buffers.begin(), buffers.end() - 1).size() == 400);
  CHECK(pool->free_buffers() == 0);
  rte_mempool_put_bulk(pool->mempool(), reinterpret_cast<void**>(buffers.data()), 400);
}

TEST_CASE("frame pool: a frame begins as new, whatever its buffer was before") {
  const auto pool = make_pool(400);  // the last ones freed are the next ones taken
  rte_mbuf* used[2];
  REQUIRE(rte_pktmbuf_alloc_bulk(pool->mempool(), used, 2) == 0);
  REQUIRE(rte_pktmbuf_append(used[0], 100) != nullptr);
  REQUIRE(rte_pktmbuf_append(used[1], 50) != nullptr);
  REQUIRE(rte_pktmbuf_chain(used[0], used[1]) == 0);
  for (rte_mbuf* buffer : used) {
    rte_pktmbuf_adj(buffer, 14);
    buffer->port = 1;
    buffer->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_TX_TCP_CKSUM;
    buffer->packet_type = RTE_PTYPE_L4_TCP;
  }
  rte_pktmbuf_free(used[0]);

  rte_mbuf* frames[2];
  REQUIRE(pool->take(frames, 2));
  CHECK(std::set(used, used + 2) == std::set(frames, frames + 2));
  for (rte_mbuf* frame : frames) {
    FramePool::begin_frame(frame, 0xabcd, 1514);
    CHECK(rte_mbuf_check(frame, 1, nullptr) == 0);
    CHECK(rte_pktmbuf_headroom(frame) == RTE_PKTMBUF_HEADROOM);
    CHECK(rte_mbuf_refcnt_read(frame) == 1);
    CHECK(frame->nb_segs == 1);
    CHECK(frame->next == nullptr);
    CHECK(frame->port == 0xabcd);
    CHECK(frame->ol_flags == 0);
    CHECK(frame->packet_type == 0);
    CHECK(frame->pkt_len == 1514);
    CHECK(frame->data_len == 1514);
  }
  rte_pktmbuf_free_bulk(frames, 2);
}
