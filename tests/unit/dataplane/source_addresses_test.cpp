// What passes of a guest that may use certain addresses alone.
#include "dataplane/source_addresses.hpp"

#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/stages.hpp"
#include "tests/unit/support/vlan.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Q = QueueCounter;

const rte_ether_addr mac{{0x00, 0x16, 0x3e, 1, 2, 3}};
const Bytes own4 = {192, 0, 2, 1}, in_prefix4 = {198, 51, 100, 78}, other4 = {192, 0, 2, 2};
const Bytes none4 = {0, 0, 0, 0};
const Bytes own6 = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
const Bytes other6 = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
const Bytes in_prefix6 = {0x20, 1, 0xd, 0xb8, 0, 7, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 2};
const Bytes outside6 = {0x20, 1, 0xd, 0xb8, 0, 7, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 2};
const Bytes link_local = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x02, 0x16, 0x3e, 0xff, 0xfe, 1, 2, 3};
const Bytes other_link_local = {0xfe, 0x80, 0,    0,    0,    0, 0, 0,
                                0x02, 0x16, 0x3e, 0xff, 0xfe, 1, 2, 4};
const Bytes none6(16, 0);

AddressPrefix prefix(const Bytes& address, uint8_t bits) {
  AddressPrefix all{.ipv6 = address.size() == 16, .bits = bits};
  std::copy(address.begin(), address.end(), all.address.begin());
  return all;
}

Bytes operator+(Bytes one, const Bytes& other) {
  one.insert(one.end(), other.begin(), other.end());
  return one;
}

Bytes ethernet(int type, const Bytes& packet) {
  return Bytes(12, 2) + Bytes{static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type)} + packet;
}

struct Four {
  int protocol = 1;
  int fragment = 0;  // flags and offset
  int version = 4, words = 5;
  int bytes = -1;  // what the header says; negative: the truth
};
Bytes ipv4(const Bytes& source, const Bytes& payload = Bytes(8, 0), const Four& how = {}) {
  const size_t header = static_cast<size_t>(how.words) * 4;
  Bytes packet(std::max<size_t>(header, 20), 0);
  const size_t bytes =
      how.bytes < 0 ? packet.size() + payload.size() : static_cast<size_t>(how.bytes);
  packet[0] = static_cast<uint8_t>(how.version << 4 | how.words);
  packet[2] = static_cast<uint8_t>(bytes >> 8), packet[3] = static_cast<uint8_t>(bytes);
  packet[6] = static_cast<uint8_t>(how.fragment >> 8);
  packet[7] = static_cast<uint8_t>(how.fragment);
  packet[9] = static_cast<uint8_t>(how.protocol);
  std::copy(source.begin(), source.end(), packet.begin() + 12);
  std::copy(other4.begin(), other4.end(), packet.begin() + 16);
  return ethernet(0x0800, packet + payload);
}

Bytes udp(int from, int to) {
  return {static_cast<uint8_t>(from >> 8),
          static_cast<uint8_t>(from),
          static_cast<uint8_t>(to >> 8),
          static_cast<uint8_t>(to),
          0,
          8,
          0,
          0};
}

Bytes arp(int operation, const Bytes& sender, const Bytes& target,
          const Bytes& kind = {0, 1, 8, 0, 6, 4}) {
  return ethernet(0x0806, kind + Bytes{0, static_cast<uint8_t>(operation)} + Bytes(6, 2) + sender +
                              Bytes(6, 0) + target);
}

struct Six {
  int next = 58;  // ICMPv6
  int version = 6;
  int bytes = -1;  // of payload, as the header says; negative: the truth
};
Bytes ipv6(const Bytes& source, const Bytes& payload, const Six& how = {}) {
  const size_t bytes = how.bytes < 0 ? payload.size() : static_cast<size_t>(how.bytes);
  const Bytes head = {static_cast<uint8_t>(how.version << 4),
                      0,
                      0,
                      0,
                      static_cast<uint8_t>(bytes >> 8),
                      static_cast<uint8_t>(bytes),
                      static_cast<uint8_t>(how.next),
                      255};
  return ethernet(0x86dd, head + source + other6 + payload);
}

