// Long frames of guests in large buffers: where they lie there, how few copies that takes, and what
// happens when there are none.
#include "dataplane/from_guest/chain.hpp"

#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct LongFrames : FromGuestStages {
  static constexpr uint32_t large_buffers = 64;
  TestGuest guest{0};

  LongFrames() : FromGuestStages(large_buffers) {
    guest.settings.frame_bytes_max = 65535;
    queues.add(*guest.queue);
  }
  // `sizes`: of the slots; each begins at the offset of the same number, or with its page.
  Bytes put(const std::vector<uint32_t>& sizes, const std::vector<uint32_t>& offsets = {}) {
    uint32_t total = 0;
    for (const uint32_t size : sizes) total += size;
    const Bytes frame = plain_frame(total, static_cast<uint8_t>(++frames_));
    uint32_t at = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const Bytes part(frame.begin() + at, frame.begin() + at + sizes[i]);
      const uint32_t offset = i < offsets.size() ? offsets[i] : 0;
      guest.from_guest.put(
          {.gref = guest.data_page(part, offset),
           .offset = static_cast<uint16_t>(offset),
           .flags = static_cast<uint16_t>(i + 1 < sizes.size() ? NETTXF_more_data : 0),
           .id = static_cast<uint16_t>(i),
           .size = static_cast<uint16_t>(i == 0 ? total : sizes[i])});
      at += sizes[i];
    }
    guest.from_guest.push();
    return frame;
  }
  uint32_t large_taken() const { return pool->large_buffers() - pool->free_large_buffers(); }
  uint32_t shorts_taken() const { return pool->buffers() - pool->free_buffers(); }
  void answer() { from_guest::respond(batch, holding, *events); }

 private:
  int frames_ = 0;
};

// Of headers and full pages, as Linux sends it.
std::vector<uint32_t> linux_slots(uint32_t first, uint32_t total) {
  std::vector<uint32_t> sizes{first};
  for (uint32_t left = total - first; left > 0; left -= sizes.back())
    sizes.push_back(std::min(left, 4096U));
  return sizes;
}

uintptr_t place_in_page(const rte_mbuf* frame, uint32_t byte) {
  while (byte >= frame->data_len) {
    byte -= frame->data_len;
    frame = frame->next;
  }
  return reinterpret_cast<uintptr_t>(rte_pktmbuf_mtod_offset(frame, uint8_t*, byte)) % 4096;
}

}  // namespace

TEST_CASE("from-guest chain: from three short buffers on a frame lies in large ones") {
  for (const uint32_t total : {4096U, 4097U}) {
    LongFrames f;
    const Bytes frame = f.put(linux_slots(66, total));
    f.inspect();
    REQUIRE(f.frames.count == 1);
    CHECK(FramePool::in_large(f.frames.mbufs[0]) == (total > 4096));
    CHECK(f.large_taken() == (total > 4096 ? 1 : 0));
    CHECK(f.shorts_taken() == (total > 4096 ? 0 : 2));
    CHECK(rte_mbuf_check(f.frames.mbufs[0], 1, nullptr) == 0);
    f.answer();
    CHECK(f.take_frames() == std::vector<Bytes>{frame});
  }
}

TEST_CASE("from-guest chain: a full page of the guest's is one copy") {
  LongFrames f;
  const Bytes frame = f.put(linux_slots(66, 65535));
  f.inspect();
  REQUIRE(f.frames.count == 1);
  const rte_mbuf* mbuf = f.frames.mbufs[0];
  CHECK(rte_mbuf_check(mbuf, 1, nullptr) == 0);
  CHECK(mbuf->nb_segs == 6);
  CHECK(mbuf->pkt_len == 65535);
  CHECK(f.large_taken() == 6);
  for (uint32_t page = 0; page < 16; ++page) CHECK(place_in_page(mbuf, 66 + 4096 * page) == 0);
  CHECK(xen().copy_operations == 17);
  f.answer();
  CHECK(f.take_frames() == std::vector<Bytes>{frame});
}

TEST_CASE("from-guest chain: the second slot lies in a page as in the guest's, as far as it can") {
  const struct {
    uint32_t first, offset;  // bytes of the first slot, offset of the second
    uint32_t data_off;       // of the first buffer: 116 is where a page begins
  } cases[] = {
      {66, 0, 116 - 66},
      {100, 0, 16},
      {101, 0, 116 + 4096 - 102},
      {14, 0, 116 - 14},
      {66, 66, 116},
      {66, 1000, 116 + 934},
      {4096, 0, 116},
      {4096, 5, 120},
      {200, 100, 16},
      {200, 98, 116 + 4096 - 102},
      {200, 4000, 116 + 3800},
      {14, 3998, 116 + 3984},
      {14, 4010, 16},
  };
  for (const auto& c : cases) {
    INFO(c.first << " and at " << c.offset);
    LongFrames f;
    std::vector<uint32_t> sizes{c.first, 4096 - c.offset, 4096, 4096};
    const Bytes frame = f.put(sizes, {0, c.offset});
    f.inspect();
    REQUIRE(f.frames.count == 1);
    CHECK(f.frames.mbufs[0]->data_off == c.data_off);
    const uint32_t odd = (c.offset + c.first) % 2;
    CHECK((place_in_page(f.frames.mbufs[0], c.first) + odd) % 4096 == c.offset);
    f.answer();
    CHECK(f.take_frames() == std::vector<Bytes>{frame});
  }
}

