#include "tests/unit/support/test_port.hpp"

#include <rte_eth_ring.h>
#include <rte_ethdev.h>

namespace netback::test {
namespace {

int serial = 0, ring_serial = 0;

rte_ring* make_ring(const char* kind, uint32_t entries) {
  const std::string name = std::string(kind) + std::to_string(ring_serial++);
  rte_ring* ring = rte_ring_create(name.c_str(), entries, SOCKET_ID_ANY, 0);
  NETBACK_CHECK(ring != nullptr);
  return ring;
}

}  // namespace

TestPort::TestPort(FramePool& pool, uint32_t sent_max, uint16_t pairs) : pool_(pool) {
  for (uint16_t pair = 0; pair < pairs; ++pair) {
    arriving_.push_back(make_ring("in", 1024));
    sent_.push_back(make_ring("out", sent_max + 1));
  }
  const std::string name = "port" + std::to_string(serial++);
  const int port =
      rte_eth_from_rings(name.c_str(), arriving_.data(), pairs, sent_.data(), pairs, 0);
  NETBACK_CHECK(port >= 0);
  queue.port = static_cast<uint16_t>(port);
  const rte_eth_conf configuration{};
  NETBACK_CHECK(rte_eth_dev_configure(queue.port, pairs, pairs, &configuration) == 0);
  begin(queue);
  std::vector<PortQueue*> by_worker{&queue};
  while (by_worker.size() < pairs) {
    PortQueue& pair = *others.emplace_back(std::make_unique<PortQueue>());
    pair.port = queue.port;
    pair.queue = pair.worker = static_cast<uint16_t>(others.size());
    begin(pair);
    by_worker.push_back(&pair);
  }
  NETBACK_CHECK(rte_eth_dev_start(queue.port) == 0);
  if (pairs == 1) return;
  for (PortQueue* pair : by_worker) pair->by_worker = by_worker;
}

void TestPort::begin(PortQueue& pair) {
  pair.device = pair.port;
  NETBACK_CHECK(rte_eth_rx_queue_setup(pair.port, pair.queue, 64, 0, nullptr, pool_.mempool()) ==
                0);
  NETBACK_CHECK(rte_eth_tx_queue_setup(pair.port, pair.queue, 64, 0, nullptr) == 0);
  pair.can.chains = true;
  pair.running = true;
}

TestPort::~TestPort() {
  void* frame;
  for (rte_ring* ring : arriving_)
    while (rte_ring_dequeue(ring, &frame) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
  for (uint16_t pair = 0; pair < sent_.size(); ++pair) sent_bytes(pair);
  rte_eth_dev_stop(queue.port);
  rte_eth_dev_close(queue.port);
  for (rte_ring* ring : arriving_) rte_ring_free(ring);
  for (rte_ring* ring : sent_) rte_ring_free(ring);
}

void TestPort::feed(rte_mbuf* frame, uint16_t pair) {
  NETBACK_CHECK(rte_ring_enqueue(arriving_[pair], frame) == 0);
}

rte_mbuf* TestPort::sent(uint16_t pair) {
  void* frame = nullptr;
  return rte_ring_dequeue(sent_[pair], &frame) == 0 ? static_cast<rte_mbuf*>(frame) : nullptr;
}

std::vector<Bytes> TestPort::sent_bytes(uint16_t pair) {
  std::vector<Bytes> all;
  while (rte_mbuf* frame = sent(pair)) {
    all.push_back(bytes_of(frame));
    rte_pktmbuf_free(frame);
  }
  return all;
}

}  // namespace netback::test
