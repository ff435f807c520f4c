// Long frames in large buffers: where they begin in the guest's first page, and how few copies that
// takes.
#include <array>

#include "dataplane/from_guest/chain.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/hashes.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint32_t buffer_end = RTE_PKTMBUF_HEADROOM + FramePool::large_buffer_bytes;
// Of buffers behind the first (from_guest::large_chain), which have whole pages.
constexpr uint32_t next_offset = FramePool::large_pages_offset;

struct Aligned : ToGuestStages {
  const Hashing hashing{hash_settings()};
  std::vector<int> offsets, statuses;  // of the slots that gather() saw

  Aligned() : ToGuestStages(64) {}

  // A frame as it comes from another guest, `place` bytes into a page.
  rte_mbuf* queue_large(const Bytes& bytes, uint32_t place) {
    const uint32_t first_offset = FramePool::large_pages_offset + place;
    const auto further = static_cast<uint32_t>(
        (bytes.size() - std::min<size_t>(bytes.size(), buffer_end - first_offset) + 12287) / 12288);
    std::array<rte_mbuf*, 8> buffers;
    REQUIRE(pool->take_large(buffers.data(), 1 + further));
    rte_mbuf* frame =
        from_guest::make_chain(buffers.data(), {1 + further, first_offset, next_offset, buffer_end},
                               0, static_cast<uint32_t>(bytes.size()));
    size_t at = 0;
    for (rte_mbuf* m = frame; m != nullptr; at += m->data_len, m = m->next)
      std::memcpy(rte_pktmbuf_mtod(m, uint8_t*), &bytes[at], m->data_len);
    return queue_mbuf(frame, guest);
  }

  // The frame that the guest finds, extra info in slots [1, extras].
  Bytes gather(uint32_t extras = 0) {
    Bytes bytes;
    const auto answers = guest.deliveries();
    for (uint32_t i = 0; i < answers.size(); ++i) {
      if (i >= 1 && i <= extras) continue;
      REQUIRE(answers[i].status > 0);
      offsets.push_back(answers[i].offset);
      statuses.push_back(answers[i].status);
      const uint8_t* page = guest.buffer(i);
      bytes.insert(bytes.end(), page + answers[i].offset,
                   page + answers[i].offset + answers[i].status);
    }
    return bytes;
  }
};

}  // namespace

