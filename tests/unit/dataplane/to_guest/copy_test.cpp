// Backlogs and posted slots: what is matched, what waits. protocol 1.12: 28 to 37.
#include "dataplane/to_guest/copy.hpp"

#include <rte_cycles.h>

#include "dataplane/offload.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint32_t first_buffer = TestGuest::first_buffer_reference;

}  // namespace

TEST_CASE("copy: an empty backlog plans nothing") {  // FBT 28, 35
  ToGuestStages s;
  s.guest.post_buffers(4);
  s.copy();
  CHECK(s.batch.delivery_count == 0);
  CHECK(xen().copy_calls == 0);
  CHECK(s.guest.queue->to_guest.next_slot() == 0);
}

TEST_CASE("copy: a short frame is one slot and one copy") {  // FBT 29, 36
  ToGuestStages s;
  s.guest.post_buffers(4);
  s.queue_frame(plain_frame(128));
  s.copy();
  REQUIRE(s.batch.delivery_count == 1);
  CHECK(s.batch.deliveries[0].slot_count == 1);
  REQUIRE(s.batch.copies.count() == 1);
  const auto& segment = s.batch.copies.segments()[0];
  CHECK(segment.flags == GNTCOPY_dest_gref);
  CHECK(segment.dest.foreign.ref == TestGuest::first_buffer_reference);
  CHECK(segment.dest.foreign.domid == 7);
  CHECK(segment.dest.foreign.offset == 0);
  CHECK(segment.len == 128);
  CHECK(std::memcmp(s.guest.buffer(0), plain_frame(128).data(), 128) == 0);
  to_guest::respond(s.batch, s.backlogged, *s.events, 1);
}

TEST_CASE("copy: two buffers of ours still make one slot") {  // FBT 30, 31
  ToGuestStages s;
  s.guest.post_buffers(4);
  s.queue_frame(plain_frame(1000), 501);
  s.run();
  CHECK(s.batch.copies.count() == 2);
  CHECK(s.guest.deliveries().size() == 1);
  CHECK(std::memcmp(s.guest.buffer(0), plain_frame(1000).data(), 1000) == 0);
}

TEST_CASE("copy: a long frame fills page after page") {  // FBT 32, 37
  ToGuestStages s;
  s.guest.post_buffers(8);
  const Bytes frame = plain_frame(9555);
  s.queue_frame(frame, 2000);
  s.run();
  const auto segments = s.batch.copies.segments();
  uint32_t total = 0;
  for (const auto& segment : segments) {
    CHECK(segment.dest.foreign.offset + segment.len <= 4096);
    const auto local = reinterpret_cast<uintptr_t>(segment.source.virt);
    CHECK(local / 4096 == (local + segment.len - 1) / 4096);
    total += segment.len;
  }
  CHECK(total == 9555);
  CHECK(s.guest.deliveries().size() == 3);
  for (uint32_t i = 0; i < 3; ++i)
    CHECK(std::memcmp(s.guest.buffer(i), frame.data() + i * 4096, i < 2 ? 4096 : 1363) == 0);
}

TEST_CASE("copy: a frame that wants more slots than are posted waits, and those behind it") {
  ToGuestStages s;  // FBT 34 `nospace`, H26, XSA-392
  s.guest.post_buffers(2);
  s.queue_frame(plain_frame(8193));
  s.queue_frame(plain_frame(60));
  s.run();
  CHECK(s.batch.delivery_count == 0);
  CHECK(s.guest.queue->backlog.count() == 2);
  CHECK(s.guest.queue->to_guest.next_slot() == 0);
  CHECK(s.guest.to_guest.rsp_prod() == 0);
  s.guest.post_buffers(1);
  s.run();
  CHECK(s.guest.deliveries().size() == 3);
  CHECK(s.guest.queue->backlog.count() == 1);
  s.guest.post_buffers(1);
  s.run();
  CHECK(s.guest.queue->backlog.count() == 0);
  CHECK(s.backlogged.empty());
}

TEST_CASE("copy: a page exactly is one slot, a byte more two") {
  for (const uint16_t bytes : {uint16_t{4096}, uint16_t{4097}}) {
    ToGuestStages s;
    s.guest.post_buffers(4);
    s.queue_frame(plain_frame(bytes));
    s.run();
    CHECK(s.guest.deliveries().size() == (bytes == 4096 ? 1 : 2));
  }
}