Bytes icmpv6(int type, const Bytes& target = {}) {
  return Bytes{static_cast<uint8_t>(type), 0, 0, 0, 0, 0, 0, 0} + target;
}
constexpr int echo = 128, report = 131, done = 132, router_solicitation = 133, solicitation = 135,
              advertisement = 136, report_2 = 143;

// An extension header before the one with number `next`.
Bytes extension(int next, size_t bytes = 8) {
  Bytes header(bytes, 0);
  header[0] = static_cast<uint8_t>(next), header[1] = static_cast<uint8_t>(bytes / 8 - 1);
  return header;
}
Bytes fragment(int next, int offset_and_more) {
  return {static_cast<uint8_t>(next),
          0,
          static_cast<uint8_t>(offset_and_more >> 8),
          static_cast<uint8_t>(offset_and_more),
          0,
          0,
          0,
          1};
}

// A guest with two addresses and two prefixes.
struct Locked : OneGuest {
  Locked() {
    guest.settings.mac = mac;
    const AddressPrefix allowed[] = {prefix(own4, 32), prefix({198, 51, 100, 64}, 28),
                                     prefix(own6, 128), prefix(in_prefix6, 49)};
    guest.settings.addresses = std::make_shared<SourceAddresses>(allowed, mac);
  }
};

bool passes(const Bytes& frame) {
  Locked g;
  g.guest.put_frame(frame, 1);
  g.send();
  const auto dropped = g.guest.count(Q::from_guest_drop_source_ip_frames);
  CHECK(g.statuses() == std::vector<int>{dropped == 0 ? NETIF_RSP_OKAY : NETIF_RSP_ERROR});
  CHECK(g.take_frames() == (dropped == 0 ? std::vector<Bytes>{frame} : std::vector<Bytes>{}));
  return dropped == 0;
}

// The same, with VLAN tags before it as well.
bool always_passes(const Bytes& frame) {
  return passes(frame) && passes(tagged(frame, 7)) && passes(tagged(tagged(frame, 7), 8, 0x88a8));
}
bool never_passes(const Bytes& frame) {
  return !passes(frame) && !passes(tagged(frame, 7)) &&
         !passes(tagged(tagged(frame, 7), 8, 0x88a8));
}

}  // namespace

TEST_CASE("addresses: IPv4 from its own and from all of a prefix, nobody else's") {
  for (const Bytes& source : {own4, in_prefix4, Bytes{198, 51, 100, 64}, Bytes{198, 51, 100, 79}})
    CHECK(always_passes(ipv4(source)));
  for (const Bytes& source :
       {other4, none4, Bytes{198, 51, 100, 63}, Bytes{198, 51, 100, 80}, Bytes{255, 255, 255, 255}})
    CHECK(never_passes(ipv4(source)));
  // Wherever it is a part, and with options.
  for (const int part : {0x2000, 0x2007, 0x0007}) {
    CHECK(passes(ipv4(own4, Bytes(8, 0), {.fragment = part})));
    CHECK_FALSE(passes(ipv4(other4, Bytes(8, 0), {.fragment = part})));
  }
  CHECK(passes(ipv4(own4, {}, {.words = 15})));
  CHECK_FALSE(passes(ipv4(other4, {}, {.words = 15})));
}

TEST_CASE("addresses: of IPv4 what no receiver can read does not pass") {
  CHECK_FALSE(passes(ipv4(own4, {}, {.version = 6})));
  Bytes frame = ipv4(own4, {});
  CHECK(passes(frame));
  frame.pop_back();
  CHECK_FALSE(passes(frame));
  frame.resize(14);
  CHECK_FALSE(passes(frame));
}