TEST_CASE("aligned: a long frame's pages go to the guest's as they lie, most by one copy each") {
  for (const bool segmented : {false, true}) {
    for (const bool hashed : {false, true}) {
      INFO(segmented << hashed);
      Aligned s;
      if (hashed) s.guest.queue->hashing = &s.hashing;
      s.guest.post_buffers(8);
      const Bytes packet = make_packet({.payload = 11'946}).bytes;
      REQUIRE(packet.size() == 12'000);
      rte_mbuf* mbuf = s.queue_large(packet, 1000);
      REQUIRE(mbuf->nb_segs == 2);
      if (segmented) REQUIRE(mark_segmented(mbuf, true, 1400));
      const Bytes frame = bytes_of(mbuf);
      s.run();
      CHECK(s.batch.copies.count() == 4);
      const uint32_t extras = (segmented ? 1 : 0) + (hashed ? 1 : 0);
      CHECK(s.gather(extras) == frame);
      CHECK(s.offsets == std::vector<int>{1000, 0, 0, 0});
      CHECK(s.statuses == std::vector<int>{3096, 4096, 4096, 712});
      CHECK(s.guest.count(QueueCounter::to_guest_slots) == 4 + extras);
    }
  }
}

TEST_CASE("aligned: a long frame of net_virtio's is a copy for each page of the guest's") {
  Aligned s;
  s.guest.post_buffers(17);
  const Bytes frame = plain_frame(65'226);
  const rte_mbuf* mbuf = s.queue_large(frame, RTE_PKTMBUF_HEADROOM - next_offset);
  REQUIRE(mbuf->data_off == RTE_PKTMBUF_HEADROOM);
  REQUIRE(mbuf->data_len == FramePool::large_buffer_bytes);
  s.run();
  CHECK(s.batch.copies.count() == 16);
  CHECK(s.gather() == frame);
  CHECK(s.guest.count(QueueCounter::to_guest_slots) == 16);
}

TEST_CASE("aligned: one that begins with a page, or near its end, begins with the guest's page") {
  const struct {
    uint32_t place, offset;
  } cases[] = {{0, 0}, {1, 1}, {4096 - 256, 4096 - 256}, {4096 - 255, 0}, {4095, 0}};
  for (const auto& c : cases) {
    INFO(c.place);
    Aligned s;
    s.guest.post_buffers(8);
    const Bytes frame = plain_frame(9000);
    s.queue_large(frame, c.place);
    s.run();
    CHECK(s.gather() == frame);
    CHECK(s.offsets.front() == int(c.offset));
  }
}

TEST_CASE("aligned: no frame waits for the slot more that it would take") {
  Aligned s;
  s.guest.post_buffers(3);
  const Bytes frame = plain_frame(12'000);
  s.queue_large(frame, 1000);
  s.run();
  CHECK(s.gather() == frame);
  CHECK(s.offsets == std::vector<int>{0, 0, 0});
}

TEST_CASE("aligned: of two frames the second is not when there is no slot more for it") {
  for (const uint32_t posted : {7U, 8U}) {
    INFO(posted);
    Aligned s;
    s.guest.post_buffers(posted);
    const Bytes first = plain_frame(12'000), second = plain_frame(12'001);
    s.queue_large(first, 1000);
    s.queue_large(second, 1000);
    s.run();
    Bytes both = first;
    both.insert(both.end(), second.begin(), second.end());
    CHECK(s.gather() == both);
    CHECK(s.offsets == (posted == 7 ? std::vector<int>{1000, 0, 0, 0, 0, 0, 0}
                                    : std::vector<int>{1000, 0, 0, 0, 1000, 0, 0, 0}));
  }
}

TEST_CASE("aligned: a frame of which a copy fails is an ERROR in each of its slots") {
  Aligned s;
  s.guest.post_buffers(8);
  xen().failing_operations = {xen().copy_operations + 2};
  s.queue_large(plain_frame(12'000), 1000);
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 4);
  for (const auto& answer : answers) CHECK(answer.status == NETIF_RSP_ERROR);
}

TEST_CASE("aligned: to a guest whose driver looks at no offsets each page is from its beginning") {
  Aligned s;
  s.guest.settings.takes_blank_ipv6 = false;
  s.guest.post_buffers(8);
  const Bytes frame = plain_frame(9000);
  s.queue_large(frame, 1000);
  s.run();
  CHECK(s.gather() == frame);
  CHECK(s.offsets == std::vector<int>{0, 0, 0});
  CHECK(s.statuses == std::vector<int>{4096, 4096, 808});
}

TEST_CASE("aligned: what fits a slot, lies in short buffers or has headroom is as it was") {
  Aligned s;
  s.guest.post_buffers(8);
  const Bytes one = plain_frame(4096), chain = plain_frame(5000);
  s.queue_large(one, 100);
  s.queue_frame(chain, 2000);
  s.run();
  CHECK(s.gather().size() == 4096 + 5000);
  CHECK(s.offsets == std::vector<int>{0, 0, 0});

  Aligned behind;
  behind.guest.queue->xdp_headroom = 256;
  behind.guest.post_buffers(8);
  const Bytes frame = plain_frame(9000);
  behind.queue_large(frame, 1000);
  behind.run();
  CHECK(behind.gather(1) == frame);
  CHECK(behind.offsets == std::vector<int>{256, 256, 256});

  const StagingTable mapped({});  // copies to mapped pages are none of the hypervisor's
  Aligned staged;
  staged.guest.queue->staging = &mapped;
  staged.guest.post_buffers(8);
  staged.queue_large(frame, 1000);
  staged.run();
  CHECK(staged.gather() == frame);
  CHECK(staged.offsets == std::vector<int>{0, 0, 0});
}
