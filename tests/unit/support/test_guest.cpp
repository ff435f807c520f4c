#include "tests/unit/support/test_guest.hpp"

#include <algorithm>

namespace netback::test {

void make_siblings(const std::vector<GuestQueue*>& queues) {
  for (size_t i = 0; i < queues.size(); ++i) {
    queues[i]->vif = queues[0]->vif;
    queues[i]->number = static_cast<uint16_t>(i);
    queues[i]->siblings = queues;
  }
}

Bytes make_frame(const rte_ether_addr& to, const rte_ether_addr& from, size_t bytes, uint8_t seed) {
  Bytes frame(bytes);
  for (size_t i = 0; i < bytes; ++i) frame[i] = static_cast<uint8_t>(i * 7 + seed * 31);
  if (bytes >= 6) std::copy_n(to.addr_bytes, 6, frame.begin());
  if (bytes >= 12) std::copy_n(from.addr_bytes, 6, frame.begin() + 6);
  if (bytes >= 14) frame[12] = 0x88, frame[13] = 0xb5;  // local experimental ethertype
  return frame;
}

Bytes bytes_of(const rte_mbuf* frame) {
  Bytes bytes;
  for (const rte_mbuf* piece = frame; piece != nullptr; piece = piece->next) {
    const auto* data = rte_pktmbuf_mtod(piece, const uint8_t*);
    bytes.insert(bytes.end(), data, data + piece->data_len);
  }
  return bytes;
}

rte_mbuf* make_mbuf(FramePool& pool, const Bytes& bytes, uint32_t piece) {
  if (piece == 0) piece = FramePool::buffer_bytes;
  rte_mbuf* first = nullptr;
  rte_mbuf* last = nullptr;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    const size_t here = std::min<size_t>(piece, bytes.size() - at);
    rte_mbuf* buffer = rte_pktmbuf_alloc(pool.mempool());
    NETBACK_CHECK(buffer != nullptr);
    std::memcpy(rte_pktmbuf_append(buffer, static_cast<uint16_t>(here)), bytes.data() + at, here);
    if (first == nullptr) {
      first = buffer;
    } else {
      last->next = buffer;
      first->nb_segs = static_cast<uint16_t>(first->nb_segs + 1);
      first->pkt_len += static_cast<uint32_t>(here);
    }
    last = buffer;
  }
  return first;
}

rte_mbuf* make_large_mbuf(FramePool& pool, const Bytes& bytes) {
  rte_mbuf* buffer = rte_pktmbuf_alloc(pool.large_mempool());
  NETBACK_CHECK(buffer != nullptr);
  std::memcpy(rte_pktmbuf_append(buffer, static_cast<uint16_t>(bytes.size())), bytes.data(),
              bytes.size());
  return buffer;
}

std::unique_ptr<FramePool> make_pool(uint32_t buffers, uint32_t large_buffers) {
  static int serial = 0;
  return std::move(FramePool::make("test" + std::to_string(serial++), buffers, large_buffers))
      .value();
}

}  // namespace netback::test
