// Vifs on VLANs of a port: they see each other and what has their tag, never the tag itself.
#include "dataplane/forward.hpp"
#include "tests/unit/support/forwarding_host.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/vlan.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;
using Frames = std::vector<Bytes>;

// Two guests on VLAN 7, one on 300, one on none.
struct VlanHost : ForwardingHost {
  TestGuest &one, &two, &other, &plain;

  explicit VlanHost(HostOptions options = {})
      : ForwardingHost(options),
        one(add_guest_on_vlan(7)),
        two(add_guest_on_vlan(7)),
        other(add_guest_on_vlan(300)),
        plain(add_guest()) {
    for (auto& guest : guests) guest->post_buffers(40);
  }
  Bytes to_guest(const TestGuest& to, size_t bytes = 100) const {
    return make_frame(to.settings.mac, elsewhere, bytes);
  }
};

}  // namespace

TEST_CASE("vlan: a frame to nobody here leaves with the tag") {
  VlanHost f;
  const Bytes frame = f.frame(elsewhere, f.one);
  f.send(f.one, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {tagged(frame, 7)}});
  f.send(f.other, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {tagged(frame, 300)}});
  f.send(f.plain, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {frame}});
  CHECK(f.one.count(Q::from_guest_bytes) == frame.size());
}

TEST_CASE("vlan: vifs of one VLAN reach each other, untagged; those of others never") {
  VlanHost f;
  const Bytes frame = f.frame(f.two.settings.mac, f.one);
  f.send(f.one, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {frame}, {}, {}, {}});
  f.send(f.other, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {tagged(frame, 300)}});
  f.send(f.plain, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {frame}});
  CHECK(f.two.count(Q::to_guest_bytes) == frame.size());
}

TEST_CASE("vlan: a vif on none is reached with the tag, and reaches VLANs by tagging") {
  VlanHost f;
  const Bytes frame = f.frame(f.plain.settings.mac, f.one);
  f.send(f.one, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {tagged(frame, 7)}, {}});
  const Bytes back = f.frame(f.one.settings.mac, f.plain);
  f.send(f.plain, tagged(back, 7));
  CHECK(f.got() == std::vector<Frames>{{back}, {}, {}, {}, {}});
  f.send(f.plain, tagged(back, 8));
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {tagged(back, 8)}});
}

TEST_CASE(
    "vlan: a broadcast reaches its VLAN without the tag, all else with it, its sender never") {
  VlanHost f;
  const Bytes frame = f.frame(broadcast, f.one);
  f.send(f.one, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {frame}, {}, {tagged(frame, 7)}, {tagged(frame, 7)}});
  const Bytes plain = f.frame(multicast, f.plain);
  f.send(f.plain, plain);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {plain}});
  f.send(f.plain, tagged(plain, 7));
  CHECK(f.got() == std::vector<Frames>{{plain}, {plain}, {}, {}, {tagged(plain, 7)}});
  f.send(f.other, frame);  // alone on its VLAN: no copy is made for nobody
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {tagged(frame, 300)}, {tagged(frame, 300)}});
}

TEST_CASE("vlan: from the port to an address on its VLAN alone, stripped") {
  VlanHost f;
  const Bytes frame = f.to_guest(f.two);
  f.arrive(tagged(frame, 7));
  CHECK(f.got() == std::vector<Frames>{{}, {frame}, {}, {}, {}});
  for (const Bytes& wrong : {frame, tagged(frame, 300), tagged(frame, 0), tagged(frame, 4095)}) {
    f.arrive(wrong);
    CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {}});
  }
  CHECK(f.ports[0]->count(PortCounter::port_drop_no_destination_frames) == 4);
  f.arrive(tagged(f.to_guest(f.plain), 300));
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {tagged(f.to_guest(f.plain), 300)}, {}});
}

TEST_CASE("vlan: broadcasts from the port") {
  VlanHost f;
  const Bytes frame = make_frame(broadcast, elsewhere, 80);
  f.arrive(tagged(frame, 300));
  CHECK(f.got() == std::vector<Frames>{{}, {}, {frame}, {tagged(frame, 300)}, {}});
  f.arrive(frame);
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {frame}, {}});
  f.arrive(tagged(frame, 8));
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {tagged(frame, 8)}, {}});
}

