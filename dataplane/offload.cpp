#include "dataplane/offload.hpp"

#include <rte_ip.h>
#include <rte_net.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <algorithm>

#include "dataplane/frame.hpp"

namespace netback {
namespace {

bool is_ipv4(const rte_mbuf* frame) {
  return RTE_ETH_IS_IPV4_HDR(frame->packet_type);
}
bool is_tcp(const rte_mbuf* frame) {
  return (frame->packet_type & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_TCP;
}

uint8_t* l3_of(rte_mbuf* frame) {
  return rte_pktmbuf_mtod_offset(frame, uint8_t*, frame->l2_len);
}

// Bytes of L4 header and payload as the IP header has it; 0 when it cannot be.
uint32_t l4_bytes(rte_mbuf* frame) {
  uint32_t l3_bytes = 0;  // header included
  if (is_ipv4(frame)) {
    const auto* ip = reinterpret_cast<const rte_ipv4_hdr*>(l3_of(frame));
    if (rte_ipv4_hdr_len(ip) < sizeof *ip) return 0;
    l3_bytes = rte_be_to_cpu_16(ip->total_length);
  } else {
    const auto* ip = reinterpret_cast<const rte_ipv6_hdr*>(l3_of(frame));
    l3_bytes = sizeof *ip + rte_be_to_cpu_16(ip->payload_len);
  }
  if (l3_bytes > frame->pkt_len - frame->l2_len || l3_bytes < frame->l3_len) return 0;
  return l3_bytes - frame->l3_len;
}

void set_checksum(rte_mbuf* frame, uint16_t value) {
  uint8_t* l4 = l3_of(frame) + frame->l3_len;
  if (is_tcp(frame))
    reinterpret_cast<rte_tcp_hdr*>(l4)->cksum = value;
  else
    reinterpret_cast<rte_udp_hdr*>(l4)->dgram_cksum = value;
}

uint16_t pseudo_header_sum(rte_mbuf* frame) {
  if (is_ipv4(frame)) {
    const auto* ip = reinterpret_cast<const rte_ipv4_hdr*>(l3_of(frame));
    return rte_ipv4_phdr_cksum(ip, 0);
  }
  // With extension headers the base header's length and protocol are not those of L4.
  rte_ipv6_hdr ip = *reinterpret_cast<const rte_ipv6_hdr*>(l3_of(frame));
  ip.payload_len = rte_cpu_to_be_16(static_cast<uint16_t>(l4_bytes(frame)));
  ip.proto = is_tcp(frame) ? IPPROTO_TCP : IPPROTO_UDP;
  return rte_ipv6_phdr_cksum(&ip, 0);
}

// Sum of the frame's bytes from `at` on. Not rte_raw_cksum_mbuf: of 22.11 it loses carries where a
// buffer ends at an odd position.
uint32_t sum_of_bytes(const rte_mbuf* buffer, uint32_t at, uint32_t bytes) {
  for (; at >= buffer->data_len; buffer = buffer->next) at -= buffer->data_len;
  uint32_t sum = 0;
  bool odd = false;
  while (bytes > 0) {
    const uint32_t here = std::min(bytes, uint32_t{buffer->data_len} - at);
    const uint16_t part = rte_raw_cksum(rte_pktmbuf_mtod_offset(buffer, const uint8_t*, at), here);
    sum += odd ? rte_bswap16(part) : part;
    odd ^= here & 1;
    bytes -= here;
    at = 0;
    buffer = buffer->next;
  }
  return sum;
}

// As parse_headers(), but for the lengths that the headers say. Bytes of the L4 header without
// options; 0: not found.
uint32_t find_headers(rte_mbuf* frame) {
  rte_net_hdr_lens lengths{};
  frame->packet_type =
      rte_net_get_ptype(frame, &lengths, RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK | RTE_PTYPE_L4_MASK);
  frame->tx_offload = 0;
  const uint32_t l4 = frame->packet_type & RTE_PTYPE_L4_MASK;
  if (l4 != RTE_PTYPE_L4_TCP && l4 != RTE_PTYPE_L4_UDP) return 0;
  if (!is_ipv4(frame) && !RTE_ETH_IS_IPV6_HDR(frame->packet_type)) return 0;
  const uint32_t header = l4 == RTE_PTYPE_L4_TCP ? sizeof(rte_tcp_hdr) : sizeof(rte_udp_hdr);
  if (lengths.l2_len + lengths.l3_len + header > frame->data_len) return 0;
  frame->l2_len = lengths.l2_len;
  frame->l3_len = lengths.l3_len;
  frame->l4_len = lengths.l4_len;
  // Their fields in the mbuf are narrow: endless extension headers do not fit.
  if (frame->l2_len != lengths.l2_len || frame->l3_len != lengths.l3_len) return 0;
  return header;
}

void set_ip_length(rte_mbuf* frame) {
  const uint32_t l3_bytes = frame->pkt_len - frame->l2_len;
  if (!is_ipv4(frame)) {
    auto* ip = reinterpret_cast<rte_ipv6_hdr*>(l3_of(frame));
    ip->payload_len = rte_cpu_to_be_16(static_cast<uint16_t>(l3_bytes - sizeof *ip));
    return;
  }
  auto* ip = reinterpret_cast<rte_ipv4_hdr*>(l3_of(frame));
  if (rte_be_to_cpu_16(ip->total_length) == l3_bytes) return;
  ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(l3_bytes));
  ip->hdr_checksum = 0;
  ip->hdr_checksum = rte_ipv4_cksum(ip);
}

}  // namespace

bool parse_headers(rte_mbuf* frame) {
  const uint32_t header = find_headers(frame);
  return header != 0 && l4_bytes(frame) >= header;
}

void blank_checksum(rte_mbuf* frame) {
  set_checksum(frame, pseudo_header_sum(frame));
  set_checksum_state(frame, RTE_MBUF_F_RX_L4_CKSUM_NONE);
}

bool mark_segmented(rte_mbuf* frame, bool ipv4, uint16_t segment_bytes) {
  NETBACK_CHECK(rte_mbuf_refcnt_read(frame) == 1);
  frame->ol_flags &= ~uint64_t{RTE_MBUF_F_RX_LRO};
  if (find_headers(frame) == 0 || !is_tcp(frame) || is_ipv4(frame) != ipv4) return false;
  const uint32_t headers = header_bytes(frame);
  if (frame->l4_len < sizeof(rte_tcp_hdr) || headers > frame->data_len) return false;
  if (headers == frame->pkt_len || frame->pkt_len - frame->l2_len > UINT16_MAX) return false;
  set_ip_length(frame);
  blank_checksum(frame);
  if (frame->pkt_len - headers <= segment_bytes) return true;
  frame->ol_flags |= RTE_MBUF_F_RX_LRO;
  frame->tso_segsz = segment_bytes;
  return true;
}

bool headers_within(const rte_mbuf& frame, uint16_t bytes) {
  rte_mbuf head = frame;
  head.next = nullptr;
  head.nb_segs = 1;
  head.data_len = bytes;
  head.pkt_len = bytes;
  return find_headers(&head) != 0 && is_tcp(&head) && header_bytes(&head) <= bytes;
}

uint32_t segment_count(const rte_mbuf* frame) {
  const uint32_t payload = frame->pkt_len - header_bytes(frame);
  return (payload + frame->tso_segsz - 1) / frame->tso_segsz;
}

void complete_checksum(rte_mbuf* frame) {
  NETBACK_CHECK(rte_mbuf_refcnt_read(frame) == 1);
  set_checksum(frame, 0);
  uint32_t sum = sum_of_bytes(frame, frame->l2_len + frame->l3_len, l4_bytes(frame));
  sum += pseudo_header_sum(frame);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  const auto folded = static_cast<uint16_t>(~sum);
  // RFC 768: zero on the wire means "no checksum"; TCP does not mind the other zero either.
  set_checksum(frame, folded == 0 ? 0xffff : folded);
  set_checksum_state(frame, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
}

void request_checksum(rte_mbuf* frame) {
  NETBACK_CHECK(rte_mbuf_refcnt_read(frame) == 1);
  set_checksum(frame, pseudo_header_sum(frame));
  frame->ol_flags |= is_tcp(frame) ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
  frame->ol_flags |= is_ipv4(frame) ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
}

void request_segmentation(rte_mbuf* frame, bool ipv4_checksum) {
  NETBACK_CHECK(rte_mbuf_refcnt_read(frame) == 1);
  frame->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
  if (is_ipv4(frame)) {
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(l3_of(frame));
    frame->ol_flags |= RTE_MBUF_F_TX_IPV4;
    set_checksum(frame, rte_ipv4_phdr_cksum(ip, RTE_MBUF_F_TX_TCP_SEG));
    if (!ipv4_checksum) return;
    frame->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
    ip->hdr_checksum = 0;
  } else {
    const auto* ip = reinterpret_cast<const rte_ipv6_hdr*>(l3_of(frame));
    frame->ol_flags |= RTE_MBUF_F_TX_IPV6;
    set_checksum(frame, rte_ipv6_phdr_cksum(ip, RTE_MBUF_F_TX_TCP_SEG));
  }
}

}  // namespace netback
