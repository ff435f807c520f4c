// Where frames go: design 6, through a worker with real ports and rings.
#include "dataplane/forward.hpp"

#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Forwarding : TestHost {
  explicit Forwarding(uint32_t guest_count = 3, uint32_t port_count = 1)
      : TestHost({.ports = port_count}) {
    for (uint32_t i = 0; i < guest_count; ++i) add_guest().post_buffers(20);
  }
  void send(TestGuest& from, const Bytes& bytes, uint16_t flags = 0) {
    from.put_frame(bytes, 1, flags);
    from.from_guest.push();
    turn();
  }
  void arrive(const Bytes& bytes, uint32_t port = 0) {
    ports[port]->feed(bytes);
    turn();
  }
  Packet packet_to(const TestGuest& to, const PacketShape& shape = {}) {
    Packet packet = make_packet(shape);
    std::copy_n(to.settings.mac.addr_bytes, 6, packet.bytes.begin());
    return packet;
  }
};

using Frames = std::vector<Bytes>;

}  // namespace

TEST_CASE("forward: from a guest to another's address: that guest alone") {
  Forwarding f;
  const Bytes frame = f.frame(f.guests[1]->settings.mac, *f.guests[0]);
  f.send(*f.guests[0], frame);
  CHECK(f.delivered(*f.guests[1]) == Frames{frame});
  CHECK(f.delivered(*f.guests[2]).empty());
  CHECK(f.ports[0]->sent_bytes().empty());
}

TEST_CASE("forward: from a guest to an unknown address: the port alone") {
  Forwarding f;
  const Bytes frame = f.frame(elsewhere, *f.guests[0]);
  f.send(*f.guests[0], frame);
  CHECK(f.ports[0]->sent_bytes() == Frames{frame});
  for (auto& guest : f.guests) CHECK(f.delivered(*guest).empty());
}

TEST_CASE("forward: from the port to a guest's address: that guest alone") {
  Forwarding f;
  const Bytes frame = make_frame(f.guests[1]->settings.mac, elsewhere, 77);
  f.arrive(frame);
  CHECK(f.delivered(*f.guests[1]) == Frames{frame});
  CHECK(f.delivered(*f.guests[0]).empty());
  CHECK(f.ports[0]->sent_bytes().empty());
}

TEST_CASE("seed_S06_from_the_port_to_an_address_of_no_vif_is_dropped_and_counted") {
  Forwarding f;
  f.arrive(make_frame(elsewhere, {{2, 3, 3, 3, 3, 3}}, 60));
  for (auto& guest : f.guests) CHECK(f.delivered(*guest).empty());
  CHECK(f.ports[0]->sent_bytes().empty());
  CHECK(f.ports[0]->count(PortCounter::port_drop_no_destination_frames) == 1);
}

TEST_CASE("seed_S09_what_a_guest_sends_to_all_reaches_the_port_and_all_others_never_itself") {
  for (const auto& to : {broadcast, multicast}) {
    Forwarding f;
    const Bytes frame = f.frame(to, *f.guests[0]);
    f.send(*f.guests[0], frame);
    CHECK(f.delivered(*f.guests[0]).empty());
    CHECK(f.delivered(*f.guests[1]) == Frames{frame});
    CHECK(f.delivered(*f.guests[2]) == Frames{frame});
    CHECK(f.ports[0]->sent_bytes() == Frames{frame});
  }
}

TEST_CASE("seed_S06_broadcast_and_multicast_from_the_port_reach_all_vifs_and_not_the_port") {
  for (const auto& to : {broadcast, multicast}) {
    Forwarding f;
    const Bytes frame = make_frame(to, elsewhere, 60);
    f.arrive(frame);
    for (auto& guest : f.guests) CHECK(f.delivered(*guest) == Frames{frame});
    CHECK(f.ports[0]->sent_bytes().empty());
    CHECK(f.ports[0]->count(PortCounter::port_drop_no_destination_frames) == 0);
  }
}

