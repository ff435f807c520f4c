#include "dataplane/segment.hpp"

#include <rte_ip.h>
#include <rte_tcp.h>

#include <algorithm>
#include <cstring>

#include "dataplane/offload.hpp"

namespace netback {
namespace {

// Where the next bytes of a chain come from.
struct ChainReader {
  const rte_mbuf* piece;
  uint32_t at;

  void read(uint8_t* to, uint32_t bytes) {
    while (bytes > 0) {
      if (at == piece->data_len) {
        piece = piece->next;
        at = 0;
        continue;
      }
      const uint32_t here = std::min(bytes, piece->data_len - at);
      std::memcpy(to, rte_pktmbuf_mtod_offset(piece, const uint8_t*, at), here);
      to += here;
      at += here;
      bytes -= here;
    }
  }
};

// Adds `bytes` bytes to a segment, in as many more buffers as that takes; false without them.
bool append(rte_mbuf* segment, ChainReader& payload, uint32_t bytes, const FramePool& pool) {
  rte_mbuf* last = segment;
  segment->pkt_len += bytes;
  while (true) {
    const uint32_t here = std::min(bytes, FramePool::buffer_bytes - last->data_len);
    payload.read(rte_pktmbuf_mtod_offset(last, uint8_t*, last->data_len), here);
    last->data_len = static_cast<uint16_t>(last->data_len + here);
    bytes -= here;
    if (bytes == 0) return true;
    last->next = rte_pktmbuf_alloc(pool.mempool());
    if (last->next == nullptr) return false;
    last = last->next;
    ++segment->nb_segs;
  }
}

// The frame's headers, and what forwarding knows of them.
void copy_headers(rte_mbuf* segment, const rte_mbuf* frame) {
  const uint32_t headers = header_bytes(frame);
  std::memcpy(rte_pktmbuf_mtod(segment, void*), rte_pktmbuf_mtod(frame, const void*), headers);
  segment->data_len = static_cast<uint16_t>(headers);
  segment->pkt_len = headers;
  segment->port = frame->port;
  segment->packet_type = frame->packet_type;
  segment->l2_len = frame->l2_len;
  segment->l3_len = frame->l3_len;
  segment->l4_len = frame->l4_len;
}

// Makes copied headers those of segment number `index`, whose payload starts at byte `payload_at`
// of the frame's.
void settle_headers(rte_mbuf* segment, uint32_t index, uint32_t payload_at, bool last) {
  uint8_t* l3 = rte_pktmbuf_mtod_offset(segment, uint8_t*, segment->l2_len);
  const uint32_t l3_bytes = segment->pkt_len - segment->l2_len;
  if (RTE_ETH_IS_IPV4_HDR(segment->packet_type)) {
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(l3);
    ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(l3_bytes));
    ip->packet_id =
        rte_cpu_to_be_16(static_cast<uint16_t>(rte_be_to_cpu_16(ip->packet_id) + index));
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
  } else {
    auto* ip = reinterpret_cast<rte_ipv6_hdr*>(l3);
    ip->payload_len = rte_cpu_to_be_16(static_cast<uint16_t>(l3_bytes - sizeof *ip));
  }
  auto* tcp = reinterpret_cast<rte_tcp_hdr*>(l3 + segment->l3_len);
  tcp->sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(tcp->sent_seq) + payload_at);
  if (!last) tcp->tcp_flags &= static_cast<uint8_t>(~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG));
  if (index > 0) tcp->tcp_flags &= static_cast<uint8_t>(~RTE_TCP_CWR_FLAG);
  blank_checksum(segment);
}

}  // namespace

std::span<rte_mbuf*> cut(const rte_mbuf* frame, const FramePool& pool, Segments& segments) {
  const uint32_t count = segment_count(frame), headers = header_bytes(frame);
  NETBACK_CHECK(segmented(frame) && count <= segments.size());
  if (rte_pktmbuf_alloc_bulk(pool.mempool(), segments.data(), count) != 0) return {};
  ChainReader payload{frame, headers};
  uint32_t at = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t here = std::min<uint32_t>(frame->tso_segsz, frame->pkt_len - headers - at);
    copy_headers(segments[i], frame);
    if (!append(segments[i], payload, here, pool)) {
      rte_pktmbuf_free_bulk(segments.data(), count);
      return {};
    }
    settle_headers(segments[i], i, at, i + 1 == count);
    at += here;
  }
  return std::span(segments).first(count);
}

}  // namespace netback
