// Checksums, against sums computed straight from RFC 1071. protocol 1.12: 44 to 48.
#include "dataplane/offload.hpp"

#include "dataplane/frame.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

bool parses(Bench& bench, const Bytes& bytes, uint32_t piece = 0) {
  rte_mbuf* frame = make_mbuf(*bench.pool, bytes, piece);
  const bool parsed = parse_headers(frame);
  rte_pktmbuf_free(frame);
  return parsed;
}

// The frame's bytes after its checksum was completed.
Bytes complete(Bench& bench, const Bytes& bytes, uint32_t first_piece) {
  const size_t first = std::min<size_t>(first_piece, bytes.size());
  rte_mbuf* frame = make_mbuf(*bench.pool, Bytes(bytes.begin(), bytes.begin() + long(first)));
  if (first < bytes.size()) {
    rte_mbuf* rest = make_mbuf(*bench.pool, Bytes(bytes.begin() + long(first), bytes.end()), 333);
    REQUIRE(rte_pktmbuf_chain(frame, rest) == 0);
  }
  set_checksum_state(frame, RTE_MBUF_F_RX_L4_CKSUM_NONE);
  REQUIRE(parse_headers(frame));
  complete_checksum(frame);
  CHECK(checksum_state(frame) == RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  const Bytes after = bytes_of(frame);
  rte_pktmbuf_free(frame);
  return after;
}

void put16(Bytes& bytes, size_t at, uint32_t value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}

}  // namespace

TEST_CASE("offload: the tests' own sum is right") {
  // RFC 1071's own example, section 3; a byte more counts as if a zero followed it.
  CHECK(sum_of({0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}) == 0xddf2);
  CHECK(sum_of({0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0x01}) == 0xdef2);
  CHECK(sum_of({}) == 0);
  CHECK(sum_of({0xff, 0xff, 0x00, 0x01}) == 0x0001);
  Packet packet = make_packet({.udp = true, .payload = 8, .checksum_field = 0});
  const uint16_t sum = right_checksum(packet);
  put16(packet.bytes, packet.checksum_at(), sum);
  uint64_t total = pseudo_header_sum(packet);
  for (size_t i = packet.l4; i < packet.end; i += 2)
    total += uint64_t(packet.bytes[i] << 8 | packet.bytes[i + 1]);
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  CHECK(total == 0xffff);
}

TEST_CASE("offload: fills in what a receiver would compute") {  // FBT 46, 48, seed S3
  Bench bench;
  for (const bool ipv6 : {false, true}) {
    for (const bool udp : {false, true}) {
      for (const bool tagged : {false, true}) {
        for (const size_t payload : {0, 1, 2, 7, 100, 1001, 1400, 1401}) {
          const PacketShape shape{.ipv6 = ipv6,
                                  .udp = udp,
                                  .tagged = tagged,
                                  .payload = payload,
                                  .padding = payload < 20 ? 11u : 0u,
                                  .seed = uint8_t(payload)};
          const Packet packet = make_packet(shape);
          INFO("ipv6 " << ipv6 << " udp " << udp << " tagged " << tagged << " " << payload);
          CHECK(complete(bench, packet.bytes, 2048) == completed(packet));
        }
      }
    }
  }
}

TEST_CASE("offload: sums over buffers that end at odd positions") {
  Bench bench;
  for (const bool ipv6 : {false, true}) {
    const Packet packet = make_packet({.ipv6 = ipv6, .payload = 1399, .padding = 3});
    for (const uint32_t first : {100u, 101u, 107u, 512u, 1001u})
      CHECK(complete(bench, packet.bytes, first) == completed(packet));
  }
}

TEST_CASE("offload: the sum of a 9000-byte frame over several buffers") {
  Bench bench;
  const Packet packet = make_packet({.udp = true, .payload = 8945});
  CHECK(complete(bench, packet.bytes, 2047) == completed(packet));
}

TEST_CASE("offload: IPv4 options lie between") {
  Bench bench;
  for (const size_t options : {4, 40}) {
    const Packet packet = make_packet({.payload = 33, .options = options});
    CHECK(complete(bench, packet.bytes, 2048) == completed(packet));
  }
}

TEST_CASE("offload: IPv6 extension headers lie between") {
  Bench bench;
  for (const bool udp : {false, true}) {
    const Packet packet = make_packet({.ipv6 = true, .udp = udp, .extensions = {8, 24, 64}});
    CHECK(complete(bench, packet.bytes, 2048) == completed(packet));
  }
}

