// GSO frames to guests: the slot of extra info, and what is in it. protocol 1.11, 1.12: 33, 40;
// H35.
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

rte_mbuf* queue_gso(ToGuestStages& s, const Packet& packet, uint16_t segment_bytes) {
  rte_mbuf* frame = s.queue_frame(packet.bytes);
  REQUIRE(mark_segmented(frame, !packet.ipv6, segment_bytes));
  return frame;
}

}  // namespace

TEST_CASE("to_guest: hostile_h35_a_GSO_frame_has_its_extra_info_and_its_data_is_validated") {
  // FBT 33, 40.
  for (const bool ipv6 : {false, true}) {
    ToGuestStages s;
    s.guest.post_buffers(8, 10);
    const Packet packet = make_packet({.ipv6 = ipv6, .payload = 9000});
    queue_gso(s, packet, 1400);
    s.queue_frame(plain_frame(60));
    s.run();
    const auto answers = s.guest.deliveries();
    REQUIRE(answers.size() == 5);
    CHECK(answers[0].id == 10);
    CHECK(answers[0].flags ==
          (NETRXF_extra_info | NETRXF_more_data | NETRXF_data_validated | NETRXF_csum_blank));
    CHECK(answers[0].status == 4096);
    netif::ExtraInfo extra;
    std::memcpy(&extra, &answers[1], sizeof extra);
    CHECK(extra.type == XEN_NETIF_EXTRA_TYPE_GSO);
    CHECK(extra.flags == 0);
    CHECK(extra.u.gso.size == 1400);
    CHECK(extra.u.gso.type == gso_type(packet));
    CHECK(extra.u.gso.pad == 0);
    CHECK(extra.u.gso.features == 0);
    CHECK(answers[2].id == 12);
    CHECK(answers[2].flags == NETRXF_more_data);
    CHECK(answers[2].status == 4096);
    CHECK(answers[3].id == 13);
    CHECK(answers[3].flags == 0);
    CHECK(answers[3].status == static_cast<int>(packet.bytes.size()) - 8192);
    CHECK(answers[4].id == 14);
    CHECK(answers[4].status == 60);
    Bytes found;
    for (const uint32_t buffer : {0, 2, 3})
      found.insert(found.end(), s.guest.buffer(buffer), s.guest.buffer(buffer) + 4096);
    found.resize(packet.bytes.size());
    CHECK(found == with_pseudo_header_sum(packet));
    CHECK(s.guest.buffer(1)[0] == 0xee);  // nothing is copied to the slot of the extra info
    CHECK(s.guest.count(QueueCounter::to_guest_gso_frames) == 1);
    CHECK(s.guest.count(QueueCounter::to_guest_frames) == 2);
    CHECK(s.guest.count(QueueCounter::to_guest_slots) == 5);
  }
}

TEST_CASE("to_guest: a GSO frame of one page is two slots, the first without more_data") {
  ToGuestStages s;
  s.guest.post_buffers(1, 10);
  queue_gso(s, make_packet({.payload = 2000}), 1000);
  s.run();
  CHECK(s.guest.deliveries().empty());  // it waits for the second
  s.guest.post_buffers(1, 11);
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].flags == (NETRXF_extra_info | NETRXF_data_validated | NETRXF_csum_blank));
  CHECK(answers[0].status == 2054);
}

TEST_CASE("to_guest: the longest GSO frame") {  // H34
  ToGuestStages s;
  s.guest.post_buffers(17);
  const Packet packet = make_packet({.payload = 65'535 - 54});
  queue_gso(s, packet, 1448);
  s.run();
  CHECK(s.guest.deliveries().size() == 17);
  CHECK(std::memcmp(s.guest.buffer(16), &packet.bytes[61'440], 4095) == 0);
}

TEST_CASE("to_guest: the longest that a port hands out is longer by Ethernet's header") {
  ToGuestStages s;
  s.guest.post_buffers(18);
  const Packet packet = make_packet({.tagged = true, .payload = 65'535 - 40});
  queue_gso(s, packet, 1448);
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 18);
  CHECK(answers[17].status == 17);
  CHECK(std::memcmp(s.guest.buffer(17), &packet.bytes[65'536], 17) == 0);
}

TEST_CASE("to_guest: a GSO frame that cannot be copied is an ERROR in every slot of it") {  // H41
  ToGuestStages s;
  s.guest.post_buffers(2, 10);
  s.guest.post_buffers(1, 12, true);
  s.guest.post_buffers(1, 13);
  queue_gso(s, make_packet({.payload = 5000}), 1000);
  s.queue_frame(plain_frame(60));
  s.run();
  const auto answers = s.guest.deliveries();
  REQUIRE(answers.size() == 4);
  for (uint16_t i = 0; i < 3; ++i) {
    CHECK(answers[i].id == 10 + i);
    CHECK(answers[i].status == NETIF_RSP_ERROR);
    CHECK(answers[i].flags == 0);
  }
  CHECK(answers[3].status == 60);
  CHECK(s.guest.count(QueueCounter::to_guest_gso_frames) == 0);
}

TEST_CASE("to_guest: a reference of nothing in the place of extra info costs nothing") {
  ToGuestStages s;
  s.guest.post_buffers(1);
  s.guest.to_guest.put({.id = 1, .pad = 0, .gref = 4'000'000});
  s.guest.to_guest.push();
  queue_gso(s, make_packet({.payload = 2000}), 1000);
  s.run();
  CHECK(s.guest.count(QueueCounter::to_guest_gso_frames) == 1);
}