TEST_CASE("vlan: of a frame with two tags the inner one stays") {
  VlanHost f;
  const Bytes frame = tagged(f.to_guest(f.one), 300);
  f.arrive(tagged(frame, 7));
  CHECK(f.got() == std::vector<Frames>{{frame}, {}, {}, {}, {}});
}

TEST_CASE("vlan: a frame that a guest tags itself is dropped by name") {
  for (const int type : {0x8100, 0x88a8}) {
    VlanHost f;
    const Bytes frame = tagged(f.frame(f.two.settings.mac, f.one), 7, type);
    f.send(f.one, frame);
    CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {}});
    CHECK(f.one.count(Q::from_guest_drop_tagged_frames) == 1);
    f.turn();
    REQUIRE(f.one.answers().size() == 1);
    f.send(f.plain, frame);
    CHECK(f.plain.count(Q::from_guest_drop_tagged_frames) == 0);
  }
}

TEST_CASE("vlan: a vif that sees everything sees its VLAN, one on none all of the port") {
  VlanHost f;
  TestGuest& seer = f.add_guest_on_vlan(7, false);
  TestGuest& port_seer = f.add_guest(0, false);
  for (TestGuest* guest : {&seer, &port_seer}) guest->post_buffers(40);
  const Bytes frame = f.frame(f.two.settings.mac, f.one);
  f.send(f.one, frame);
  CHECK(f.got() == std::vector<Frames>{{}, {frame}, {}, {}, {frame}, {tagged(frame, 7)}, {}});
  f.arrive(tagged(make_frame(elsewhere, f.other.settings.mac, 70), 300));
  const auto found = f.got();
  CHECK(found[4].empty());
  CHECK(found[5].size() == 1);
  // From the port to nobody: seen by who sees it, and not counted as lost.
  const Bytes stray = make_frame(elsewhere, {{2, 3, 3, 3, 3, 3}}, 90);
  f.arrive(tagged(stray, 7));
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {stray}, {tagged(stray, 7)}, {}});
  CHECK(f.ports[0]->count(PortCounter::port_drop_no_destination_frames) == 0);
}

TEST_CASE("vlan: what only a vif of the VLAN that sees everything takes is not lost") {
  VlanHost f;
  TestGuest& seer = f.add_guest_on_vlan(7, false);
  seer.post_buffers(4);
  const Bytes stray = make_frame(elsewhere, {{2, 3, 3, 3, 3, 3}}, 90);
  f.arrive(tagged(stray, 7));
  CHECK(f.delivered(seer) == Frames{stray});
  CHECK(f.ports[0]->count(PortCounter::port_drop_no_destination_frames) == 0);
  f.arrive(tagged(stray, 300));
  CHECK(f.ports[0]->count(PortCounter::port_drop_no_destination_frames) == 1);
}

TEST_CASE("vlan: one address on two VLANs is two vifs") {
  TestHost f;
  TestGuest& one = f.add_guest_on_vlan(7);
  TestGuest& two = f.add_guest_with_mac(one.settings.mac, 0, 8);
  for (TestGuest* guest : {&one, &two}) guest->post_buffers(4);
  const Bytes frame = make_frame(one.settings.mac, elsewhere, 60);
  f.ports[0]->feed(tagged(frame, 7));
  f.turn();
  CHECK(f.delivered(one) == Frames{frame});
  CHECK(f.delivered(two).empty());
}

TEST_CASE("vlan: a frame addressed to its sender is dropped as ever") {
  VlanHost f;
  f.send(f.one, f.frame(f.one.settings.mac, f.one));
  CHECK(f.got() == std::vector<Frames>{{}, {}, {}, {}, {}});
  CHECK(f.one.count(Q::from_guest_drop_to_sender_frames) == 1);
}

TEST_CASE("vlan: the longest frame is mtu + 14 on both sides; the tag comes on top") {
  VlanHost f;
  for (auto& guest : f.guests) guest->settings.takes_chains = false;
  const Bytes longest = f.frame(f.two.settings.mac, f.one, 1514);
  f.send(f.one, longest);
  CHECK(f.got()[1] == Frames{longest});
  f.send(f.one, f.frame(elsewhere, f.one, 1514));
  CHECK(f.ports[0]->sent_bytes().at(0).size() == 1518);
  f.send(f.one, f.frame(elsewhere, f.one, 1515));
  CHECK(f.one.count(Q::from_guest_drop_too_long_frames) == 1);
  f.arrive(tagged(f.to_guest(f.two, 1515), 7));
  CHECK(f.two.count(Q::to_guest_drop_too_long_frames) == 1);
}

