// Frames that stand for several, as a guest sends them.
#pragma once

#include "dataplane/offload.hpp"
#include "tests/unit/support/packets.hpp"
#include "tests/unit/support/test_guest.hpp"

namespace netback::test {

constexpr int all_tcp_flags = 0xff;

inline uint8_t gso_type(const Packet& packet) {
  return packet.ipv6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4;
}

// The packet with its extra info, in pages, ids from `id` on: how many slots of the ring.
inline uint32_t put_gso_packet(TestGuest& guest, const Packet& packet, uint16_t segment_bytes,
                               uint16_t id = 1, uint16_t flags = NETTXF_csum_blank) {
  const Bytes& bytes = packet.bytes;
  const uint32_t before = guest.from_guest.produced();
  for (size_t at = 0; at < bytes.size(); at += 4096) {
    const size_t end = std::min(at + 4096, bytes.size());
    const Bytes page(bytes.begin() + static_cast<long>(at), bytes.begin() + static_cast<long>(end));
    guest.from_guest.put(
        {.gref = guest.data_page(page),
         .offset = 0,
         .flags = static_cast<uint16_t>((at == 0 ? flags | NETTXF_extra_info : 0) |
                                        (end < bytes.size() ? NETTXF_more_data : 0)),
         .id = id++,
         .size = static_cast<uint16_t>(at == 0 ? bytes.size() : end - at)});
    if (at == 0) guest.put_gso(segment_bytes, gso_type(packet));
  }
  return guest.from_guest.produced() - before;
}

// The same in a mbuf, as forwarding has it; `piece`: bytes in each buffer.
inline rte_mbuf* make_gso_mbuf(FramePool& pool, const Packet& packet, uint16_t segment_bytes,
                               uint32_t piece = 0) {
  rte_mbuf* frame = make_mbuf(pool, packet.bytes, piece);
  NETBACK_CHECK(mark_segmented(frame, !packet.ipv6, segment_bytes));
  return frame;
}

// As it was sent, with the pseudo-header's sum where the checksum goes: what a guest is given.
inline Bytes with_pseudo_header_sum(const Packet& packet) {
  Bytes bytes = packet.bytes;
  const uint16_t sum = pseudo_header_sum(packet);
  bytes[packet.checksum_at()] = static_cast<uint8_t>(sum >> 8);
  bytes[packet.checksum_at() + 1] = static_cast<uint8_t>(sum);
  return bytes;
}

}  // namespace netback::test
