#include "tests/unit/support/test_port.hpp"

#include <rte_eth_ring.h>
#include <rte_ethdev.h>

namespace netback::test {
namespace {

int serial = 0;

rte_ring* make_ring(const char* kind, uint32_t entries) {
  const std::string name = std::string(kind) + std::to_string(serial);
  rte_ring* ring = rte_ring_create(name.c_str(), entries, SOCKET_ID_ANY, 0);
  NETBACK_CHECK(ring != nullptr);
  return ring;
}

}  // namespace

TestPort::TestPort(FramePool& pool, uint32_t sent_max)
    : pool_(pool), arriving_(make_ring("in", 1024)), sent_(make_ring("out", sent_max + 1)) {
  const std::string name = "port" + std::to_string(serial++);
  const int port = rte_eth_from_rings(name.c_str(), &arriving_, 1, &sent_, 1, 0);
  NETBACK_CHECK(port >= 0);
  queue.port = queue.device = static_cast<uint16_t>(port);
  const rte_eth_conf configuration{};
  NETBACK_CHECK(rte_eth_dev_configure(queue.port, 1, 1, &configuration) == 0);
  NETBACK_CHECK(rte_eth_rx_queue_setup(queue.port, 0, 64, 0, nullptr, pool.mempool()) == 0);
  NETBACK_CHECK(rte_eth_tx_queue_setup(queue.port, 0, 64, 0, nullptr) == 0);
  NETBACK_CHECK(rte_eth_dev_start(queue.port) == 0);
  queue.can.chains = true;
  queue.running = true;
}

TestPort::~TestPort() {
  void* frame;
  while (rte_ring_dequeue(arriving_, &frame) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
  sent_bytes();
  rte_eth_dev_stop(queue.port);
  rte_eth_dev_close(queue.port);
  rte_ring_free(arriving_);
  rte_ring_free(sent_);
}

void TestPort::feed(rte_mbuf* frame) {
  NETBACK_CHECK(rte_ring_enqueue(arriving_, frame) == 0);
}

rte_mbuf* TestPort::sent() {
  void* frame = nullptr;
  return rte_ring_dequeue(sent_, &frame) == 0 ? static_cast<rte_mbuf*>(frame) : nullptr;
}

std::vector<Bytes> TestPort::sent_bytes() {
  std::vector<Bytes> all;
  while (rte_mbuf* frame = sent()) {
    all.push_back(bytes_of(frame));
    rte_pktmbuf_free(frame);
  }
  return all;
}

}  // namespace netback::test