TEST_CASE("vlan: GSO goes through whole on a VLAN, and is cut with its tag for the port") {
  for (const bool ipv6 : {false, true}) {
    VlanHost f;
    f.one.settings.gso_tcpv4_offered = f.one.settings.gso_tcpv6_offered = true;
    f.two.settings.takes_gso_tcpv4 = f.two.settings.takes_gso_tcpv6 = true;
    Packet packet = make_packet({.ipv6 = ipv6, .payload = 10'000, .tcp_flags = all_tcp_flags});
    const auto send_to = [&](const rte_ether_addr& to) {
      std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
      put_gso_packet(f.one, packet, 1400);
      f.one.from_guest.push();
      f.turn();
    };
    send_to(f.two.settings.mac);
    Bytes whole;  // extra info lies between the first slot and the others
    for (const Bytes& piece : f.delivered(f.two))
      whole.insert(whole.end(), piece.begin(), piece.end());
    CHECK(whole == with_pseudo_header_sum(packet));
    CHECK(f.two.count(Q::to_guest_gso_frames) == 1);
    send_to(elsewhere);
    Frames expected = segments_of(packet, 1400);
    for (Bytes& segment : expected) segment = tagged(segment, 7);
    CHECK(f.ports[0]->sent_bytes() == expected);
  }
}

TEST_CASE("vlan: a blank checksum is completed for the port and for who takes none") {
  VlanHost f;
  f.two.settings.takes_blank_ipv4 = false;
  Packet packet = make_packet({});
  for (const auto& to : {f.two.settings.mac, elsewhere}) {
    std::copy_n(to.addr_bytes, 6, packet.bytes.begin());
    f.one.put_frame(packet.bytes, 1, NETTXF_csum_blank);
    f.one.from_guest.push();
    f.turn();
  }
  CHECK(f.ports[0]->sent_bytes() == Frames{tagged(completed(packet), 7)});
  std::copy_n(f.two.settings.mac.addr_bytes, 6, packet.bytes.begin());
  CHECK(f.delivered(f.two) == Frames{completed(packet)});
}

TEST_CASE("vlan: without buffers for a copy it is dropped by name, and the port gets its own") {
  VlanHost f;
  const Bytes frame = f.frame(broadcast, f.one);
  f.one.put_frame(frame, 1);
  f.one.from_guest.push();
  f.leave_buffers(1);
  f.turn();
  CHECK(f.delivered(f.two).empty());
  CHECK(f.two.count(Q::to_guest_drop_no_buffer_frames) == 1);
  CHECK(f.one.count(Q::to_guest_drop_no_buffer_frames) == 0);
  f.give_buffers_back();
  CHECK(f.ports[0]->sent_bytes() == Frames{tagged(frame, 7)});
}

TEST_CASE("vlan: a frame that others see needs a copy for its owner; without one it is dropped") {
  VlanHost f;
  TestGuest& seer = f.add_guest(0, false);
  seer.post_buffers(8);
  for (TestGuest* guest : {&f.one, &f.two, &seer}) guest->settings.frame_bytes_max = 9014;
  const Bytes frame = f.frame(f.two.settings.mac, f.one, 6000);
  f.one.put_chain(frame, {3000, 3000}, 1);
  f.one.from_guest.push();
  f.leave_buffers(5);  // three for the frame, and room for it in a backlog
  f.turn();
  CHECK(f.delivered(f.two).empty());
  CHECK(f.delivered(seer) == Frames{tagged(frame, 7)});
  CHECK(f.two.count(Q::to_guest_drop_no_buffer_frames) == 1);
  f.give_buffers_back();
}

TEST_CASE("vlan: when the last vif of it is gone, its frames are nobody's") {
  VlanHost f;
  f.detach(f.other);
  f.arrive(tagged(f.to_guest(f.other), 300));
  f.arrive(tagged(f.to_guest(f.one), 7));
  CHECK(f.delivered(f.one).size() == 1);
  CHECK(f.ports[0]->count(PortCounter::port_drop_no_destination_frames) == 1);
}