TEST_CASE("addresses: a DHCP client without an address, whole and to the server's port") {
  CHECK(always_passes(ipv4(none4, udp(68, 67), {.protocol = 17})));
  CHECK(passes(ipv4(none4, udp(68, 67), {.protocol = 17, .words = 6})));
  CHECK(passes(ipv4(own4, udp(68, 67), {.protocol = 17})));
  CHECK_FALSE(passes(ipv4(other4, udp(68, 67), {.protocol = 17})));
  CHECK_FALSE(passes(ipv4(none4, udp(67, 68), {.protocol = 17})));
  CHECK_FALSE(passes(ipv4(none4, udp(68, 68), {.protocol = 17})));
  CHECK_FALSE(passes(ipv4(none4, udp(67, 67), {.protocol = 17})));
  CHECK_FALSE(passes(ipv4(none4, udp(68, 67), {.protocol = 6})));
  for (const int part : {0x2000, 0x2001, 0x0001})
    CHECK_FALSE(passes(ipv4(none4, udp(68, 67), {.protocol = 17, .fragment = part})));
  CHECK(passes(ipv4(none4, udp(68, 67), {.protocol = 17, .fragment = 0x4000})));  // do not
  Bytes half = udp(68, 67);
  half.pop_back();
  CHECK_FALSE(passes(ipv4(none4, half, {.protocol = 17})));
  CHECK_FALSE(passes(ipv4(none4, udp(68, 67), {.protocol = 17, .bytes = 27})));
  CHECK_FALSE(passes(ipv4(none4, udp(68, 67), {.protocol = 17, .bytes = 5})));
  CHECK_FALSE(passes(ipv4(none4, udp(68, 67), {.protocol = 17, .words = 4})));
}

TEST_CASE("addresses: what joins IPv4's groups, without an address too, whole") {
  CHECK(always_passes(ipv4(none4, Bytes(16, 0), {.protocol = 2, .words = 6})));
  CHECK_FALSE(passes(ipv4(other4, Bytes(16, 0), {.protocol = 2})));
  for (const int part : {0x2000, 0x0001})
    CHECK_FALSE(passes(ipv4(none4, Bytes(16, 0), {.protocol = 2, .fragment = part})));
}

TEST_CASE("addresses: ARP says its own, or asks whether anybody has it") {
  for (const int operation : {1, 2}) {
    CHECK(always_passes(arp(operation, own4, other4)));
    CHECK(passes(arp(operation, in_prefix4, in_prefix4)));
    CHECK(never_passes(arp(operation, other4, own4)));
  }
  CHECK(passes(arp(1, none4, own4)));
  CHECK_FALSE(passes(arp(2, none4, own4)));
  CHECK_FALSE(passes(arp(1, none4, other4)));
  for (const Bytes& kind : {Bytes{0, 6, 8, 0, 6, 4}, Bytes{0, 1, 8, 1, 6, 4},
                            Bytes{0, 1, 8, 0, 5, 4}, Bytes{0, 1, 8, 0, 6, 3}})
    CHECK_FALSE(passes(arp(1, own4, other4, kind)));
  Bytes cut = arp(1, own4, other4);
  cut.pop_back();
  CHECK_FALSE(passes(cut));
}

TEST_CASE("addresses: IPv6 from its own, from a prefix and the link-local one of its MAC") {
  for (const Bytes& source : {own6, in_prefix6, link_local}) {
    CHECK(always_passes(ipv6(source, icmpv6(echo))));
    CHECK(passes(ipv6(source, Bytes(20, 0), {.next = 6})));
    CHECK(passes(ipv6(source, {}, {.next = 59})));
  }
  for (const Bytes& source : {other6, outside6, other_link_local, none6}) {
    CHECK(never_passes(ipv6(source, icmpv6(echo))));
    CHECK_FALSE(passes(ipv6(source, Bytes(20, 0), {.next = 6})));
  }
  CHECK_FALSE(passes(ipv6(own6, icmpv6(echo), {.version = 4})));
  Bytes cut = ipv6(own6, {}, {.next = 59});
  cut.pop_back();
  CHECK_FALSE(passes(cut));
}

TEST_CASE("addresses: neighbours are told of its own addresses alone") {
  for (const Bytes& source : {own6, link_local}) {
    for (const Bytes& target : {own6, in_prefix6, link_local})
      CHECK(always_passes(ipv6(source, icmpv6(advertisement, target))));
    for (const Bytes& target : {other6, other_link_local})
      CHECK(never_passes(ipv6(source, icmpv6(advertisement, target))));
    CHECK(passes(ipv6(source, icmpv6(solicitation, other6))));
  }
  CHECK_FALSE(passes(ipv6(other6, icmpv6(advertisement, own6))));
  Bytes cut = icmpv6(advertisement, own6);
  cut.pop_back();
  CHECK_FALSE(passes(ipv6(own6, cut)));
  CHECK_FALSE(passes(ipv6(own6, icmpv6(advertisement, own6), {.bytes = 23})));
  CHECK_FALSE(passes(ipv6(own6, {echo, 0, 0, 0, 0, 0, 0})));
}