// rte_mbuf holds an L3 length of 511 at most: a longer one must not be taken modulo 512.
TEST_CASE("offload: extension headers longer than an mbuf can say are refused") {
  Bench bench;
  const Packet fits = make_packet({.ipv6 = true, .extensions = {464}});
  CHECK(complete(bench, fits.bytes, 2048) == completed(fits));
  CHECK_FALSE(parses(bench, make_packet({.ipv6 = true, .extensions = {472}}).bytes));
  CHECK_FALSE(parses(bench, make_packet({.ipv6 = true, .extensions = {1000}}).bytes));
}

TEST_CASE("offload: a UDP sum of zero goes out as ffff") {  // RFC 768
  Bench bench;
  for (const bool ipv6 : {false, true}) {
    Packet packet = make_packet({.ipv6 = ipv6, .udp = true, .payload = 10});
    put16(packet.bytes, packet.end - 2, 0);
    put16(packet.bytes, packet.end - 2, right_checksum(packet));  // now the sum comes to zero
    REQUIRE(right_checksum(packet) == 0xffff);
    const Bytes after = complete(bench, packet.bytes, 2048);
    CHECK(checksum_of(packet, after) == 0xffff);
  }
}

TEST_CASE("offload: parse notes where each header ends") {
  Bench bench;
  const struct {
    PacketShape shape;
    uint32_t l2, l3, l4;
  } cases[] = {{{}, 14, 20, 20},
               {{.udp = true, .tagged = true}, 18, 20, 8},
               {{.ipv6 = true, .udp = true}, 14, 40, 8},
               {{.ipv6 = true, .extensions = {16}}, 14, 56, 20}};
  for (const auto& c : cases) {
    const Packet packet = make_packet(c.shape);
    rte_mbuf* frame = make_mbuf(*bench.pool, packet.bytes);
    REQUIRE(parse_headers(frame));
    CHECK(frame->l2_len == c.l2);
    CHECK(frame->l3_len == c.l3);
    CHECK(frame->l4_len == c.l4);
    CHECK(((frame->packet_type & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_UDP) == c.shape.udp);
    CHECK(bool(RTE_ETH_IS_IPV6_HDR(frame->packet_type)) == c.shape.ipv6);
    rte_pktmbuf_free(frame);
  }
}

TEST_CASE("offload: other than TCP and UDP over IP is refused") {
  Bench bench;
  Packet icmp = make_packet({});
  icmp.bytes[icmp.l3 + 9] = 1;
  CHECK_FALSE(parses(bench, icmp.bytes));
  Packet sctp = make_packet({.ipv6 = true});
  sctp.bytes[sctp.l3 + 6] = 132;
  CHECK_FALSE(parses(bench, sctp.bytes));
  Packet arp = make_packet({});
  arp.bytes[13] = 0x06;
  CHECK_FALSE(parses(bench, arp.bytes));
  CHECK_FALSE(parses(bench, plain_frame(14)));
}

TEST_CASE("offload: fragments are refused") {
  Bench bench;
  for (const uint32_t field : {0x2000u, 0x0001u, 0x1fffu}) {  // more follow, or an offset
    Packet packet = make_packet({});
    put16(packet.bytes, packet.l3 + 6, field);
    CHECK_FALSE(parses(bench, packet.bytes));
  }
  Packet whole = make_packet({});
  put16(whole.bytes, whole.l3 + 6, 0x4000);  // do not fragment
  CHECK(parses(bench, whole.bytes));
  Packet ipv6 = make_packet({.ipv6 = true, .extensions = {8}});
  ipv6.bytes[ipv6.l3 + 6] = 44;
  CHECK_FALSE(parses(bench, ipv6.bytes));
}

TEST_CASE("offload: a packet cut off in its headers is refused") {
  Bench bench;
  for (const PacketShape& shape :
       {PacketShape{.payload = 0}, PacketShape{.udp = true, .payload = 0},
        PacketShape{.ipv6 = true, .payload = 0},
        PacketShape{.ipv6 = true, .udp = true, .payload = 0, .extensions = {8}}}) {
    const Packet packet = make_packet(shape);
    CHECK(parses(bench, packet.bytes));
    for (size_t bytes = 15; bytes < packet.bytes.size(); ++bytes)
      CHECK_FALSE(parses(bench, Bytes(packet.bytes.begin(), packet.bytes.begin() + long(bytes))));
  }
}

TEST_CASE("offload: headers beyond the first buffer are refused") {  // H15, XSA-423
  Bench bench;
  const Packet packet = make_packet({.payload = 50});
  CHECK_FALSE(parses(bench, packet.bytes, 53));
  CHECK(parses(bench, packet.bytes, 54));
}

TEST_CASE("offload: lengths that contradict each other are refused") {
  Bench bench;
  for (const bool udp : {false, true}) {
    const uint32_t header = udp ? 8 : 20;
    Packet packet = make_packet({.udp = udp, .payload = 50});
    const auto total = static_cast<uint32_t>(packet.end - packet.l3);
    put16(packet.bytes, packet.l3 + 2, total + 1);  // longer than the frame
    CHECK_FALSE(parses(bench, packet.bytes));
    put16(packet.bytes, packet.l3 + 2, 20 + header - 1);  // shorter than its headers
    CHECK_FALSE(parses(bench, packet.bytes));
    put16(packet.bytes, packet.l3 + 2, 19);  // than the IP header itself
    CHECK_FALSE(parses(bench, packet.bytes));
    put16(packet.bytes, packet.l3 + 2, 0);
    CHECK_FALSE(parses(bench, packet.bytes));
    put16(packet.bytes, packet.l3 + 2, 20 + header);
    CHECK(parses(bench, packet.bytes));
  }
  Packet ipv6 = make_packet({.ipv6 = true, .payload = 50, .extensions = {16}});
  put16(ipv6.bytes, ipv6.l3 + 4, 16 + 20 + 51);
  CHECK_FALSE(parses(bench, ipv6.bytes));
  put16(ipv6.bytes, ipv6.l3 + 4, 16 + 19);
  CHECK_FALSE(parses(bench, ipv6.bytes));
  put16(ipv6.bytes, ipv6.l3 + 4, 15);
  CHECK_FALSE(parses(bench, ipv6.bytes));
  Packet ihl = make_packet({});
  put16(ihl.bytes, ihl.l3 + 4, 0);  // taken for an IPv6 length it would do
  for (const uint8_t version_ihl : {0x44, 0x40, 0x65, 0x35}) {
    ihl.bytes[ihl.l3] = version_ihl;
    CHECK_FALSE(parses(bench, ihl.bytes));
  }
}

TEST_CASE("offload: what is left to a port is the pseudo-header sum and its flags") {
  Bench bench;
  for (const bool ipv6 : {false, true}) {
    for (const bool udp : {false, true}) {
      const Packet packet =
          make_packet({.ipv6 = ipv6,
                       .udp = udp,
                       .padding = 5,
                       .extensions = ipv6 ? std::vector<size_t>{8} : std::vector<size_t>{}});
      rte_mbuf* frame = make_mbuf(*bench.pool, packet.bytes);
      REQUIRE(parse_headers(frame));
      request_checksum(frame);
      CHECK(checksum_of(packet, bytes_of(frame)) == pseudo_header_sum(packet));
      CHECK((frame->ol_flags & RTE_MBUF_F_TX_L4_MASK) ==
            (udp ? RTE_MBUF_F_TX_UDP_CKSUM : RTE_MBUF_F_TX_TCP_CKSUM));
      CHECK((frame->ol_flags & (RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6)) ==
            (ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4));
      rte_pktmbuf_free(frame);
    }
  }
}

TEST_CASE("offload: whether headers end within a frame's first bytes is said of those alone") {
  Bench bench;
  const Packet packet = make_packet({.payload = 1000, .tcp_options = 12});
  rte_mbuf* frame = make_mbuf(*bench.pool, packet.bytes);
  const uint64_t before = frame->tx_offload;
  for (uint16_t bytes = 0; bytes < 100; ++bytes)
    CHECK(headers_within(*frame, bytes) == (bytes >= packet.payload_at()));
  CHECK(frame->tx_offload == before);
  CHECK(frame->pkt_len == packet.bytes.size());
  rte_pktmbuf_free(frame);
  rte_mbuf* udp = make_mbuf(*bench.pool, make_packet({.udp = true}).bytes);
  CHECK_FALSE(headers_within(*udp, 100));
  rte_pktmbuf_free(udp);
}

TEST_CASE("offload: a frame that is no longer to be cut is not one that stands for several") {
  Bench bench;
  rte_mbuf* frame = make_mbuf(*bench.pool, make_packet({.payload = 1000}).bytes);
  REQUIRE(mark_segmented(frame, true, 999));
  CHECK(segmented(frame));
  REQUIRE(mark_segmented(frame, true, 1000));
  CHECK_FALSE(segmented(frame));
  rte_pktmbuf_free(frame);
}