TEST_CASE("seed_S09_a_sender_is_known_by_identity_not_by_the_address_that_it_borrows") {
  Forwarding f;
  const Bytes frame = make_frame(broadcast, f.guests[1]->settings.mac, 60);  // a borrowed address
  f.send(*f.guests[0], frame);
  CHECK(f.delivered(*f.guests[0]).empty());
  CHECK(f.delivered(*f.guests[1]) == Frames{frame});
}

TEST_CASE("forward: a frame to the sender's own address is dropped and counted") {
  Forwarding f;
  f.send(*f.guests[0], f.frame(f.guests[0]->settings.mac, *f.guests[0]));
  CHECK(f.guests[0]->count(QueueCounter::from_guest_drop_to_sender_frames) == 1);
  CHECK(f.delivered(*f.guests[0]).empty());
  CHECK(f.ports[0]->sent_bytes().empty());
}

TEST_CASE("seed_S08_of_two_vifs_with_one_address_the_newest_gets_the_frames") {
  Forwarding f(2);
  TestGuest& newest = f.add_guest_with_mac(f.guests[0]->settings.mac);
  newest.post_buffers(4);
  const Bytes frame = make_frame(f.guests[0]->settings.mac, elsewhere, 60);
  f.arrive(frame);
  CHECK(f.delivered(newest) == Frames{frame});
  CHECK(f.delivered(*f.guests[0]).empty());
  f.send(*f.guests[0], frame);  // the older one may reach the newest
  CHECK(f.delivered(newest) == Frames{frame});
  f.use_table({newest.queue->vif});  // the other takes over when it leaves
  f.arrive(frame);
  CHECK(f.delivered(*f.guests[0]) == Frames{frame});
}

TEST_CASE("forward: an unfiltered vif sees everything of its port, once") {
  Forwarding f(2);
  TestGuest& all = f.add_guest(0, false);
  all.post_buffers(20);
  const Bytes to_one = f.frame(f.guests[1]->settings.mac, *f.guests[0]);
  const Bytes to_port = f.frame(elsewhere, *f.guests[0]);
  const Bytes from_port = make_frame(f.guests[0]->settings.mac, elsewhere, 60);
  const Bytes stray = make_frame(elsewhere, {{2, 3, 3, 3, 3, 3}}, 60);
  const Bytes to_all = f.frame(broadcast, *f.guests[0]);
  const Bytes own = make_frame(all.settings.mac, elsewhere, 60);
  f.send(*f.guests[0], to_one);
  f.send(*f.guests[0], to_port);
  for (const Bytes& bytes : {from_port, stray}) f.arrive(bytes);
  f.send(*f.guests[0], to_all);
  f.arrive(own);
  CHECK(f.delivered(all) == Frames{to_one, to_port, from_port, stray, to_all, own});
  CHECK(f.delivered(*f.guests[1]) == Frames{to_one, to_all});
  CHECK(f.ports[0]->sent_bytes() == Frames{to_port, to_all});
  f.send(all, f.frame(elsewhere, all));
  CHECK(f.delivered(all).empty());
}

TEST_CASE("forward: what only those see that see everything is no drop") {
  for (const uint32_t takers : {1u, 2u}) {
    Forwarding f(1);
    for (uint32_t i = 0; i < takers; ++i) f.add_guest(0, false).post_buffers(20);
    const Bytes stray = make_frame(elsewhere, {{2, 3, 3, 3, 3, 3}}, 60);
    f.arrive(stray);
    for (uint32_t i = 1; i <= takers; ++i) CHECK(f.delivered(*f.guests[i]) == Frames{stray});
    CHECK(f.delivered(*f.guests[0]).empty());
    CHECK(f.ports[0]->count(PortCounter::port_drop_no_destination_frames) == 0);
  }
}

