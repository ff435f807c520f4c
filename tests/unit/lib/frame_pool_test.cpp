// Buffers that a grant copy never splits.
#include "lib/dpdk/frame_pool.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <vector>

#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

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
