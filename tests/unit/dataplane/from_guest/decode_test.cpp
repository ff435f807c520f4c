// Slots to frames: the rules of netif.h as Linux applies them. protocol 1.12 cases 1 to 7.
#include "dataplane/from_guest/decode.hpp"

#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

TEST_CASE("decode: an empty ring has no frames") {  // FBT 1
  OneGuest g;
  g.decode_pushed();
  CHECK(g.batch.run_count == 0);
  CHECK(g.batch.frame_count == 0);
}

TEST_CASE("decode: one request is one frame") {  // FBT 2
  OneGuest g;
  g.guest.put_slot(3, 69);
  g.decode_pushed();
  REQUIRE(g.batch.frame_count == 1);
  const GuestFrame& frame = g.batch.frames[0];
  CHECK(frame.good());
  CHECK(frame.bytes == 69);
  CHECK(frame.slot_count == 1);
  CHECK(frame.extra_count == 0);
  CHECK(frame.first_slot == 0);
  CHECK(frame.run == 0);
  CHECK(frame.flags == 0);
  CHECK(g.batch.slots[frame.first_slot].request.id == 3);
}

TEST_CASE("decode: two slots are one frame") {  // FBT 3
  OneGuest g;
  g.guest.put_slot(1, 100, NETTXF_more_data);
  g.guest.put_slot(2, 40);
  g.decode_pushed();
  REQUIRE(g.batch.frame_count == 1);
  CHECK(g.batch.frames[0].good());
  CHECK(g.batch.frames[0].bytes == 100);
  CHECK(g.batch.frames[0].slot_count == 2);
}

TEST_CASE("decode: three slots are one frame, the next begins behind them") {  // FBT 4
  OneGuest g;
  g.guest.put_slot(1, 200, NETTXF_more_data);
  g.guest.put_slot(2, 40, NETTXF_more_data);
  g.guest.put_slot(3, 50);
  g.guest.put_slot(4, 60);
  g.decode_pushed();
  REQUIRE(g.batch.frame_count == 2);
  CHECK(g.batch.frames[0].slot_count == 3);
  CHECK(g.batch.frames[0].bytes == 200);
  CHECK(g.batch.frames[1].first_slot == 3);
  CHECK(g.batch.frames[1].bytes == 60);
}

TEST_CASE("decode: extra info lies between the first slot and the rest") {  // FBT 5
  OneGuest g;
  g.guest.settings.gso_tcpv4_offered = true;
  g.guest.put_slot(1, 150, NETTXF_extra_info | NETTXF_more_data);
  g.guest.put_gso(250);
  g.guest.put_slot(2, 50);
  g.decode_pushed();
  REQUIRE(g.batch.frame_count == 1);
  const GuestFrame& frame = g.batch.frames[0];
  CHECK(frame.good());
  CHECK(frame.bytes == 150);
  CHECK(frame.slot_count == 3);
  CHECK(frame.extra_count == 1);
  CHECK(frame.gso_bytes == 250);
  CHECK(frame.gso_type == XEN_NETIF_GSO_TYPE_TCPV4);
}

TEST_CASE("decode: segmentation of either kind only when it was offered") {
  const uint8_t types[] = {XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6};
  for (uint8_t type : types) {
    for (const bool ipv4_offered : {false, true}) {
      OneGuest g;
      g.guest.settings.gso_tcpv4_offered = ipv4_offered;
      g.guest.settings.gso_tcpv6_offered = !ipv4_offered;
      g.guest.put_slot(1, 150, NETTXF_extra_info);
      g.guest.put_gso(100, type);
      g.decode_pushed();
      REQUIRE(g.batch.frame_count == 1);
      const bool offered = (type == XEN_NETIF_GSO_TYPE_TCPV4) == ipv4_offered;
      CHECK(g.batch.frames[0].verdict ==
            (offered ? QueueCounter::from_guest_frames
                     : QueueCounter::from_guest_drop_gso_not_offered_frames));
    }
  }
}

// FBT 6 `partial`. FreeBSD waits for ever for the rest of such a frame; here it depends on whose
// edge it is: the guest's own published end makes it a violation at once (H08, design 10).
TEST_CASE("decode: a frame that goes on beyond what the guest published is a violation") {
  OneGuest g;
  g.guest.put_slot(1, 60);
  g.guest.put_slot(2, 100, NETTXF_more_data);
  g.decode_pushed();
  CHECK(g.batch.frame_count == 1);  // what came before stands
  REQUIRE(g.batch.runs[0].violation);
  CHECK(*g.batch.runs[0].violation == Violation::unfinished_frame);
  CHECK(g.batch.runs[0].violation_slot == 1);
}

TEST_CASE("decode: a frame cut by our own copy consumes nothing and is left") {  // FBT 6
  FromGuestSlot slots[2]{};
  slots[0].request = {.gref = 100, .offset = 0, .flags = NETTXF_more_data, .id = 1, .size = 100};
  slots[1].request = {.gref = 100, .offset = 0, .flags = NETTXF_more_data, .id = 2, .size = 10};
  GuestFrame frame;
  const VifSettings settings;
  CHECK(from_guest::decode_frame({slots, 2}, false, settings, frame).outcome ==
        from_guest::Decoded::Outcome::partial);
  const auto at_end = from_guest::decode_frame({slots, 2}, true, settings, frame);
  CHECK(at_end.outcome == from_guest::Decoded::Outcome::violation);
  CHECK(at_end.violation == Violation::unfinished_frame);
}

