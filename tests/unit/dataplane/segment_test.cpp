// Frames that stand for several, cut: every byte of every segment is compared with what RFC 9293
// has.
#include "dataplane/segment.hpp"

#include "tests/unit/support/gso.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// The segments on a wire; the mbufs are freed.
std::vector<Bytes> wire_bytes_of(std::span<rte_mbuf*> parts) {
  std::vector<Bytes> all;
  for (rte_mbuf* part : parts) {
    CHECK(checksum_blank(part));
    CHECK_FALSE(segmented(part));
    complete_checksum(part);
    rte_mbuf_sanity_check(part, 1);
    all.push_back(bytes_of(part));
    CHECK(part->pkt_len == all.back().size());
    CHECK(part->nb_segs == (part->pkt_len - 1) / FramePool::buffer_bytes + 1);  // no more
    rte_pktmbuf_free(part);
  }
  return all;
}

struct Cutting : Bench {
  Segments segments;

  std::vector<Bytes> cut_packet(const Packet& packet, uint16_t segment_bytes, uint32_t piece = 0) {
    rte_mbuf* frame = make_gso_mbuf(*pool, packet, segment_bytes, piece);
    frame->port = source_of_vif(3);
    const Bytes before = bytes_of(frame);
    const auto parts = cut(frame, *pool, segments);
    CHECK(bytes_of(frame) == before);
    for (const rte_mbuf* part : parts) {
      CHECK(part->port == frame->port);
      CHECK(header_bytes(part) == header_bytes(frame));
      CHECK(part->packet_type == frame->packet_type);
    }
    rte_pktmbuf_free(frame);
    return wire_bytes_of(parts);
  }
};

}  // namespace

TEST_CASE("segment: each part is a packet of its own, whatever is before its payload") {
  const PacketShape shapes[] = {{},
                                {.tagged = true},
                                {.options = 8},
                                {.options = 40},
                                {.tcp_options = 12},
                                {.tcp_options = 40},
                                {.ipv6 = true},
                                {.ipv6 = true, .tagged = true},
                                {.ipv6 = true, .tcp_options = 12},
                                {.ipv6 = true, .extensions = {8}},
                                {.ipv6 = true, .extensions = {16, 8}}};
  for (PacketShape shape : shapes) {
    for (const size_t payload : {101u, 200u, 201u, 2999u, 9000u}) {
      for (const uint16_t segment_bytes : {uint16_t{100}, uint16_t{99}, uint16_t{1448}}) {
        if (payload <= segment_bytes) continue;
        shape.payload = payload;
        shape.tcp_flags = all_tcp_flags;
        const Packet packet = make_packet(shape);
        Cutting c;
        INFO("l4 at " << packet.l4 << ", payload " << payload << " by " << segment_bytes);
        CHECK(c.cut_packet(packet, segment_bytes) == segments_of(packet, segment_bytes));
      }
    }
  }
}

TEST_CASE("segment: the sequence and IPv4's id wrap") {
  Packet packet = make_packet({.payload = 1000});
  for (size_t i = 0; i < 4; ++i) packet.bytes[packet.l4 + 4 + i] = 0xff;
  packet.bytes[packet.l3 + 4] = packet.bytes[packet.l3 + 5] = 0xff;
  Cutting c;
  CHECK(c.cut_packet(packet, 100) == segments_of(packet, 100));
}

TEST_CASE("segment: the headers of a frame are in its first buffer, the rest in any") {
  for (const uint32_t piece : {54u, 55u, 333u, 2048u}) {
    const Packet packet = make_packet({.payload = 3000, .tcp_flags = all_tcp_flags});
    Cutting c;
    CHECK(c.cut_packet(packet, 700, piece) == segments_of(packet, 700));
  }
}

TEST_CASE("segment: segments longer than a buffer are chains") {
  for (const uint16_t segment_bytes : {1994, 1995, 4096, 8948}) {
    const Packet packet = make_packet({.payload = 30'000});
    Cutting c;
    CHECK(c.cut_packet(packet, segment_bytes) == segments_of(packet, segment_bytes));
  }
}

TEST_CASE("segment: the longest frame, and as many segments as there may be") {  // H34
  for (const bool ipv6 : {false, true}) {
    const size_t headers = ipv6 ? 74 : 54;
    for (const size_t segment_bytes : {256u, 1448u}) {
      const Packet packet = make_packet({.ipv6 = ipv6, .payload = 65'535 - headers});
      Cutting c;
      const auto parts = c.cut_packet(packet, static_cast<uint16_t>(segment_bytes));
      CHECK(parts.size() == (65'535 - headers + segment_bytes - 1) / segment_bytes);
      CHECK(parts == segments_of(packet, segment_bytes));
    }
  }
}

TEST_CASE("segment: segments of one byte") {  // H34
  const Packet packet = make_packet({.payload = limits::segments_max, .tcp_flags = all_tcp_flags});
  Cutting c;
  CHECK(c.cut_packet(packet, 1) == segments_of(packet, 1));
}

TEST_CASE("segment: without buffers for all there are none, and none is lost") {
  const Packet packet = make_packet({.payload = 10'000});
  // Ten segments of one buffer; four of two buffers, of which all the first ones come first.
  for (const auto& [segment_bytes, needed] : {std::pair{1000, 10u}, {2500, 8u}}) {
    for (const uint32_t free : {0u, needed - 3, needed - 1, needed}) {
      Cutting c;
      rte_mbuf* frame = make_gso_mbuf(*c.pool, packet, static_cast<uint16_t>(segment_bytes));
      c.leave_buffers(free);
      const auto parts = cut(frame, *c.pool, c.segments);
      CHECK(parts.empty() == (free < needed));
      CHECK(c.pool->free_buffers() == (free < needed ? free : 0));
      rte_pktmbuf_free_bulk(parts.data(), static_cast<unsigned>(parts.size()));
      rte_pktmbuf_free(frame);
    }
  }
}

TEST_CASE("segment: a source that lies in buffers of no bytes, too") {
  const Packet packet = make_packet({.payload = 500});
  Cutting c;
  rte_mbuf* frame = make_gso_mbuf(*c.pool, packet, 200, 300);
  rte_mbuf* empty = rte_pktmbuf_alloc(c.pool->mempool());
  empty->next = frame->next;
  frame->next = empty;
  ++frame->nb_segs;
  CHECK(wire_bytes_of(cut(frame, *c.pool, c.segments)) == segments_of(packet, 200));
  rte_pktmbuf_free(frame);
}