TEST_CASE("forward: frames of one turn to changing addresses and on two ports find their owners") {
  Forwarding f(2, 2);
  TestGuest& apart = f.add_guest_with_mac(f.guests[0]->settings.mac, 1);
  apart.post_buffers(20);
  const Bytes to_0 = make_frame(f.guests[0]->settings.mac, elsewhere, 60);
  const Bytes to_1 = make_frame(f.guests[1]->settings.mac, elsewhere, 60);
  const Bytes stray = make_frame(elsewhere, {{2, 3, 3, 3, 3, 3}}, 60);
  for (const Bytes& bytes : {to_0, to_0, to_1, stray, to_0, to_1}) f.ports[0]->feed(bytes);
  f.ports[1]->feed(to_0);
  f.turn();
  CHECK(f.delivered(*f.guests[0]) == Frames{to_0, to_0, to_0});
  CHECK(f.delivered(*f.guests[1]) == Frames{to_1, to_1});
  CHECK(f.delivered(apart) == Frames{to_0});
}

TEST_CASE("forward: neighbours whose destinations differ in one octet are told apart") {
  for (int octet = 0; octet < 6; ++octet) {
    Forwarding f(1);
    rte_ether_addr mac = f.guests[0]->settings.mac;
    mac.addr_bytes[octet] ^= 4;
    TestGuest& other = f.add_guest_with_mac(mac, 0);
    other.post_buffers(20);
    const Bytes to_first = make_frame(f.guests[0]->settings.mac, elsewhere, 60);
    const Bytes to_other = make_frame(mac, elsewhere, 60);
    for (const Bytes& bytes : {to_first, to_other, to_first}) f.ports[0]->feed(bytes);
    f.turn();
    CHECK(f.delivered(*f.guests[0]) == Frames{to_first, to_first});
    CHECK(f.delivered(other) == Frames{to_other});
  }
}

TEST_CASE("forward: neighbours of one destination and different senders are told apart") {
  Forwarding f(2);
  const Bytes own = f.frame(f.guests[1]->settings.mac, *f.guests[1]);
  const Bytes others = f.frame(f.guests[1]->settings.mac, *f.guests[0]);
  for (TestGuest* sender : {f.guests[0].get(), f.guests[1].get()}) {
    sender->put_frame(sender == f.guests[0].get() ? others : own, 1);
    sender->from_guest.push();
  }
  f.turn();
  CHECK(f.delivered(*f.guests[1]) == Frames{others});
  CHECK(f.guests[1]->count(QueueCounter::from_guest_drop_to_sender_frames) == 1);
}

TEST_CASE("forward: for a quarantined vif: dropped and counted as of one that left") {
  Forwarding f(2);
  f.guests[1]->queue->quarantined = true;
  f.arrive(make_frame(f.guests[1]->settings.mac, elsewhere, 60));
  CHECK(f.guests[1]->count(QueueCounter::to_guest_drop_detached_frames) == 1);
  CHECK(f.guests[1]->queue->backlog.count() == 0);
}

TEST_CASE("forward: a vif on another port is not reached") {
  Forwarding f(1, 2);
  TestGuest& apart = f.add_guest(1);
  apart.post_buffers(4);
  f.send(*f.guests[0], f.frame(apart.settings.mac, *f.guests[0]));
  f.send(*f.guests[0], f.frame(broadcast, *f.guests[0]));
  f.arrive(make_frame(apart.settings.mac, elsewhere, 60), 0);
  CHECK(f.delivered(apart).empty());
  CHECK(f.ports[0]->sent_bytes().size() == 2);
  CHECK(f.ports[1]->sent_bytes().empty());
  const Bytes frame = make_frame(apart.settings.mac, elsewhere, 60);
  f.arrive(frame, 1);
  CHECK(f.delivered(apart) == Frames{frame});
  f.send(apart, f.frame(elsewhere, apart));
  CHECK(f.ports[1]->sent_bytes().size() == 1);
}

