// GSO frames from guests: what of them is believed, what is set right, what is refused. H07, H15,
// H34.
#include "dataplane/from_guest/inspect.hpp"
#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;

struct GsoGuest : OneGuest {
  GsoGuest() { guest.settings.gso_tcpv4_offered = guest.settings.gso_tcpv6_offered = true; }
  // The frame that came of a packet, or nullptr.
  rte_mbuf* through(const Packet& packet, uint16_t segment_bytes,
                    uint16_t flags = NETTXF_csum_blank) {
    put_gso_packet(guest, packet, segment_bytes, 1, flags);
    send();
    return frames.count == 0 ? nullptr : frames.mbufs[frames.count - 1];
  }
  bool refused(const Packet& packet, uint16_t segment_bytes, Q reason) {
    const bool none = through(packet, segment_bytes) == nullptr;
    return none && guest.count(reason) == 1 && statuses().front() == NETIF_RSP_ERROR;
  }
};

}  // namespace

TEST_CASE("inspect: a GSO frame is one that stands for several") {
  for (const bool ipv6 : {false, true}) {
    for (const bool tagged : {false, true}) {
      GsoGuest g;
      const Packet packet =
          make_packet({.ipv6 = ipv6, .tagged = tagged, .payload = 20'000, .tcp_options = 12});
      rte_mbuf* frame = g.through(packet, 1400);
      REQUIRE(frame != nullptr);
      CHECK(segmented(frame));
      CHECK(checksum_blank(frame));
      CHECK(frame->tso_segsz == 1400);
      CHECK(header_bytes(frame) == packet.payload_at());
      CHECK(frame->l2_len == packet.l3);
      CHECK(segment_count(frame) == 15);
      CHECK(wire_bytes(frame) == packet.payload_at() + 1400);
      CHECK(bytes_of(frame) == with_pseudo_header_sum(packet));
      CHECK(g.guest.count(Q::from_guest_gso_frames) == 1);
      CHECK(g.guest.count(Q::from_guest_gso_checksum_fixups) == 0);
      CHECK(g.statuses() == std::vector<int>{0, NETIF_RSP_NULL, 0, 0, 0, 0});
    }
  }
}

TEST_CASE("inspect: GSO without a blank checksum is fixed up") {  // H07
  for (const uint16_t flags : {uint16_t{0}, uint16_t{NETTXF_data_validated}}) {
    GsoGuest g;
    const Packet packet = make_packet({.payload = 3000});
    rte_mbuf* frame = g.through(packet, 1000, flags);
    REQUIRE(frame != nullptr);
    CHECK(checksum_blank(frame));
    CHECK(bytes_of(frame) == with_pseudo_header_sum(packet));
    CHECK(g.guest.count(Q::from_guest_gso_checksum_fixups) == 1);
  }
}

TEST_CASE("inspect: other frames beside GSO are not counted as such") {
  GsoGuest g;
  g.guest.put_slot(1, 60);
  put_gso_packet(g.guest, make_packet({.payload = 3000}), 1000, 2, 0);
  g.guest.put_slot(3, 60);
  g.send();
  CHECK(g.frames.count == 3);
  CHECK(g.guest.count(Q::from_guest_frames) == 3);
  CHECK(g.guest.count(Q::from_guest_bytes) == 3054 + 120);
  CHECK(g.guest.count(Q::from_guest_gso_frames) == 1);
  CHECK(g.guest.count(Q::from_guest_gso_checksum_fixups) == 1);
}

TEST_CASE("inspect: GSO of a payload that fits one segment is an ordinary frame") {
  for (const uint16_t segment_bytes : {500, 501, 65'535}) {
    GsoGuest g;
    const Packet packet = make_packet({.payload = 500});
    rte_mbuf* frame = g.through(packet, segment_bytes);
    REQUIRE(frame != nullptr);
    CHECK_FALSE(segmented(frame));
    CHECK(checksum_blank(frame));
    CHECK(g.guest.count(Q::from_guest_gso_frames) == 1);  // as the guest has it
  }
  GsoGuest g;
  CHECK(segmented(g.through(make_packet({.payload = 500}), 499)));
}

TEST_CASE("inspect: the length in the IP header of a GSO frame is set right") {
  for (const bool ipv6 : {false, true}) {
    for (const uint16_t lie : {0, 20, 65'535}) {
      GsoGuest g;
      Packet packet = make_packet({.ipv6 = ipv6, .payload = 3000});
      if (ipv6) packet = make_packet({.ipv6 = true, .payload = 3000, .extensions = {8, 16}});
      const Packet honest = packet;
      const size_t at = packet.l3 + (ipv6 ? 4 : 2);
      packet.bytes[at] = static_cast<uint8_t>(lie >> 8);
      packet.bytes[at + 1] = static_cast<uint8_t>(lie);
      rte_mbuf* frame = g.through(packet, 1000);
      REQUIRE(frame != nullptr);
      Bytes wanted = with_pseudo_header_sum(honest), found = bytes_of(frame);
      if (!ipv6) {  // its own checksum, too
        const Bytes header(found.begin() + 14, found.begin() + 34);
        CHECK(sum_of(header) == 0xffff);
        wanted[24] = found[24], wanted[25] = found[25];
      }
      CHECK(found == wanted);
    }
  }
}

TEST_CASE("inspect: GSO of headers that are none is dropped by name") {
  const Packet tcp = make_packet({.payload = 3000});
  const auto spoilt = [&](size_t at, uint8_t value) {
    Packet packet = tcp;
    packet.bytes[at] = value;
    return packet;
  };
  Packet wrong_type = make_packet({.ipv6 = true, .payload = 3000});
  wrong_type.ipv6 = false;  // what its extra info says
  Packet other_wrong_type = tcp;
  other_wrong_type.ipv6 = true;
  Packet nothing_behind = make_packet({.payload = 0});
  Packet cut_short = make_packet({});
  cut_short.bytes.resize(cut_short.l4 + 19);
  const std::pair<const char*, Packet> cases[] = {
      {"UDP", make_packet({.udp = true, .payload = 3000})},
      {"IPv6 announced as IPv4", wrong_type},
      {"IPv4 announced as IPv6", other_wrong_type},
      {"no IP", spoilt(12, 0x99)},
      {"an IPv4 header of 16 bytes", spoilt(tcp.l3, 0x44)},
      {"a fragment", spoilt(tcp.l3 + 6, 0x20)},
      {"a later fragment", spoilt(tcp.l3 + 7, 1)},
      {"a TCP header of 16 bytes", spoilt(tcp.l4 + 12, 0x40)},
      {"a TCP header of none", spoilt(tcp.l4 + 12, 0)},
      {"no payload", nothing_behind},
      {"half a TCP header", cut_short}};
  for (const auto& [name, packet] : cases) {
    INFO(name);
    GsoGuest g;
    CHECK(g.refused(packet, 1000, Q::from_guest_drop_bad_headers_frames));
  }
  // TCP options that reach beyond the frame.
  Packet options = make_packet({.payload = 39});
  options.bytes[options.l4 + 12] = 0xf0;
  GsoGuest g;
  CHECK(g.refused(options, 10, Q::from_guest_drop_bad_headers_frames));
}

TEST_CASE("inspect: hostile_h15_headers_in_slots_of_a_byte_are_whole_in_the_first_buffer") {
  for (const std::vector<size_t>& extensions : {std::vector<size_t>{}, {8}, {8, 16}}) {
    GsoGuest g;
    const Packet packet =
        make_packet({.ipv6 = true, .tagged = true, .payload = 2000, .extensions = extensions});
    std::vector<uint16_t> sizes(18, 1);
    sizes[0] = 14;
    sizes.push_back(static_cast<uint16_t>(packet.bytes.size() - 31));
    g.guest.put_chain(packet.bytes, sizes, 1, NETTXF_csum_blank | NETTXF_extra_info);
    // The extra info belongs behind the first slot.
    auto& ring = g.guest.from_guest;
    const uint32_t end = ring.produced();
    ring.put(netif::FromGuestRequest{});
    for (uint32_t at = end; at > 1; --at) ring.slot(at) = ring.slot(at - 1);
    netif::ExtraInfo extra{};
    extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    extra.u.gso.size = 500;
    extra.u.gso.type = XEN_NETIF_GSO_TYPE_TCPV6;
    std::memcpy(&ring.slot(1), &extra, sizeof extra);
    g.send();
    REQUIRE(g.frames.count == 1);
    CHECK(segmented(g.frames.mbufs[0]));
    CHECK(bytes_of(g.frames.mbufs[0]) == with_pseudo_header_sum(packet));
  }
}

TEST_CASE("inspect: a segment is as long as the vif's frames may be") {  // H34
  for (const bool tagged : {false, true}) {
    GsoGuest g;
    const Packet packet = make_packet({.tagged = tagged, .payload = 60'000});
    CHECK(g.through(packet, 1460) != nullptr);
    CHECK(g.guest.count(Q::from_guest_drop_too_long_frames) == 0);
    g.take_frames();
    CHECK(g.through(packet, 1461) == nullptr);
    CHECK(g.guest.count(Q::from_guest_drop_too_long_frames) == 1);
  }
  // What fits one segment is measured as it is.
  GsoGuest g;
  CHECK(g.refused(make_packet({.payload = 1461}), 9000, Q::from_guest_drop_too_long_frames));
}

TEST_CASE("inspect: more segments than there may be are dropped by name") {  // H34: mss 1
  for (const bool ipv6 : {false, true}) {
    GsoGuest g;
    const Packet longest = make_packet({.ipv6 = ipv6, .payload = 65'535u - (ipv6 ? 74 : 54)});
    CHECK(g.refused(longest, 1, Q::from_guest_drop_too_many_segments_frames));
  }
  for (const size_t extra : {0, 1}) {
    GsoGuest g;
    const Packet packet = make_packet({.payload = limits::segments_max + extra});
    CHECK((g.through(packet, 1) == nullptr) == (extra == 1));
  }
}

TEST_CASE("inspect: another source address is refused for GSO as well") {  // H36
  GsoGuest g;
  g.guest.settings.lock_mac = true;
  CHECK(g.refused(make_packet({.payload = 3000}), 1000, Q::from_guest_drop_source_address_frames));
}