TEST_CASE("copy: at most 128 slots of a queue and 256 of all in a turn") {
  ToGuestStages s;
  TestGuest& second = s.add_guest();
  TestGuest& third = s.add_guest();
  for (TestGuest* guest : {&s.guest, &second, &third}) {
    guest->post_buffers(200);
    for (int i = 0; i < 150; ++i) s.queue_frame(plain_frame(60), *guest);
  }
  s.run();
  CHECK(s.batch.delivery_count == 256);
  CHECK(s.guest.deliveries().size() == 128);
  CHECK(second.deliveries().size() == 128);
  CHECK(third.deliveries().empty());
  s.run();  // starts with another queue
  CHECK(second.deliveries().size() == 22);
  CHECK(third.deliveries().size() == 128);
  CHECK(s.guest.deliveries().size() == 22);
}

TEST_CASE("copy: no queue is always last when there is more than a turn's work") {
  ToGuestStages s;
  TestGuest* const guests[] = {&s.guest, &s.add_guest(), &s.add_guest()};
  for (int turn = 0; turn < 3; ++turn) {
    for (TestGuest* guest : guests) {
      while (guest->queue->backlog.count() < 200) s.queue_frame(plain_frame(60), *guest);
      guest->post_buffers(std::min(guest->to_guest.free_slots(), 128u));
    }
    s.run();
    for (TestGuest* guest : guests) guest->deliveries();
  }
  for (TestGuest* guest : guests) CHECK(guest->count(QueueCounter::to_guest_frames) >= 128);
}

TEST_CASE("copy: a frame that does not fit the plan any more waits") {
  ToGuestStages s;
  s.guest.post_buffers(200);
  for (int i = 0; i < 55; ++i) s.queue_frame(plain_frame(200), 10);  // 20 pieces each
  s.run();
  CHECK(s.batch.copies.count() <= ToGuestBatch::copies_max);
  CHECK(s.batch.delivery_count > 40);
  CHECK(s.batch.delivery_count < 55);
  s.run();
  CHECK(s.guest.count(QueueCounter::to_guest_frames) == 55);
}

TEST_CASE("copy: one call for all queues, counted at those it carried") {
  ToGuestStages s;
  TestGuest& second = s.add_guest();
  TestGuest& third = s.add_guest();
  for (TestGuest* guest : {&s.guest, &second}) {
    guest->post_buffers(2);
    s.queue_frame(plain_frame(60), *guest);
    s.queue_frame(plain_frame(60), *guest);
  }
  s.queue_frame(plain_frame(60), third);
  s.run();
  CHECK(xen().operations_per_call == std::vector<uint32_t>{4});
  for (TestGuest* guest : {&s.guest, &second}) {
    CHECK(guest->count(QueueCounter::to_guest_copy_calls) == 1);
    CHECK(guest->count(QueueCounter::to_guest_copy_slots) == 4);
  }
  CHECK(third.count(QueueCounter::to_guest_copy_calls) == 0);
  CHECK(s.count(WorkerCounter::worker_to_guest_copy_calls) == 1);
  CHECK(s.count(WorkerCounter::worker_to_guest_copy_slots) == 4);
}

TEST_CASE("copy: an impossible producer is a violation and no slot is taken") {  // H01
  ToGuestStages s;
  TestGuest& second = s.add_guest();
  s.guest.to_guest.req_prod() = 257;
  second.post_buffers(1);
  s.queue_frame(plain_frame(60));
  s.queue_frame(plain_frame(60), second);
  s.run();
  REQUIRE(s.batch.violator_count == 1);
  CHECK(s.batch.violators[0].queue == s.guest.queue.get());
  CHECK(s.batch.violators[0].slot == 0);
  CHECK(second.deliveries().size() == 1);
  CHECK(s.guest.queue->to_guest.next_slot() == 0);
}