TEST_CASE("forward: a frame shared by many ends free, whoever is last") {
  Forwarding f(3);
  const uint32_t before = f.pool->free_buffers();
  Bytes jumbo = make_frame(broadcast, elsewhere, 1500);
  f.ports[0]->feed(jumbo, 400);  // a chain
  f.turn();
  for (auto& guest : f.guests) CHECK(f.delivered(*guest) == Frames{jumbo});
  CHECK(f.pool->free_buffers() == before);
}

TEST_CASE("seed_S04_between_guests_a_blank_checksum_stays_blank_and_validated") {
  Forwarding f;
  for (const bool ipv6 : {false, true}) {
    const Packet packet = f.packet_to(*f.guests[1], {.ipv6 = ipv6});
    f.send(*f.guests[0], packet.bytes, NETTXF_csum_blank | NETTXF_data_validated);
    const auto answer = f.guests[1]->to_guest.get();
    REQUIRE(answer);
    CHECK(answer->flags == (NETRXF_csum_blank | NETRXF_data_validated));
    CHECK(f.guests[1]->bytes_in(ipv6 ? 1 : 0, *answer) == packet.bytes);
  }
}

TEST_CASE("forward: a blank checksum is filled in before a frame is shared") {
  Forwarding f;
  f.add_guest(0, false).post_buffers(5);
  Packet flooded = make_packet({});
  std::copy_n(broadcast.addr_bytes, 6, flooded.bytes.begin());
  f.send(*f.guests[0], flooded.bytes, NETTXF_csum_blank);
  CHECK(f.ports[0]->sent_bytes() == Frames{completed(flooded)});
  for (uint32_t i = 1; i < 4; ++i) CHECK(f.delivered(*f.guests[i]) == Frames{completed(flooded)});
  const Packet shown = f.packet_to(*f.guests[1]);  // seen by the unfiltered one as well
  f.send(*f.guests[0], shown.bytes, NETTXF_csum_blank);
  CHECK(f.delivered(*f.guests[1]) == Frames{completed(shown)});
  CHECK(f.delivered(*f.guests[3]) == Frames{completed(shown)});
}

TEST_CASE("seed_S04_validated_by_the_nic_is_validated_to_the_guest_others_not") {
  Forwarding f(1);
  for (const uint64_t state : {uint64_t{RTE_MBUF_F_RX_L4_CKSUM_GOOD}, uint64_t{0}}) {
    rte_mbuf* frame = make_mbuf(*f.pool, make_frame(f.guests[0]->settings.mac, elsewhere, 60));
    frame->ol_flags = state;
    f.ports[0]->feed(frame);
    f.turn();
    CHECK(f.guests[0]->to_guest.get()->flags == (state ? NETRXF_data_validated : 0));
  }
}

TEST_CASE("forward: longer than the guest agreed to is dropped there alone") {
  Forwarding f(2);
  f.guests[0]->settings.frame_bytes_max = 100;
  Bytes tagged = make_frame(broadcast, elsewhere, 104);
  tagged[12] = 0x81, tagged[13] = 0;
  f.arrive(make_frame(broadcast, elsewhere, 100));
  f.arrive(make_frame(broadcast, elsewhere, 101));
  f.arrive(tagged);
  tagged.push_back(1);
  f.arrive(tagged);
  CHECK(f.delivered(*f.guests[0]).size() == 2);
  CHECK(f.delivered(*f.guests[1]).size() == 4);
  CHECK(f.guests[0]->count(QueueCounter::to_guest_drop_too_long_frames) == 2);
}

