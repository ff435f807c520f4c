// The backend's half of a ring, compared with the macros of public/io/ring.h themselves.
#include "lib/xen/ring.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "lib/netfront/front_ring.hpp"
#include "tests/unit/support/test_guest.hpp"

#undef xen_mb
#undef xen_wmb
#undef xen_rmb
#define xen_mb() std::atomic_thread_fence(std::memory_order_seq_cst)
#define xen_wmb() xen_mb()
#define xen_rmb() xen_mb()

using namespace netback;
using namespace netback::test;

namespace {

struct Rings {
  Page page;
  FromGuestFrontRing front;
  FromGuestRing back;

  explicit Rings(uint32_t start = 0)
      : front(page.bytes, start), back(FromGuestRing::attach(page.bytes).value()) {}
  void put(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i)
      front.put({.gref = 100 + i, .offset = 1, .flags = 2, .id = uint16_t(i), .size = 3});
    front.push();
  }
  void answer(uint32_t count) {
    back.take(count);
    for (uint32_t i = 0; i < count; ++i) back.answer({.id = uint16_t(i), .status = 0});
  }
};

}  // namespace

TEST_CASE("ring: attaches where the last backend stopped") {
  Page page;
  FromGuestFrontRing front(page.bytes, 1000);
  front.req_prod() = 1004;
  auto ring = FromGuestRing::attach(page.bytes);
  REQUIRE(ring);
  CHECK(ring.value().next_slot() == 1000);
  CHECK(ring.value().available() == 4u);
  CHECK(ring.value().unanswered() == 0);
  CHECK(ring.value().unpublished() == 0);
}

TEST_CASE("ring: attach refuses more requests than the ring holds") {  // H03
  Page page;
  FromGuestFrontRing front(page.bytes, 5);
  front.req_prod() = 5 + 256;
  CHECK(FromGuestRing::attach(page.bytes).ok());
  front.req_prod() = 5 + 257;
  const auto refused = FromGuestRing::attach(page.bytes);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message == "the guest's ring claims more requests than it holds");
}

TEST_CASE("ring: a full ring is available, one request more is impossible") {  // H01
  Rings rings;
  rings.front.req_prod() = 256;
  CHECK(rings.back.available() == 256u);
  rings.front.req_prod() = 257;
  CHECK_FALSE(rings.back.available());
}

TEST_CASE("ring: slots taken and not yet answered count against the ring") {
  Rings rings;
  rings.put(10);
  rings.back.take(10);
  rings.front.req_prod() = 256;
  CHECK(rings.back.available() == 246u);
  rings.front.req_prod() = 257;
  CHECK_FALSE(rings.back.available());
  for (int i = 0; i < 10; ++i) rings.back.answer({});
  CHECK_FALSE(rings.back.available());  // answered, but the guest has not seen it
  rings.back.publish();
  CHECK(rings.back.available() == 247u);
}

TEST_CASE("ring: a producer that runs backwards is impossible") {  // H02
  Rings rings;
  rings.put(10);
  rings.back.take(10);
  rings.front.req_prod() = 9;
  CHECK_FALSE(rings.back.available());
  rings.front.req_prod() = 10;
  CHECK(rings.back.available() == 0u);
}

TEST_CASE("ring: indices wrap over 2^32") {  // H02, FBT 7, 14
  Rings rings(UINT32_MAX - 1);
  rings.put(5);
  CHECK(rings.back.available() == 5u);
  rings.answer(5);
  CHECK(rings.back.available() == 0u);
  rings.back.publish();
  CHECK(rings.front.rsp_prod() == 3);
  for (uint16_t i = 0; i < 5; ++i) CHECK(rings.front.get()->id == i);
  CHECK_FALSE(rings.front.get());
}

TEST_CASE("ring: a watch sees what is to take, possible or not, and when it came") {
  Rings rings(UINT32_MAX);
  rings.put(2);
  rings.back.take(2);
  const FromGuestRing::Watch watch = rings.back.watch();
  CHECK_FALSE(watch.sees_some());
  rings.put(1);
  CHECK(watch.sees_some());
  CHECK(rings.back.watch().sees_some());
  rings.back.take(1);
  CHECK_FALSE(rings.back.watch().sees_some());
  for (const uint32_t produced : {0u, 1000u}) {  // below what was taken; beyond the ring
    rings.front.req_prod() = produced;
    CHECK(rings.back.watch().sees_some());
  }
}

TEST_CASE("ring: slots are copied out in order and past the ring's end") {
  Rings rings(254);
  rings.put(4);
  netif::FromGuestRequest requests[3];
  rings.back.copy_out(1, std::span(requests));
  for (uint32_t i = 0; i < 3; ++i) {
    CHECK(requests[i].gref == 101 + i);
    CHECK(requests[i].id == i + 1);
    CHECK(requests[i].size == 3);
    CHECK(requests[i].offset == 1);
    CHECK(requests[i].flags == 2);
  }
  rings.back.take(2);
  rings.back.copy_out(0, std::span(requests, 1));
  CHECK(requests[0].gref == 102);
}

TEST_CASE("ring: an answer is invisible until it is published") {
  Rings rings;
  rings.put(3);
  rings.answer(2);
  rings.back.take(1);  // not answered yet: it must not show
  CHECK(rings.back.unpublished() == 2);
  CHECK(rings.back.unanswered() == 1);
  CHECK(rings.front.rsp_prod() == 0);
  rings.back.publish();
  CHECK(rings.back.unpublished() == 0);
  CHECK(rings.front.rsp_prod() == 2);
  CHECK(rings.back.next_slot() == 3);
}

