// GSO frames between guests and to all: whole for who takes them, cut for the others.
#include "dataplane/forward.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/test_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;
using Frames = std::vector<Bytes>;

struct GsoHost : TestHost {
  explicit GsoHost(bool second_unfiltered = false, uint32_t large_buffers = 64)
      : TestHost({.large_buffers = large_buffers}) {
    for (uint32_t i = 0; i < 3; ++i) {
      TestGuest& guest = add_guest(0, !(second_unfiltered && i == 2));
      guest.settings.gso_tcpv4_offered = guest.settings.gso_tcpv6_offered = true;
      guest.post_buffers(60);
    }
  }
  TestGuest& sender() { return *guests[0]; }
  TestGuest& receiver() { return *guests[1]; }

  Packet packet_to(const rte_ether_addr& to, PacketShape shape) const {
    shape.tcp_flags = all_tcp_flags;
    Packet packet = make_packet(shape);
    std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
    return packet;
  }
  void send(const Packet& packet, uint16_t segment_bytes) {
    put_gso_packet(sender(), packet, segment_bytes);
    sender().from_guest.push();
    turn();
  }
};

}  // namespace

TEST_CASE("forward: GSO to a guest that takes it goes through as it is") {
  for (const bool ipv6 : {false, true}) {
    GsoHost f;
    (ipv6 ? f.receiver().settings.takes_gso_tcpv6 : f.receiver().settings.takes_gso_tcpv4) = true;
    const Packet packet = f.packet_to(f.receiver().settings.mac, {.ipv6 = ipv6, .payload = 30'000});
    f.send(packet, 1400);
    const auto answers = f.receiver().deliveries();
    REQUIRE(answers.size() == 9);
    CHECK((answers[0].flags & NETRXF_extra_info) != 0);
    CHECK(f.receiver().count(Q::to_guest_gso_frames) == 1);
    CHECK(f.receiver().count(Q::to_guest_cut_frames) == 0);
    CHECK(f.receiver().count(Q::to_guest_bytes) == packet.bytes.size());
    CHECK(f.ports[0]->sent_bytes().empty());
  }
}

TEST_CASE("forward: GSO to a guest that does not take it is cut, checksums as it takes them") {
  for (const bool ipv6 : {false, true}) {
    for (const bool takes_blank : {false, true}) {
      GsoHost f;
      // The other version's is no help.
      (ipv6 ? f.receiver().settings.takes_gso_tcpv4 : f.receiver().settings.takes_gso_tcpv6) = true;
      f.receiver().settings.takes_blank_ipv4 = f.receiver().settings.takes_blank_ipv6 = takes_blank;
      f.receiver().settings.takes_chains = false;
      const Packet packet =
          f.packet_to(f.receiver().settings.mac, {.ipv6 = ipv6, .payload = 30'000});
      f.send(packet, 1400);
      Frames expected = segments_of(packet, 1400);
      Frames found = f.delivered(f.receiver());
      if (takes_blank) {
        // What each says for its checksum is the sum of its own pseudo-header.
        REQUIRE(found.size() == expected.size());
        for (size_t i = 0; i < found.size(); ++i) {
          Packet part = packet;
          part.bytes = expected[i];
          part.end = part.bytes.size();
          CHECK(found[i] == with_pseudo_header_sum(part));
        }
      } else {
        CHECK(found == expected);
      }
      CHECK(f.receiver().count(Q::to_guest_cut_frames) == 1);
      CHECK(f.receiver().count(Q::to_guest_gso_frames) == 0);
      CHECK(f.receiver().count(Q::to_guest_frames) == expected.size());
    }
  }
}

TEST_CASE("forward: GSO to an address of the wire goes to the port, in segments") {
  GsoHost f;
  const Packet packet = f.packet_to(elsewhere, {.payload = 30'000});
  f.send(packet, 1400);
  CHECK(f.ports[0]->sent_bytes() == segments_of(packet, 1400));
}

TEST_CASE("forward: GSO to all is cut for the guests, whether they take it or not") {
  GsoHost f;
  f.receiver().settings.takes_gso_tcpv4 = true;
  const Packet packet = f.packet_to(multicast, {.payload = 10'000});
  f.send(packet, 1400);
  const Frames expected = segments_of(packet, 1400);
  CHECK(f.delivered(*f.guests[1]) == expected);
  CHECK(f.delivered(*f.guests[2]) == expected);
  CHECK(f.delivered(f.sender()).empty());
  CHECK(f.ports[0]->sent_bytes() == expected);
  CHECK(f.guests[1]->count(Q::to_guest_cut_frames) == 1);
  CHECK(f.sender().count(Q::to_guest_cut_frames) == 0);
}

TEST_CASE("forward: a vif that sees everything sees segments, and the owner the frame itself") {
  GsoHost f(true);
  f.receiver().settings.takes_gso_tcpv4 = true;
  const Packet packet = f.packet_to(f.receiver().settings.mac, {.payload = 10'000});
  f.send(packet, 1400);
  CHECK(f.delivered(*f.guests[2]) == segments_of(packet, 1400));
  CHECK(f.receiver().count(Q::to_guest_gso_frames) == 1);
  CHECK(f.receiver().count(Q::to_guest_bytes) == packet.bytes.size());
  const Packet out = f.packet_to(elsewhere, {.payload = 10'000});
  f.send(out, 1400);
  CHECK(f.delivered(*f.guests[2]) == segments_of(out, 1400));
  CHECK(f.ports[0]->sent_bytes() == segments_of(out, 1400));
}

TEST_CASE("forward: an owner that sees everything gets GSO once, whole") {
  GsoHost f(true);
  TestGuest& owner = *f.guests[2];
  owner.settings.takes_gso_tcpv4 = true;
  const Packet packet = f.packet_to(owner.settings.mac, {.payload = 10'000});
  f.send(packet, 1400);
  CHECK(owner.count(Q::to_guest_gso_frames) == 1);
  CHECK(owner.count(Q::to_guest_frames) == 1);
  TestGuest& other = f.add_guest(0, false);
  other.post_buffers(60);
  f.send(packet, 1400);
  CHECK(f.delivered(other) == segments_of(packet, 1400));
  CHECK(other.count(Q::to_guest_cut_frames) == 1);
  CHECK(owner.count(Q::to_guest_frames) == 2);
  CHECK(owner.count(Q::to_guest_cut_frames) == 0);
}

TEST_CASE("forward: segments longer than the receiving vif's frames are dropped by name") {
  for (const bool takes : {false, true}) {
    GsoHost f;
    f.receiver().settings.takes_gso_tcpv4 = takes;
    f.receiver().settings.frame_bytes_max = 1053;
    const Packet packet = f.packet_to(f.receiver().settings.mac, {.payload = 10'000});
    f.send(packet, 1000);
    CHECK(f.receiver().count(Q::to_guest_drop_too_long_frames) == 1);
    f.send(packet, 999);
    CHECK(f.receiver().count(Q::to_guest_drop_too_long_frames) == 1);
    CHECK(f.receiver().count(Q::to_guest_frames) == (takes ? 1 : 11));
  }
}

TEST_CASE("forward: a VLAN tag makes segments four bytes longer, too") {
  for (const bool takes : {false, true}) {
    GsoHost f;
    f.receiver().settings.takes_gso_tcpv4 = takes;
    const Packet packet =
        f.packet_to(f.receiver().settings.mac, {.tagged = true, .payload = 10'000});
    f.send(packet, 1460);
    CHECK(f.receiver().count(Q::to_guest_frames) == 7);
    f.receiver().settings.frame_bytes_max = 1513;
    f.send(packet, 1460);
    CHECK(f.receiver().count(Q::to_guest_drop_too_long_frames) == 1);
    CHECK(f.receiver().count(Q::to_guest_frames) == 7);
  }
}

// Linux's netfront drops what has a tag and a checksum that it is to fill in.
TEST_CASE("forward: GSO with a VLAN tag is cut and complete for every guest") {
  for (const bool ipv6 : {false, true}) {
    GsoHost f;
    VifSettings& settings = f.receiver().settings;
    settings.takes_gso_tcpv4 = settings.takes_gso_tcpv6 = true;
    settings.takes_blank_ipv4 = settings.takes_blank_ipv6 = true;
    const Packet packet =
        f.packet_to(settings.mac, {.ipv6 = ipv6, .tagged = true, .payload = 10'000});
    f.send(packet, 1400);
    CHECK(f.delivered(f.receiver()) == segments_of(packet, 1400));
    CHECK(f.receiver().count(Q::to_guest_gso_frames) == 0);
    CHECK(f.receiver().count(Q::to_guest_cut_frames) == 1);
  }
}

TEST_CASE("forward: without buffers to cut into, a frame is dropped where it was to go") {
  GsoHost f(false, 0);
  const Packet packet = f.packet_to(f.receiver().settings.mac, {.payload = 10'000});
  put_gso_packet(f.sender(), packet, 1000);
  f.sender().from_guest.push();
  f.leave_buffers(10);  // five for the frame itself
  f.turn();
  CHECK(f.receiver().count(Q::to_guest_drop_no_buffer_frames) == 1);
  CHECK(f.delivered(f.receiver()).empty());
  f.give_buffers_back();
  // To all: the guests do not have it, and nor has the port, which needs buffers, too.
  put_gso_packet(f.sender(), f.packet_to(multicast, {.payload = 10'000}), 1000);
  f.sender().from_guest.push();
  f.leave_buffers(10);
  f.turn();
  CHECK(f.guests[1]->count(Q::to_guest_drop_no_buffer_frames) == 2);
  CHECK(f.guests[2]->count(Q::to_guest_drop_no_buffer_frames) == 1);
  CHECK(f.sender().count(Q::from_guest_drop_no_buffer_frames) == 1);
}

TEST_CASE("forward: a backlog is bounded in buffers as well as in frames") {  // design 4.7
  GsoHost f(false, 0);
  f.use_table();
  TestGuest& dead = f.add_guest();  // posts nothing
  dead.settings.takes_gso_tcpv4 = true;
  const Packet packet = f.packet_to(dead.settings.mac, {.payload = 60'000});
  for (int i = 0; i < 40; ++i) f.send(packet, 1400);
  // 1,300 buffers of the pool, 30 of a frame: until a third of them is held.
  const uint32_t held = dead.queue->backlog.buffers();
  CHECK(held == dead.queue->backlog.count() * 30);
  CHECK(held > 1300 / 3 - 30);
  CHECK(held < 1300 / 3 + 60);
  CHECK(dead.count(Q::to_guest_drop_backlog_full_frames) == 40 - held / 30);
  // And it costs the others nothing.
  const Packet other = f.packet_to(f.receiver().settings.mac, {.payload = 30'000});
  f.send(other, 1400);
  CHECK(f.receiver().count(Q::to_guest_cut_frames) == 1);
  CHECK(f.receiver().count(Q::to_guest_frames) == 22);
}

TEST_CASE("forward: a backlog holds no more buffers than if all its frames were short") {
  FakeXen::instance().reset();
  const auto pool = make_pool(2000);  // of so many a third would be more
  TestPort port(*pool);
  TestGuest guest(0);
  guest.settings.takes_gso_tcpv4 = true;
  const auto table =
      std::move(ForwardTable::make({&port.queue},
                                   {{guest.queue.get(), port.queue.port, guest.settings.mac}}))
          .value();
  Packet packet = make_packet({.payload = 65'535 - 54});  // 32 buffers
  std::copy_n(guest.settings.mac.addr_bytes, 6, packet.bytes.begin());
  FrameBatch frames;
  for (int i = 0; i < 20; ++i) {
    frames.push(make_gso_mbuf(*pool, packet, 1400));
    frames.mbufs[i]->port = port.queue.port;
  }
  Backlogged backlogged;
  forward(*table, frames, *pool, backlogged, 1);
  CHECK(guest.queue->backlog.count() == 16);
  CHECK(guest.queue->backlog.buffers() == 512);
  CHECK(guest.count(Q::to_guest_drop_backlog_full_frames) == 4);
  guest.queue->backlog.clear(rte_pktmbuf_free);
  CHECK(guest.queue->backlog.buffers() == 0);
  CHECK(pool->free_buffers() == pool->buffers());
}

TEST_CASE("forward: tiny segments of one guest cost another nothing of a turn") {  // H34
  GsoHost f;
  const Packet packet = f.packet_to(elsewhere, {.payload = 2500});
  for (uint16_t i = 0; i < 30; ++i) put_gso_packet(f.sender(), packet, 10, i);  // 250 each
  f.sender().from_guest.push();
  Frames honest;
  for (uint8_t i = 0; i < 20; ++i) {
    honest.push_back(f.frame(elsewhere, f.receiver(), 100, i));
    f.receiver().put_frame(honest.back(), i);
  }
  f.receiver().from_guest.push();
  f.turn();
  Frames sent = f.ports[0]->sent_bytes();
  CHECK(sent.size() == 500 + honest.size());
  std::erase_if(sent, [](const Bytes& bytes) { return bytes.size() != 100; });
  CHECK(sent == honest);
  for (int i = 0; i < 14; ++i) {
    f.turn();
    CHECK(f.ports[0]->sent_bytes().size() == 500);
  }
  CHECK(f.sender().count(Q::from_guest_gso_frames) == 30);
}

TEST_CASE("forward: a guest without feature-sg gets segments of a page at most") {
  GsoHost f;
  f.receiver().settings.takes_chains = false;
  f.sender().settings.frame_bytes_max = f.receiver().settings.frame_bytes_max = 9014;
  const Packet packet = f.packet_to(f.receiver().settings.mac, {.payload = 10'000});
  f.send(packet, 4096 - 54);
  CHECK(f.receiver().count(Q::to_guest_frames) == 3);
  f.send(packet, 4097 - 54);
  CHECK(f.receiver().count(Q::to_guest_drop_too_long_frames) == 1);
  CHECK(f.receiver().count(Q::to_guest_cut_frames) == 1);
}

TEST_CASE("forward: nothing is cut for a guest in quarantine") {
  GsoHost f;
  f.receiver().queue->quarantined = true;
  f.send(f.packet_to(f.receiver().settings.mac, {.payload = 10'000}), 1000);
  CHECK(f.receiver().count(Q::to_guest_cut_frames) == 0);
  CHECK(f.receiver().count(Q::to_guest_drop_detached_frames) == 1);
}

TEST_CASE("forward: nothing is cut for a guest that has no room") {
  GsoHost f;
  f.receiver().settings.backlog_frames_max = 0;
  f.send(f.packet_to(f.receiver().settings.mac, {.payload = 10'000}), 1000);
  CHECK(f.receiver().count(Q::to_guest_cut_frames) == 0);
  CHECK(f.receiver().count(Q::to_guest_drop_backlog_full_frames) == 1);
}