TEST_CASE("forward: without scatter-gather a guest takes a page and no more") {
  Forwarding f(1);
  f.guests[0]->settings.frame_bytes_max = 9014;
  for (const bool chains : {true, false}) {
    f.guests[0]->settings.takes_chains = chains;
    for (const size_t bytes : {4096, 4097})
      f.arrive(make_frame(f.guests[0]->settings.mac, elsewhere, bytes));
    CHECK(f.delivered(*f.guests[0]).size() == (chains ? 2 : 1));
  }
  CHECK(f.guests[0]->count(QueueCounter::to_guest_drop_too_long_frames) == 1);
}

TEST_CASE("forward: the backlog is bounded by the vif's setting") {  // seed S5, H26, XSA-392
  TestHost host;
  TestGuest& guest = host.add_guest();
  guest.settings.backlog_frames_max = 3;
  for (int i = 0; i < 5; ++i)
    host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, 60 + i));
  host.turn();
  CHECK(guest.queue->backlog.count() == 3);
  CHECK(guest.count(QueueCounter::to_guest_drop_backlog_full_frames) == 2);
  guest.post_buffers(5);
  host.turn();
  CHECK(host.delivered(guest).size() == 3);
}

TEST_CASE("forward: the backlog is bounded by 512 whatever the setting") {
  TestHost host;
  TestGuest& guest = host.add_guest();
  guest.settings.backlog_frames_max = 10'000;
  rte_mbuf* shared = make_mbuf(*host.pool, make_frame(guest.settings.mac, elsewhere, 60));
  for (int i = 0; i < 600; ++i) {  // one buffer, so that the pool is not what limits
    if (i > 0) rte_pktmbuf_refcnt_update(shared, 1);
    host.ports[0]->feed(shared);
  }
  host.turn(600 / 32 + 1);
  CHECK(guest.queue->backlog.count() == 512);
  CHECK(guest.count(QueueCounter::to_guest_drop_backlog_full_frames) == 88);
}

TEST_CASE("forward: the backlog is bounded by half of what is free") {  // design 4.7
  TestHost host;
  TestGuest& guest = host.add_guest();
  for (int i = 0; i < 20; ++i) host.ports[0]->feed(make_frame(guest.settings.mac, elsewhere, 60));
  host.leave_buffers(10);
  host.turn();
  CHECK(guest.queue->backlog.count() == 5);
  CHECK(guest.count(QueueCounter::to_guest_drop_backlog_full_frames) == 15);
}

TEST_CASE("forward: a frame of a vif or port that has just left goes nowhere") {
  Bench bench;
  TestGuest guest(0);
  TestPort port(*bench.pool);
  const auto table = std::move(ForwardTable::make({}, {})).value();
  FrameBatch frames;
  Backlogged backlogged;
  for (const uint16_t from : {source_of_vif(0), source_of_vif(9), port.queue.port}) {
    rte_mbuf* frame = make_mbuf(*bench.pool, plain_frame(60));
    frame->port = from;
    frames.push(frame);
  }
  forward(*table, frames, *bench.pool, backlogged, 1);
  CHECK(frames.count == 0);
  CHECK(backlogged.empty());
}

TEST_CASE("forward: a queue with a backlog is listed once, since when it waits") {
  Bench bench;
  TestGuest guest(0);
  PortQueue port{.port = 3};
  const ForwardTable::Vif vif{guest.queue.get(), 3, guest.settings.mac};
  const auto table = std::move(ForwardTable::make({&port}, {vif})).value();
  FrameBatch frames;
  Backlogged backlogged;
  for (uint64_t now = 50; now < 53; ++now) {
    frames.push(make_mbuf(*bench.pool, make_frame(guest.settings.mac, elsewhere, 60)));
    frames.mbufs[0]->port = 3;
    forward(*table, frames, *bench.pool, backlogged, now);
  }
  CHECK(backlogged.places() == std::vector<GuestQueue*>{guest.queue.get()});
  CHECK(guest.queue->backlog_since == 50);
  CHECK(guest.queue->backlog.count() == 3);
  for (uint32_t i = 0; i < 3; ++i) rte_pktmbuf_free(guest.queue->backlog.at(i));
}
