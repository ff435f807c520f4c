// What a frame's bytes say, once they are here: length, source, checksum.
#include "dataplane/from_guest/inspect.hpp"

#include "dataplane/offload.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

Bytes tagged_frame(size_t bytes) {
  Bytes frame = plain_frame(bytes);
  frame[12] = 0x81, frame[13] = 0x00;
  return frame;
}

// The flags of a frame from the guest as forwarding sees them; 1 when it is dropped.
uint64_t checksum_state_of(const Bytes& bytes, uint16_t flags) {
  OneGuest g;
  g.guest.put_frame(bytes, 1, flags);
  g.guest.from_guest.push();
  g.run();
  return g.frames.count == 0 ? 1 : checksum_state(g.frames.mbufs[0]);
}

}  // namespace

TEST_CASE("inspect: frames know the vif they came from") {
  FromGuestStages stages;
  TestGuest a(0, 7), b(300, 8);
  for (TestGuest* guest : {&a, &b}) {
    stages.queues.add(*guest->queue);
    guest->put_frame(plain_frame(60), 1);
    guest->from_guest.push();
  }
  stages.run();
  REQUIRE(stages.frames.count == 2);
  for (uint32_t i = 0; i < 2; ++i) CHECK(from_vif(stages.frames.mbufs[i]));
  CHECK(source_vif(stages.frames.mbufs[0]) == 0);
  CHECK(source_vif(stages.frames.mbufs[1]) == 300);
}

TEST_CASE("inspect: counts the frames and bytes that go on") {
  OneGuest g;
  g.guest.put_frame(plain_frame(60), 1);
  g.guest.put_slot(2, 5);
  g.guest.put_frame(plain_frame(100), 3);
  g.guest.put_frame(plain_frame(1515), 4);
  g.send();
  CHECK(g.guest.count(QueueCounter::from_guest_frames) == 2);
  CHECK(g.guest.count(QueueCounter::from_guest_bytes) == 160);
  CHECK(g.guest.count(QueueCounter::from_guest_drop_too_long_frames) == 1);
  CHECK(g.guest.count(QueueCounter::from_guest_drop_bad_size_frames) == 1);
}

TEST_CASE("inspect: mtu + 14 passes, one byte more only with a tag") {
  const struct {
    Bytes frame;
    int status;
  } cases[] = {{plain_frame(1514), NETIF_RSP_OKAY},
               {plain_frame(1515), NETIF_RSP_ERROR},
               {tagged_frame(1515), NETIF_RSP_OKAY},
               {tagged_frame(1518), NETIF_RSP_OKAY},
               {tagged_frame(1519), NETIF_RSP_ERROR}};
  for (const auto& c : cases) {
    OneGuest g;
    g.guest.put_frame(c.frame, 1);
    g.send();
    CHECK(g.statuses() == std::vector<int>{c.status});
    CHECK(g.guest.count(QueueCounter::from_guest_drop_too_long_frames) ==
          (c.status == NETIF_RSP_ERROR ? 1 : 0));
  }
}

TEST_CASE("inspect: another source address is dropped when the address is locked") {  // H36
  for (const bool locked : {false, true}) {
    OneGuest g;
    g.guest.settings.lock_mac = locked;
    const Bytes own = make_frame({{2, 0, 0, 0, 1, 1}}, g.guest.settings.mac, 60);
    g.guest.put_frame(plain_frame(60), 1);
    g.guest.put_frame(own, 2);
    g.send();
    CHECK(g.statuses() == std::vector<int>{locked ? NETIF_RSP_ERROR : NETIF_RSP_OKAY, 0});
    CHECK(g.guest.count(QueueCounter::from_guest_drop_source_address_frames) == (locked ? 1 : 0));
    CHECK(g.take_frames().back() == own);
  }
}

TEST_CASE("inspect: checksum flags become DPDK's words") {  // FBT 17
  const Bytes packet = make_packet({}).bytes;
  CHECK(checksum_state_of(packet, 0) == RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
  CHECK(checksum_state_of(packet, NETTXF_data_validated) == RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  CHECK(checksum_state_of(packet, NETTXF_csum_blank) == RTE_MBUF_F_RX_L4_CKSUM_NONE);
  CHECK(checksum_state_of(packet, NETTXF_csum_blank | NETTXF_data_validated) ==
        RTE_MBUF_F_RX_L4_CKSUM_NONE);
}

TEST_CASE("inspect: what is not marked blank is not looked into") {  // FBT 44, 45, 47
  Bytes arp = plain_frame(42);
  arp[12] = 0x08, arp[13] = 0x06;
  Packet icmp = make_packet({});
  icmp.bytes[icmp.l3 + 9] = 1;
  const Packet bad_sum = make_packet({.checksum_field = 0x1234});
  for (const Bytes& bytes : {arp, icmp.bytes, bad_sum.bytes}) {
    OneGuest g;
    g.guest.put_frame(bytes, 1);
    g.send();
    CHECK(g.statuses() == std::vector<int>{NETIF_RSP_OKAY});
    CHECK(g.take_frames() == std::vector<Bytes>{bytes});
  }
}

TEST_CASE("inspect: a blank checksum without headers for it is dropped") {  // row 16
  Bytes arp = plain_frame(42);
  arp[12] = 0x08, arp[13] = 0x06;
  Packet icmp = make_packet({});
  icmp.bytes[icmp.l3 + 9] = 1;
  for (const Bytes& bytes : {arp, icmp.bytes, plain_frame(14)}) {
    OneGuest g;
    g.guest.put_frame(bytes, 1, NETTXF_csum_blank);
    g.send();
    CHECK(g.statuses() == std::vector<int>{NETIF_RSP_ERROR});
    CHECK(g.guest.count(QueueCounter::from_guest_drop_bad_headers_frames) == 1);
    CHECK(g.take_frames().empty());
  }
}

TEST_CASE("inspect: where the headers of a blank frame end is noted") {
  OneGuest g;
  const Packet packet = make_packet({.ipv6 = true, .tagged = true});
  g.guest.put_frame(packet.bytes, 1, NETTXF_csum_blank);
  g.guest.from_guest.push();
  g.run();
  REQUIRE(g.frames.count == 1);
  CHECK(g.frames.mbufs[0]->l2_len == 18);
  CHECK(g.frames.mbufs[0]->l3_len == 40);
  CHECK(g.frames.mbufs[0]->l4_len == 20);
}
