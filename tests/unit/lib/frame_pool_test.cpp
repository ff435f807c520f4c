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
