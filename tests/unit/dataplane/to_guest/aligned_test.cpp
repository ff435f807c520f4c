// Long frames in large buffers: where they begin in the guest's first page, and how few copies that
// takes.
#include <array>

#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// Bytes of a large buffer that a frame from a guest fills: whole pages.
constexpr uint32_t buffer_room = 2 * 4096;

struct Aligned : ToGuestStages {
  Aligned() : ToGuestStages(64) {}

  // A frame as another guest's, which begins `place` bytes into a page and then goes on page by
  // page, buffer by buffer.
  rte_mbuf* queue_large(const Bytes& bytes, uint32_t place) {
    std::array<rte_mbuf*, 8> buffers;
    std::array<uint16_t, 8> lengths;
    uint32_t count = 0;
    for (uint32_t at = 0; at < bytes.size(); at += lengths[count++]) {
      buffers[count] = rte_pktmbuf_alloc(pool->large_mempool());
      REQUIRE(buffers[count] != nullptr);
      const uint32_t offset = count == 0 ? place : 0;
      buffers[count]->data_off = static_cast<uint16_t>(RTE_PKTMBUF_HEADROOM + offset);
      lengths[count] =
          static_cast<uint16_t>(std::min<size_t>(buffer_room - offset, bytes.size() - at));
      std::memcpy(rte_pktmbuf_append(buffers[count], lengths[count]), &bytes[at], lengths[count]);
    }
    for (uint32_t i = 1; i < count; ++i) REQUIRE(rte_pktmbuf_chain(buffers[0], buffers[i]) == 0);
    return queue_mbuf(buffers[0], guest);
  }

  // The frame that the guest finds, extra info in slots [1, extras]; `offsets` of its slots.
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
  std::vector<int> offsets, statuses;
};

}  // namespace

TEST_CASE("aligned: a long frame's pages go to the guest's as they lie, one copy each") {
  for (const bool segmented : {false, true}) {
    INFO(segmented);
    Aligned s;
    s.guest.post_buffers(8);
    const Bytes packet = make_packet({.payload = 11'946}).bytes;
    REQUIRE(packet.size() == 12'000);
    rte_mbuf* mbuf = s.queue_large(packet, 1000);
    if (segmented) REQUIRE(mark_segmented(mbuf, true, 1400));
    const Bytes frame = bytes_of(mbuf);
    s.run();
    CHECK(s.batch.copies.count() == 4);
    CHECK(s.gather(segmented ? 1 : 0) == frame);
    CHECK(s.offsets == std::vector<int>{1000, 0, 0, 0});
    CHECK(s.statuses == std::vector<int>{3096, 4096, 4096, 712});
    CHECK(s.guest.count(QueueCounter::to_guest_slots) == (segmented ? 5 : 4));
  }
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
}
