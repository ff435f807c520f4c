// UseHashing: by what a guest's frames are hashed; and hashes that guests send with theirs.
#include "dataplane/worker.hpp"

#include "tests/unit/support/hashes.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

void put_hash_info(TestGuest& guest, uint8_t type, uint8_t algorithm, uint8_t flags = 0) {
  netif::ExtraInfo extra{};
  extra.type = XEN_NETIF_EXTRA_TYPE_HASH;
  extra.flags = flags;
  extra.u.hash.type = type;
  extra.u.hash.algorithm = algorithm;
  for (uint8_t i = 0; i < 4; ++i) extra.u.hash.value[i] = static_cast<uint8_t>(0x78 - 0x22 * i);
  guest.from_guest.put(extra);
}

}  // namespace

TEST_CASE("worker: frames are hashed from the ack on, and not any more when there is nothing to") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  guest.post_buffers(10);
  Packet packet = make_packet({});
  std::copy_n(guest.settings.mac.addr_bytes, 6, packet.bytes.begin());
  const Hashing hashing(hash_settings());
  uint64_t hashed = 0;
  for (const Hashing* used : {&hashing, static_cast<const Hashing*>(nullptr), &hashing}) {
    const uint32_t sequence = host.post(UseHashing{guest.queue.get(), used});
    host.turn();
    CHECK(host.acked(sequence));
    CHECK(guest.queue->hashing == used);
    host.ports[0]->feed(packet.bytes);
    host.turn();
    CHECK(guest.deliveries().size() == (used != nullptr ? 2 : 1));
    hashed += used != nullptr;
    CHECK(guest.count(QueueCounter::to_guest_hashed_frames) == hashed);
  }
}

TEST_CASE("idle: a frame that waits for a slot and one for its hash arms the second one") {
  Bench bench;
  TestGuest guest(0);
  QueueSet queues;
  queues.add(*guest.queue);
  Mailbox mailbox;
  const Hashing hashing(hash_settings());
  guest.queue->hashing = &hashing;
  rte_mbuf* frame = make_mbuf(*bench.pool, make_packet({}).bytes);
  guest.queue->backlog.push(frame);
  guest.post_buffers(1);
  Idle idle(0, mailbox, *bench.events);
  idle.after_turn(true, 1000, 1000, queues, {}, bench.counters);
  idle.after_turn(false, 2000, 1000, queues, {}, bench.counters);
  CHECK(guest.to_guest.req_event() == 2);
  guest.queue->backlog.pop(1, 1);
  rte_pktmbuf_free(frame);
}

TEST_CASE("inspect: a guest's hash goes with its frame, one that there is none of does not") {
  for (int type = 0; type < 256; type += type < 8 ? 1 : 31) {
    for (const int algorithm : {0, 1, 2, 255}) {
      OneGuest g;
      g.guest.put_frame(plain_frame(60), 1, NETTXF_extra_info);
      put_hash_info(g.guest, static_cast<uint8_t>(type), static_cast<uint8_t>(algorithm));
      g.guest.put_frame(plain_frame(60), 2);
      g.send();
      const bool good = type <= 3 && algorithm == 1;
      INFO(type << " " << algorithm);
      REQUIRE(g.frames.count == 2);
      CHECK(bool(g.frames.mbufs[0]->ol_flags & RTE_MBUF_F_RX_RSS_HASH) == good);
      if (good) CHECK(g.frames.mbufs[0]->hash.rss == 0x12345678);
      CHECK_FALSE(g.frames.mbufs[1]->ol_flags & RTE_MBUF_F_RX_RSS_HASH);
      CHECK(g.guest.count(QueueCounter::from_guest_hashed_frames) == good);
      CHECK(g.statuses() == std::vector<int>{NETIF_RSP_OKAY, NETIF_RSP_NULL, NETIF_RSP_OKAY});
    }
  }
}

TEST_CASE("inspect: a hash among other extra info, and of a frame that is dropped") {
  OneGuest g;
  g.guest.settings.gso_tcpv4_offered = true;
  const Packet packet = make_packet({.payload = 1000});
  g.guest.put_frame(packet.bytes, 1, NETTXF_extra_info | NETTXF_csum_blank);
  g.guest.put_gso(500, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_EXTRA_FLAG_MORE);
  put_hash_info(g.guest, 1, 1);
  g.guest.settings.lock_mac = false;
  g.guest.put_frame(plain_frame(1515), 2, NETTXF_extra_info);  // too long
  put_hash_info(g.guest, 1, 1);
  g.send();
  REQUIRE(g.frames.count == 1);
  CHECK(g.frames.mbufs[0]->ol_flags & RTE_MBUF_F_RX_RSS_HASH);
  CHECK(g.frames.mbufs[0]->ol_flags & RTE_MBUF_F_RX_LRO);
  CHECK(g.guest.count(QueueCounter::from_guest_hashed_frames) == 1);
}