TEST_CASE("addresses: before it has one it looks for others with it, for routers and groups") {
  CHECK(always_passes(ipv6(none6, icmpv6(solicitation, own6))));
  CHECK(passes(ipv6(none6, icmpv6(solicitation, link_local))));
  CHECK(never_passes(ipv6(none6, icmpv6(solicitation, other6))));
  CHECK(passes(ipv6(none6, icmpv6(router_solicitation))));
  for (const int type : {report, done, report_2})
    CHECK(passes(ipv6(none6, extension(58) + icmpv6(type), {.next = 0})));
  for (const int type : {echo, 130, 134, advertisement, 137, 142, 144})
    CHECK_FALSE(passes(ipv6(none6, icmpv6(type, own6))));
  for (const int part : {1, 8, 9}) {
    CHECK_FALSE(passes(ipv6(none6, fragment(58, part) + icmpv6(solicitation, own6), {.next = 44})));
    CHECK_FALSE(passes(ipv6(none6, fragment(58, part) + icmpv6(report_2), {.next = 44})));
  }
}

TEST_CASE("addresses: an advertisement behind extension headers is found") {
  const Bytes lie = icmpv6(advertisement, other6), truth = icmpv6(advertisement, own6);
  for (const int header : {0, 43, 60}) {
    for (const size_t bytes : {8, 24}) {
      CHECK(never_passes(ipv6(own6, extension(58, bytes) + lie, {.next = header})));
      CHECK(passes(ipv6(own6, extension(58, bytes) + truth, {.next = header})));
    }
    const Bytes three = extension(60) + extension(43) + extension(58);
    CHECK_FALSE(passes(ipv6(own6, three + lie, {.next = header})));
    CHECK(passes(ipv6(own6, three + truth, {.next = header})));
  }
  Bytes authentication(12, 0);
  authentication[0] = 58, authentication[1] = 1;
  CHECK_FALSE(passes(ipv6(own6, authentication + lie, {.next = 51})));
  CHECK(passes(ipv6(own6, authentication + truth, {.next = 51})));
  CHECK_FALSE(passes(ipv6(own6, fragment(58, 0) + lie, {.next = 44})));  // of one fragment
  CHECK(passes(ipv6(own6, fragment(58, 0) + truth, {.next = 44})));
}

TEST_CASE("addresses: extension headers that do not end, or are too many, do not pass") {
  Bytes eight, nine;
  for (int i = 0; i < 7; ++i) eight = eight + extension(60);
  nine = eight + extension(60) + extension(6);
  eight = eight + extension(6);
  CHECK(passes(ipv6(own6, eight + Bytes(20, 0), {.next = 60})));
  CHECK_FALSE(passes(ipv6(own6, nine + Bytes(20, 0), {.next = 60})));
  for (const int header : {0, 43, 44, 51, 60}) {
    CHECK_FALSE(passes(ipv6(own6, {}, {.next = header})));
    CHECK_FALSE(passes(ipv6(own6, {6}, {.next = header})));
    CHECK_FALSE(passes(ipv6(own6, {6, 0, 0, 0, 0, 0, 0}, {.next = header})));
  }
  // What lies behind the packet is no part of it: the next fragment would go on there.
  CHECK_FALSE(passes(ipv6(own6, extension(58, 16) + icmpv6(echo), {.next = 60, .bytes = 8})));
}

TEST_CASE("addresses: a destination option that says another source does not pass") {
  Bytes options = extension(58, 24);
  options[4] = 201, options[5] = 16;  // behind two of a byte each
  CHECK_FALSE(passes(ipv6(own6, options + icmpv6(echo), {.next = 60})));
  CHECK(passes(ipv6(own6, options + icmpv6(echo), {.next = 0})));  // hop by hop it is none
  options[2] = 5, options[3] = 16;                                 // in another option's bytes
  CHECK(passes(ipv6(own6, options + icmpv6(echo), {.next = 60})));
  options[20] = 201;  // the next option
  CHECK_FALSE(passes(ipv6(own6, options + icmpv6(echo), {.next = 60})));
  options[20] = 0, options[23] = 5;  // one without a length
  CHECK_FALSE(passes(ipv6(own6, options + icmpv6(echo), {.next = 60})));
}