TEST_CASE("from-guest chain: extra info and frames before it do not change where it lies") {
  LongFrames f;
  f.guest.settings.gso_tcpv4_offered = true;
  f.put({60});
  const Bytes frame = plain_frame(9014);
  f.guest.from_guest.put({.gref = f.guest.data_page(Bytes(frame.begin(), frame.begin() + 66), 500),
                          .offset = 500,
                          .flags = NETTXF_extra_info | NETTXF_more_data | NETTXF_csum_blank,
                          .id = 1,
                          .size = 9014});
  f.guest.put_gso(1448);
  f.guest.put_slot(2, 3000, NETTXF_more_data, 1096,
                   f.guest.data_page(Bytes(frame.begin() + 66, frame.begin() + 3066), 1096));
  f.guest.put_slot(3, 4096, NETTXF_more_data, 0,
                   f.guest.data_page(Bytes(frame.begin() + 3066, frame.begin() + 7162)));
  f.guest.put_slot(4, 1852, 0, 0, f.guest.data_page(Bytes(frame.begin() + 7162, frame.end())));
  f.guest.from_guest.push();
  CHECK(f.fetch());
  REQUIRE(f.batch.frame_count == 2);
  const rte_mbuf* mbuf = f.batch.mbufs[1];
  CHECK(bytes_of(mbuf) == frame);
  CHECK(place_in_page(mbuf, 66) == 1096);
  CHECK(place_in_page(mbuf, 3066) == 0);
  CHECK(xen().copy_operations == 1 + 4);
  from_guest::inspect(f.batch, f.frames);  // drops it: it is no TCP
  f.answer();
  CHECK(f.take_frames().size() == 1);
}

TEST_CASE("from-guest chain: as many large buffers as it takes, up to one byte and one byte more") {
  const uint32_t first = 66 + 12288;
  for (const auto& [total, count] :
       {std::pair{first, 1U}, {first + 1, 2U}, {first + 12288, 2U}, {first + 12289, 3U}}) {
    INFO(total);
    LongFrames f;
    const Bytes frame = f.put(linux_slots(66, total));
    f.inspect();
    REQUIRE(f.frames.count == 1);
    CHECK(f.frames.mbufs[0]->nb_segs == count);
    CHECK(f.large_taken() == count);
    for (const rte_mbuf* m = f.frames.mbufs[0]; m != nullptr; m = m->next) CHECK(m->data_len > 0);
    f.answer();
    CHECK(f.take_frames() == std::vector<Bytes>{frame});
  }
}

TEST_CASE("from-guest chain: without large buffers enough for all, all lie in short ones") {
  LongFrames f;
  f.leave_large_buffers(1);
  const Bytes one = f.put(linux_slots(66, 9014)), two = f.put(linux_slots(66, 9014));
  f.inspect();
  CHECK(f.large_taken() == LongFrames::large_buffers - 1);
  CHECK(f.shorts_taken() == 10);
  f.answer();
  CHECK(f.take_frames() == std::vector<Bytes>{one, two});
  f.give_buffers_back();
  const Bytes three = f.put(linux_slots(66, 9014));
  f.inspect();
  CHECK(f.shorts_taken() == 0);
  f.answer();
  CHECK(f.take_frames() == std::vector<Bytes>{three});
}

TEST_CASE("from-guest chain: a quarter of the large buffers stays, and what ports may need") {
  for (const uint32_t left : {25U, 26U}) {
    LongFrames f;
    f.pool->keep_large(8);
    f.leave_large_buffers(left);
    const Bytes one = f.put(linux_slots(66, 9014)), two = f.put(linux_slots(66, 9014));
    f.inspect();
    CHECK(f.pool->free_large_buffers() == (left < 26 ? left : 24));
    CHECK(f.shorts_taken() == (left < 26 ? 10 : 0));
    f.answer();
    CHECK(f.take_frames() == std::vector<Bytes>{one, two});
  }
}

TEST_CASE("from-guest chain: short frames beside long ones have short buffers, all in order") {
  LongFrames f;
  const std::vector<Bytes> frames{f.put({60}), f.put(linux_slots(66, 9014)), f.put({61}),
                                  f.put(linux_slots(66, 3000)), f.put(linux_slots(54, 5000))};
  f.inspect();
  CHECK(f.large_taken() == 2);
  CHECK(f.shorts_taken() == 4);
  f.answer();
  CHECK(f.take_frames() == frames);
}

TEST_CASE("from-guest chain: large buffers of frames that must wait for short ones go back") {
  LongFrames f;
  f.leave_buffers(1);
  const Bytes first = f.put(linux_slots(66, 9014));
  std::vector<Bytes> later{f.put({60}), f.put({61}), f.put(linux_slots(66, 9014))};
  CHECK_FALSE(f.inspect());
  REQUIRE(f.frames.count == 2);
  CHECK(f.large_taken() == 1);
  f.answer();
  CHECK(f.take_frames() == std::vector<Bytes>{first, later[0]});
  CHECK(f.large_taken() == 0);
  CHECK(f.run());
  CHECK(f.take_frames() == std::vector<Bytes>{later[1], later[2]});
}

TEST_CASE("from-guest chain: a long frame whose copy fails gives its large buffers back") {
  LongFrames f;
  const uint16_t size = 5000;
  f.guest.put_slot(1, size, NETTXF_more_data, 0, 77);  // nobody granted it
  f.guest.put_slot(2, 4000, 0, 0);
  f.guest.from_guest.push();
  f.inspect();
  CHECK(f.frames.count == 0);
  CHECK(f.large_taken() == 0);
  f.answer();
  CHECK(f.guest.count(QueueCounter::from_guest_drop_copy_failed_frames) == 1);
}