TEST_CASE("ring: an answer lies in the slot that its request came in") {
  Rings rings;
  rings.put(3);
  rings.back.take(3);
  rings.back.answer({.id = 70, .status = -1});
  CHECK(rings.back.unanswered() == 2);
  CHECK(rings.front.slot(0).response.id == 70);
  CHECK(rings.front.slot(0).response.status == -1);
  CHECK(rings.front.slot(1).request.gref == 101);
}

TEST_CASE("ring: the guest's rsp_prod is written, never read") {
  Rings rings;
  rings.put(3);
  rings.front.rsp_prod() = 12345;
  CHECK(rings.back.available() == 3u);
  rings.answer(3);
  rings.back.publish();
  CHECK(rings.front.rsp_prod() == 3);
}

TEST_CASE("ring: publish asks to notify exactly as the macro does") {
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    const uint32_t start = static_cast<uint32_t>(random()) | (round % 2 ? 0xffffff00u : 0);
    Rings rings(start);
    const uint32_t answers = random() % 8;
    rings.put(answers);
    rings.answer(answers);
    rings.front.rsp_event() = start + random() % 16 - 4;

    netif_tx_back_ring_t macro;
    auto* shared = reinterpret_cast<netif_tx_sring_t*>(rings.page.bytes);
    BACK_RING_ATTACH(&macro, shared, start, netif::page_bytes);
    macro.rsp_prod_pvt += answers;
    int wanted;
    RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&macro, wanted);
    shared->rsp_prod = start;
    REQUIRE(rings.back.publish() == (wanted != 0));
    REQUIRE(shared->rsp_prod == start + answers);
  }
}

TEST_CASE("ring: arm sees what is there exactly as the final check does") {
  std::mt19937 random(2);
  for (int round = 0; round < 20'000; ++round) {
    const uint32_t start = static_cast<uint32_t>(random()) | (round % 2 ? 0xffffff00u : 0);
    Rings rings(start);
    const uint32_t produced = random() % 4, taken = random() % (produced + 1);
    rings.put(produced);
    rings.answer(taken);

    netif_tx_back_ring_t macro;
    auto* shared = reinterpret_cast<netif_tx_sring_t*>(rings.page.bytes);
    BACK_RING_ATTACH(&macro, shared, start, netif::page_bytes);
    macro.req_cons += taken;
    macro.rsp_prod_pvt += taken;
    int more;
    RING_FINAL_CHECK_FOR_REQUESTS(&macro, more);
    const uint32_t req_event = shared->req_event;
    shared->req_event = 0;
    REQUIRE(rings.back.arm() == (more != 0));
    if (!more) REQUIRE(shared->req_event == req_event);
    REQUIRE(shared->req_event == start + taken + 1);
  }
}

TEST_CASE("ring: arm for several requests is met by that many") {
  Rings rings;
  rings.put(1);
  CHECK_FALSE(rings.back.arm(2));
  CHECK(rings.front.req_event() == 2);
  CHECK(rings.back.arm(1));
  rings.front.put({.gref = 1, .offset = 0, .flags = 0, .id = 0, .size = 0});
  rings.back.arm(2);
  CHECK(rings.front.push());  // the second request is the one that notifies
  CHECK(rings.back.arm(2));
}

// A slot's fields share words: read one by one, or a word twice, they would be of two moments.
TEST_CASE("ring: a word of a slot is read once and whole while the guest writes") {  // H04, XSA-155
  constexpr uint32_t key = 0x5a5a;
  const auto word = [](uint32_t low) { return low | (low ^ key) << 16; };
  Rings rings;
  rings.put(1);
  auto* words = reinterpret_cast<volatile uint32_t*>(&rings.front.slot(0));
  std::atomic<bool> stop = false;
  for (uint32_t i = 0; i < 3; ++i) words[i] = word(0);
  std::thread liar([&] {
    for (uint32_t low = 0; !stop; low = (low + 1) & 0xffff)
      for (uint32_t i = 0; i < 3; ++i) words[i] = word(low);
  });
  uint32_t torn = 0;
  std::set<uint32_t> seen;
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  for (uint32_t i = 0; i < 1'000'000 || seen.size() < 100; ++i) {
    if (i % 1024 == 0 && std::chrono::steady_clock::now() > patience) break;
    netif::FromGuestRequest request;
    rings.back.copy_out(0, std::span(&request, 1));
    torn += (request.gref >> 16) != ((request.gref & 0xffff) ^ key);
    torn += request.flags != (request.offset ^ key);
    torn += request.size != (request.id ^ key);
    if (seen.size() < 100) seen.insert(request.gref);
  }
  stop = true;
  liar.join();
  CHECK(torn == 0);
  CHECK(seen.size() == 100);  // the guest did write meanwhile
}

TEST_CASE("ring: indices show both halves") {
  Rings rings(7);
  rings.put(3);
  rings.back.take(2);
  rings.back.answer({});
  const auto indices = rings.back.indices();
  CHECK(indices.req_prod == 10);
  CHECK(indices.req_event == 8);
  CHECK(indices.rsp_prod == 7);
  CHECK(indices.rsp_event == 8);
  CHECK(indices.taken == 9);
  CHECK(indices.answered == 8);
}

TEST_CASE("ring: what is fetched for writing comes for writing") {
#ifdef __PRFCHW__
  SUCCEED();
#else
  FAIL("built without -mprfchw: a prefetch for writing is one for reading");
#endif
}