TEST_CASE("copy: a blank checksum is filled in for a guest that does not take it") {
  for (const bool ipv6 : {false, true}) {
    for (const bool takes : {false, true}) {
      ToGuestStages s;
      s.guest.settings.takes_blank_ipv4 = ipv6 || takes;
      s.guest.settings.takes_blank_ipv6 = !ipv6 || takes;
      s.guest.post_buffers(1);
      const Packet packet = make_packet({.ipv6 = ipv6});
      rte_mbuf* frame = s.queue_frame(packet.bytes);
      REQUIRE(parse_headers(frame));
      set_checksum_state(frame, RTE_MBUF_F_RX_L4_CKSUM_NONE);
      s.run();
      const Bytes expected = takes ? packet.bytes : completed(packet);
      CHECK(std::memcmp(s.guest.buffer(0), expected.data(), expected.size()) == 0);
      const auto answers = s.guest.deliveries();
      REQUIRE(answers.size() == 1);
      CHECK(answers[0].flags ==
            (takes ? NETRXF_csum_blank | NETRXF_data_validated : NETRXF_data_validated));
    }
  }
}

// Linux's netfront drops what has a tag and a checksum that it is to fill in.
TEST_CASE("copy: a blank checksum behind a VLAN tag is filled in for every guest") {
  for (const bool ipv6 : {false, true}) {
    ToGuestStages s;
    s.guest.settings.takes_blank_ipv4 = s.guest.settings.takes_blank_ipv6 = true;
    s.guest.post_buffers(1);
    const Packet packet = make_packet({.ipv6 = ipv6, .tagged = true});
    rte_mbuf* frame = s.queue_frame(packet.bytes);
    REQUIRE(parse_headers(frame));
    set_checksum_state(frame, RTE_MBUF_F_RX_L4_CKSUM_NONE);
    s.run();
    const Bytes expected = completed(packet);
    CHECK(std::memcmp(s.guest.buffer(0), expected.data(), expected.size()) == 0);
    const auto answers = s.guest.deliveries();
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].flags == NETRXF_data_validated);
  }
}

TEST_CASE("copy: a backlog that does not shrink for stall_ms is dropped, its vif stalled") {
  ToGuestStages s;
  const uint64_t ms = rte_get_tsc_hz() / 1000;
  s.guest.settings.stall_ms = 5;
  s.guest.queue->backlog_since = 100;
  for (int i = 0; i < 3; ++i) s.queue_frame(plain_frame(60));
  to_guest::drop_stalled(s.backlogged, 100 + 5 * ms - 1);
  CHECK(s.guest.queue->backlog.count() == 3);
  CHECK_FALSE(s.guest.queue->stalled);
  to_guest::drop_stalled(s.backlogged, 100 + 5 * ms);
  CHECK(s.guest.queue->backlog.count() == 0);
  CHECK(s.guest.queue->stalled);
  CHECK(s.guest.count(QueueCounter::to_guest_drop_stalled_frames) == 3);
  s.run();
  CHECK(s.backlogged.empty());
  CHECK(s.guest.queue->stalled);  // until a frame gets through
  s.queue_frame(plain_frame(60));
  s.guest.post_buffers(1);
  s.run(500);
  CHECK_FALSE(s.guest.queue->stalled);
  CHECK(s.guest.queue->backlog_since == 500);
}

TEST_CASE("copy: an empty backlog never stalls") {
  ToGuestStages s;
  s.guest.settings.stall_ms = 0;
  s.backlogged.add(*s.guest.queue);
  to_guest::drop_stalled(s.backlogged, UINT64_MAX);
  CHECK_FALSE(s.guest.queue->stalled);
}

TEST_CASE("copy: a frame for mapped buffers arrives whole without a call") {
  ToGuestStages s;
  const Bytes frame = plain_frame(5000);
  s.guest.post_buffers(2);
  for (uint32_t i = 0; i < 2; ++i) s.guest.stage(first_buffer + i);
  s.queue_frame(frame, 2000);
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].status == 4096);
  CHECK(answers[1].status == 904);
  CHECK(std::memcmp(s.guest.buffer(0), frame.data(), 4096) == 0);
  CHECK(std::memcmp(s.guest.buffer(1), frame.data() + 4096, 904) == 0);
  CHECK(s.guest.buffer(1)[904] == 0xee);  // H37
  CHECK(xen().copy_calls == 0);
  CHECK(s.guest.count(QueueCounter::to_guest_staged_copies) == 4);  // cut at 2000, 4000 and 4096
  CHECK(s.guest.count(QueueCounter::to_guest_frames) == 1);
  CHECK(s.guest.count(QueueCounter::to_guest_copy_calls) == 0);
  CHECK(s.guest.count(QueueCounter::to_guest_copy_slots) == 0);
  CHECK(s.count(WorkerCounter::worker_to_guest_copy_calls) == 0);
  CHECK(s.count(WorkerCounter::worker_to_guest_copy_slots) == 0);
}

