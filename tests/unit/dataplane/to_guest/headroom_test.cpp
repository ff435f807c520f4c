// Frames to a guest that wants headroom in its pages (xdp-headroom): where the bytes lie, how many
// slots that takes, and what the extra info says.
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Headroom : ToGuestStages {
  uint32_t positions = 0;  // of responses seen

  explicit Headroom(uint16_t headroom) { guest.queue->xdp_headroom = headroom; }

  // The frame that these responses bring, extra info in slots [1, extras].
  Bytes gather(const std::vector<netif::ToGuestResponse>& answers, uint32_t extras) {
    Bytes bytes;
    for (uint32_t i = 0; i < answers.size(); ++i, ++positions) {
      const uint8_t* page = guest.buffer(positions);
      if (i >= 1 && i <= extras) {
        CHECK(std::all_of(page, page + 4096, [](uint8_t byte) { return byte == 0xee; }));
        continue;
      }
      REQUIRE(answers[i].status > 0);
      const uint16_t offset = answers[i].offset;
      CHECK(offset == guest.queue->xdp_headroom);
      CHECK(std::all_of(page, page + offset, [](uint8_t byte) { return byte == 0xee; }));
      bytes.insert(bytes.end(), page + offset, page + offset + answers[i].status);
    }
    return bytes;
  }
};

netif::ExtraInfo extra_of(const netif::ToGuestResponse& answer) {
  netif::ExtraInfo extra;
  std::memcpy(&extra, &answer, sizeof extra);
  return extra;
}

}  // namespace

TEST_CASE("headroom: a frame lies behind it, and one slot of extra info says so") {
  Headroom s(256);
  s.guest.post_buffers(4, 10);
  s.queue_frame(plain_frame(1514));
  s.queue_frame(plain_frame(60));
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 4);
  CHECK(answers[0].id == 10);
  CHECK(answers[0].flags == NETRXF_extra_info);
  CHECK(answers[0].status == 1514);
  const netif::ExtraInfo extra = extra_of(answers[1]);
  CHECK(extra.type == 5);
  CHECK(extra.flags == 0);
  CHECK(extra.u.pad[0] == 256);
  CHECK(extra.u.pad[1] == 0);
  CHECK(extra.u.pad[2] == 0);
  CHECK(answers[2].id == 12);
  CHECK(answers[2].status == 60);
  CHECK(s.gather({answers[0], answers[1]}, 1) == plain_frame(1514));
  CHECK(s.gather({answers[2], answers[3]}, 1) == plain_frame(60));
  CHECK(s.guest.count(QueueCounter::to_guest_slots) == 4);
  CHECK(s.guest.count(QueueCounter::to_guest_bytes) == 1574);
}

TEST_CASE("headroom: the slots of every size around the ends of pages, no fewer and no more") {
  for (const uint16_t headroom : {0, 1, 256, 2047, 2048}) {
    const uint32_t room = 4096u - headroom;
    for (const uint32_t pages : {1u, 2u, 3u, 17u}) {
      for (const int more : {-1, 0, 1}) {
        const uint32_t bytes = pages * room + static_cast<uint32_t>(more);
        if (bytes > 65'535) continue;
        INFO(headroom << ", " << bytes);
        const uint32_t data_slots = pages + (more == 1 ? 1 : 0);
        const uint32_t extras = headroom > 0 ? 1 : 0;
        Headroom s(headroom);
        const uint32_t needed = data_slots + extras;
        s.guest.post_buffers(needed - 1);
        s.queue_frame(plain_frame(bytes));
        s.run();
        CHECK(s.guest.deliveries().empty());
        s.guest.post_buffers(1, static_cast<uint16_t>(needed - 1));
        s.run();
        const auto answers = s.guest.deliveries();
        REQUIRE(answers.size() == needed);
        for (uint32_t i = 0; i < needed; ++i) {
          if (i >= 1 && i <= extras) continue;
          CHECK(((answers[i].flags & NETRXF_more_data) != 0) ==
                (i + 1 < needed && !(i == 0 && data_slots == 1)));
          CHECK(((answers[i].flags & NETRXF_extra_info) != 0) == (i == 0 && extras > 0));
        }
        CHECK(s.gather(answers, extras) == plain_frame(bytes));
      }
    }
  }
}

TEST_CASE("headroom: extra info of a GSO frame comes first, then that of the headroom") {
  for (const size_t payload : {2'000u, 30'000u}) {
    Headroom s(256);
    s.guest.post_buffers(30);
    const Packet packet = make_packet({.payload = payload});
    rte_mbuf* frame = s.queue_frame(packet.bytes);
    REQUIRE(mark_segmented(frame, true, 1000));
    s.run();
    const auto answers = s.guest.deliveries();
    REQUIRE(answers.size() == (packet.bytes.size() + 3839) / 3840 + 2);
    CHECK(extra_of(answers[1]).type == XEN_NETIF_EXTRA_TYPE_GSO);
    CHECK(extra_of(answers[1]).flags == XEN_NETIF_EXTRA_FLAG_MORE);
    CHECK(extra_of(answers[1]).u.gso.size == 1000);
    CHECK(extra_of(answers[2]).type == 5);
    CHECK(extra_of(answers[2]).flags == 0);
    CHECK(extra_of(answers[2]).u.pad[0] == 256);
    CHECK(s.gather(answers, 2) == with_pseudo_header_sum(packet));
  }
}

TEST_CASE("headroom: a frame that cannot be copied is an ERROR in every slot of it") {
  Headroom s(256);
  s.guest.post_buffers(2, 10, true);
  s.guest.post_buffers(1, 12);
  s.queue_frame(plain_frame(4000));
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 3);
  for (uint16_t i = 0; i < 3; ++i) {
    CHECK(answers[i].id == 10 + i);
    CHECK(answers[i].status == NETIF_RSP_ERROR);
    CHECK(answers[i].offset == 0);
    CHECK(answers[i].flags == 0);
  }
}

TEST_CASE("headroom: what changes between turns changes no turn's frames in part") {
  Headroom s(0);
  s.guest.post_buffers(3, 10);
  s.queue_frame(plain_frame(60));
  s.copy();
  s.guest.queue->xdp_headroom = 256;
  to_guest::respond(s.batch, s.backlogged, *s.events, 1);
  auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].offset == 10 * 64);  // its line (spread)
  CHECK(answers[0].flags == 0);
  s.queue_frame(plain_frame(60));
  s.run();
  answers = s.guest.deliveries();
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].offset == 256);
}

TEST_CASE("headroom: a guest without feature-sg gets what fits a page behind it, nothing longer") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  guest.settings.takes_chains = false;
  guest.settings.frame_bytes_max = 9014;
  guest.queue->xdp_headroom = 256;
  guest.post_buffers(4);
  for (const size_t bytes : {3840u, 3841u})
    host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, bytes));
  host.turn();
  CHECK(guest.count(QueueCounter::to_guest_bytes) == 3840);
  CHECK(guest.count(QueueCounter::to_guest_drop_too_long_frames) == 1);
}

TEST_CASE("headroom: a worker that sleeps is woken for the slot of extra info, too") {
  Headroom s(256);
  Mailbox mailbox;
  QueueSet queues;
  queues.add(*s.guest.queue);
  s.queue_frame(plain_frame(3841));
  Idle idle(0, mailbox, *s.events);
  idle.after_turn(false, 1, 1000, queues, {}, s.counters);
  CHECK(s.guest.to_guest.req_event() == 3);
}