TEST_CASE("decode: extra info cut by our own copy is left as well") {
  FromGuestSlot slots[2]{};
  slots[0].request = {.gref = 100, .offset = 0, .flags = NETTXF_extra_info, .id = 1, .size = 100};
  slots[1].extra.type = XEN_NETIF_EXTRA_TYPE_HASH;
  slots[1].extra.flags = XEN_NETIF_EXTRA_FLAG_MORE;
  GuestFrame frame;
  for (const size_t count : {size_t{1}, size_t{2}}) {
    CHECK(from_guest::decode_frame({slots, count}, false, {}, frame).outcome ==
          from_guest::Decoded::Outcome::partial);
    const auto at_end = from_guest::decode_frame({slots, count}, true, {}, frame);
    CHECK(at_end.outcome == from_guest::Decoded::Outcome::violation);
    CHECK(at_end.violation == Violation::missing_extra_info);
  }
}

TEST_CASE("decode: the ring wraps in the middle of a frame") {  // FBT 7
  OneGuest g(UINT32_MAX - 1);
  g.guest.put_slot(1, 200, NETTXF_more_data);
  g.guest.put_slot(2, 40, NETTXF_more_data);
  g.guest.put_slot(3, 50);
  g.decode_pushed();
  REQUIRE(g.batch.frame_count == 1);
  CHECK(g.batch.frames[0].good());
  CHECK(g.batch.frames[0].slot_count == 3);
  CHECK(g.batch.slots[2].request.id == 3);
}

TEST_CASE("decode: keeps the checksum flags and no others") {  // 3.1 row 17
  OneGuest g;
  g.guest.put_slot(1, 60, NETTXF_csum_blank | NETTXF_data_validated | 0xfff0);
  g.guest.put_slot(2, 60, NETTXF_csum_blank);
  g.guest.put_slot(3, 60, NETTXF_data_validated);
  g.decode_pushed();
  REQUIRE(g.batch.frame_count == 3);
  CHECK(g.batch.frames[0].good());
  CHECK(g.batch.frames[0].flags == (NETTXF_csum_blank | NETTXF_data_validated));
  CHECK(g.batch.frames[1].flags == NETTXF_csum_blank);
  CHECK(g.batch.frames[2].flags == NETTXF_data_validated);
}

TEST_CASE("decode: each queue's frames are its own run's") {
  FromGuestStages stages;
  TestGuest a(0, 7), b(1, 8);
  for (TestGuest* guest : {&a, &b}) stages.queues.add(*guest->queue);
  a.put_slot(1, 60);
  a.put_slot(2, 61);
  a.from_guest.push();
  b.put_slot(3, 62);
  b.from_guest.push();
  stages.decode();
  REQUIRE(stages.batch.run_count == 2);
  REQUIRE(stages.batch.frame_count == 3);
  CHECK(stages.batch.runs[0].frame_count == 2);
  CHECK(stages.batch.runs[1].first_frame == 2);
  CHECK(stages.batch.runs[1].frame_count == 1);
  CHECK(stages.batch.frames[2].run == 1);
  CHECK(stages.batch.frames[2].first_slot == 2);
  CHECK(stages.batch.frames[2].bytes == 62);
}

TEST_CASE("decode: a violation names the ring position of the frame that is one") {
  OneGuest g(1000);
  g.guest.put_slot(1, 60, NETTXF_more_data);
  g.guest.put_slot(2, 10);
  g.guest.put_slot(3, 60);
  g.guest.put_slot(4, 4000, 0, 97);
  g.guest.put_slot(5, 60);
  g.decode_pushed();
  CHECK(g.batch.frame_count == 2);
  REQUIRE(g.batch.runs[0].violation);
  CHECK(*g.batch.runs[0].violation == Violation::crosses_page);
  CHECK(g.batch.runs[0].violation_slot == 1003);
}

TEST_CASE("decode: multicast requests are answered and are no frames") {
  OneGuest g;
  g.guest.put_slot(1, 0, NETTXF_extra_info | NETTXF_more_data);  // more_data: ignored, as Linux
  g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD);
  g.guest.put_slot(2, 0, NETTXF_extra_info);
  g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_MCAST_DEL);
  g.guest.put_slot(3, 60);
  g.decode_pushed();
  REQUIRE(g.batch.frame_count == 3);
  CHECK(g.batch.frames[0].asks_for_groups());
  CHECK(g.batch.frames[0].slot_count == 2);
  CHECK(g.batch.frames[1].asks_for_groups());
  CHECK(g.batch.frames[2].good());
}

TEST_CASE("decode: extra info of other types beside a multicast request changes nothing of it") {
  for (const bool first : {false, true}) {
    OneGuest g;
    g.guest.put_slot(1, 0, NETTXF_extra_info | NETTXF_more_data);
    if (first) g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, XEN_NETIF_EXTRA_FLAG_MORE);
    g.guest.put_gso(100, XEN_NETIF_GSO_TYPE_TCPV4, first ? 0 : XEN_NETIF_EXTRA_FLAG_MORE);
    if (!first) g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD);
    g.guest.put_slot(2, 60);
    g.decode_pushed();
    REQUIRE(g.batch.frame_count == 2);
    CHECK(g.batch.frames[0].asks_for_groups());
    CHECK(g.batch.frames[0].slot_count == 3);
    CHECK(g.batch.frames[1].good());
    CHECK(g.batch.buffers_wanted == 1);
  }
}

TEST_CASE("decode: a hash is passed over") {
  OneGuest g;
  g.guest.put_slot(1, 60, NETTXF_extra_info);
  g.guest.put_extra(XEN_NETIF_EXTRA_TYPE_HASH);
  g.decode_pushed();
  REQUIRE(g.batch.frame_count == 1);
  CHECK(g.batch.frames[0].good());
  CHECK(g.batch.frames[0].extra_count == 1);
}