TEST_CASE("copy: one frame for a mapped buffer and another arrives whole") {
  for (const uint32_t staged : {0u, 1u}) {
    ToGuestStages s;
    const Bytes frame = plain_frame(4096 + 60);
    s.guest.post_buffers(2);
    s.guest.stage(first_buffer + staged);
    s.queue_frame(frame);
    s.run();
    CHECK(s.guest.deliveries().size() == 2);
    CHECK(std::memcmp(s.guest.buffer(0), frame.data(), 4096) == 0);
    CHECK(std::memcmp(s.guest.buffer(1), frame.data() + 4096, 60) == 0);
    CHECK(xen().copy_calls == 1);
    CHECK(s.guest.count(QueueCounter::to_guest_staged_copies) > 0);
    CHECK(s.guest.count(QueueCounter::to_guest_copy_calls) == 1);
    CHECK(s.guest.count(QueueCounter::to_guest_copy_slots) == 2);  // counted frame by frame
  }
}

TEST_CASE("copy: calls are counted at the queues that they carried slots of") {
  for (const bool staged_first : {true, false}) {
    ToGuestStages s;
    TestGuest& other = s.add_guest();
    TestGuest& staged = staged_first ? s.guest : other;
    TestGuest& copied = staged_first ? other : s.guest;
    for (TestGuest* guest : {&s.guest, &other}) {
      guest->post_buffers(4);
      s.queue_frame(plain_frame(60, uint8_t(guest->domain)), *guest);
      s.queue_frame(plain_frame(4097, uint8_t(guest->domain)), *guest);
      s.queue_frame(plain_frame(61, uint8_t(guest->domain)), *guest);
    }
    for (uint32_t i = 0; i < 4; ++i) staged.stage(first_buffer + i);
    copied.stage(first_buffer);  // its first frame
    s.run();
    for (TestGuest* guest : {&s.guest, &other}) {
      const auto domain = static_cast<uint8_t>(guest->domain);
      const auto answers = guest->deliveries();
      REQUIRE(answers.size() == 4);
      CHECK(guest->bytes_in(0, answers[0]) == plain_frame(60, domain));
      CHECK(std::memcmp(guest->buffer(1), plain_frame(4097, domain).data(), 4096) == 0);
      CHECK(guest->bytes_in(3, answers[3]) == plain_frame(61, domain));
    }
    CHECK(xen().copy_calls == 1);
    CHECK(staged.count(QueueCounter::to_guest_staged_copies) > 3);
    CHECK(staged.count(QueueCounter::to_guest_copy_calls) == 0);
    CHECK(staged.count(QueueCounter::to_guest_copy_slots) == 0);
    CHECK(copied.count(QueueCounter::to_guest_staged_copies) == 1);
    CHECK(copied.count(QueueCounter::to_guest_copy_calls) == 1);
    CHECK(copied.count(QueueCounter::to_guest_copy_slots) == 3);
    CHECK(s.count(WorkerCounter::worker_to_guest_copy_calls) == 1);
    CHECK(s.count(WorkerCounter::worker_to_guest_copy_slots) == 3);
  }
}

TEST_CASE("copy: as many frames as a turn has room for all go to mapped buffers") {
  ToGuestStages s;
  s.guest.post_buffers(limits::vif_to_guest_slots_max);
  for (uint32_t i = 0; i < limits::vif_to_guest_slots_max; ++i) {
    s.guest.stage(first_buffer + i);
    s.queue_frame(plain_frame(60, uint8_t(i)));
  }
  s.run();
  CHECK(xen().copy_calls == 0);
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == limits::vif_to_guest_slots_max);
  for (uint32_t i = 0; i < limits::vif_to_guest_slots_max; ++i)
    CHECK(s.guest.bytes_in(i, answers[i]) == plain_frame(60, uint8_t(i)));
}