TEST_CASE("addresses: fragments") {
  const Bytes rest(16, 0);
  CHECK(passes(ipv6(own6, fragment(58, 8) + rest, {.next = 44})));
  CHECK_FALSE(passes(ipv6(other6, fragment(58, 8) + rest, {.next = 44})));
  CHECK(passes(ipv6(own6, fragment(6, 1) + rest, {.next = 44})));
  CHECK(passes(ipv6(own6, fragment(58, 1) + icmpv6(echo), {.next = 44})));
  for (int type = 133; type <= 137; ++type)
    CHECK_FALSE(passes(ipv6(own6, fragment(58, 1) + icmpv6(type, own6), {.next = 44})));
  for (const int type : {132, 138})
    CHECK(passes(ipv6(own6, fragment(58, 1) + icmpv6(type, own6), {.next = 44})));
  // What a later one begins with is no header, whatever the first one's number says.
  CHECK(passes(ipv6(own6, fragment(60, 8) + Bytes(16, 0xff), {.next = 44})));
  CHECK_FALSE(passes(
      ipv6(own6, fragment(44, 1) + fragment(58, 0) + icmpv6(advertisement, own6), {.next = 44})));
  // The headers of the first one go on in the next.
  const Bytes begun = {58, 1, 0, 0, 0, 0, 0, 0};
  CHECK_FALSE(passes(ipv6(own6, fragment(60, 1) + begun, {.next = 44})));
}

TEST_CASE("addresses: nothing but IP and ARP, behind two tags at most") {
  for (const int type : {0x88b5, 0x8035, 0x8847, 0x8864, 0x9100, 100}) {
    Bytes frame = ipv4(own4);
    frame[12] = static_cast<uint8_t>(type >> 8), frame[13] = static_cast<uint8_t>(type);
    CHECK_FALSE(passes(frame));
  }
  CHECK_FALSE(passes(tagged(tagged(tagged(ipv4(own4), 7), 8), 9)));
  CHECK_FALSE(passes(Bytes(14, 2)));
  Bytes no_type = tagged(ethernet(0x0800, {}), 7);
  no_type.resize(16);
  CHECK_FALSE(passes(no_type));
}

TEST_CASE("addresses: IPv4's bytes are no prefix of IPv6's") {
  OneGuest g;
  const AddressPrefix all[] = {prefix(none4, 0)};
  g.guest.settings.addresses = std::make_shared<SourceAddresses>(all, mac);
  g.guest.put_frame(ipv4(other4), 1);
  g.guest.put_frame(ipv6(own6, icmpv6(echo)), 2);
  g.send();
  CHECK(g.statuses() == std::vector<int>{NETIF_RSP_OKAY, NETIF_RSP_ERROR});
}

TEST_CASE("addresses: a frame that stands for several is looked at as it leaves") {
  for (const Bytes& source : {own6, other6}) {
    Locked g;
    Packet packet = make_packet({.ipv6 = true, .payload = 3000, .extensions = {8}});
    std::copy(source.begin(), source.end(), packet.bytes.begin() + 22);
    packet.bytes[18] = packet.bytes[19] = 0;  // its senders need not say how long it is
    g.guest.settings.gso_tcpv6_offered = true;
    put_gso_packet(g.guest, packet, 1400);
    g.guest.from_guest.push();
    g.send();
    CHECK(g.guest.count(Q::from_guest_drop_source_ip_frames) == (source == own6 ? 0 : 1));
    CHECK(g.guest.count(Q::from_guest_frames) == (source == own6 ? 1 : 0));
    g.take_frames();
  }
}

TEST_CASE("addresses: without a list every frame passes") {
  OneGuest g;
  g.guest.put_frame(ipv4(other4), 1);
  g.guest.put_frame(ethernet(0x88b5, Bytes(46, 0)), 2);
  g.send();
  CHECK(g.statuses() == std::vector<int>{NETIF_RSP_OKAY, NETIF_RSP_OKAY});
}
