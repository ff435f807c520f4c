// The queue pairs of a port: how many, what they are set up with, and whose they are.
#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <set>

#include "control/port.hpp"

namespace netback {
namespace {

constexpr uint16_t descriptors_wanted = 1024;  // of a port
constexpr uint16_t descriptors_min = 256;      // of a queue
constexpr uint16_t sent_at_once = 16;          // frames

}  // namespace

// As many as are wanted, unless the driver has fewer and nobody insists on them. A device that
// comes back needs as many as before: workers have them.
Status Port::make_pairs(uint16_t has) {
  if (has < device_.queue_pairs) {
    if (config_.queue_pairs || pairs_.size() > 1)
      return Error{fmt::format("port '{}': device '{}' has {} of {} queue pairs", config_.name,
                               config_.device, has, device_.queue_pairs),
                   "queue-pairs = 1"};
    device_.queue_pairs = 1;
  }
  while (pairs_.size() < device_.queue_pairs)
    pairs_.emplace_back(
        new PortQueue{.port = queue().port, .queue = static_cast<uint16_t>(pairs_.size())});
  return Done{};
}

Status Port::set_up_queues(FramePool& pool) {
  for (const auto& pair : pairs_)
    if (Status status = set_up_pair(pool, pair->queue); !status) return status;
  return Done{};
}

Status Port::set_up_pair(FramePool& pool, uint16_t number) {
  const uint16_t device = queue().device;
  const bool large = queue().can.large_buffers;
  rte_mempool* buffers = pool.mempool();
  // What one would have is for all, as far as there are bursts: each buffer is taken from the pool.
  const auto share = static_cast<uint16_t>(descriptors_wanted / pairs_.size());
  uint16_t received = std::max(share, descriptors_min), sent = received;
  if (large) {
    buffers = pool.large_mempool();
    received = large_receive_slots(pool.large_buffers(), device_.large_pairs);
  }
  int result = rte_eth_dev_adjust_nb_rx_tx_desc(device, &received, &sent);
  if (result != 0) return failed("takes no number of descriptors", result);
  queue().can.held_buffers_max = held_buffers_max(device_, sent);
  const unsigned socket = SOCKET_ID_ANY;
  result = rte_eth_rx_queue_setup(device, number, received, socket, nullptr, buffers);
  if (result != 0) return failed("cannot set up its receive queue", result);
  if (large && keeping_large_ == number) {
    ++keeping_large_;
    pool_ = &pool;
    keep_large(large_kept_ + received);
  }
  rte_eth_dev_info info{};
  rte_eth_dev_info_get(device, &info);
  rte_eth_txconf how = info.default_txconf;
  // What was sent is freed soon, not when its descriptors are needed: net_virtio would keep as many
  // large buffers as its ring has descriptors, and leave none to receive into.
  const uint16_t ring = virtio_ring_slots(device_);
  if (large && ring > 2 * sent_at_once)
    how.tx_free_thresh = static_cast<uint16_t>(ring - sent_at_once);
  result = rte_eth_tx_queue_setup(device, number, sent, socket, &how);
  if (result != 0) return failed("cannot set up its transmit queue", result);
  return Done{};
}

// What has been found out of the device. Two workers cannot wait for one interrupt, which the first
// would take from the other: a pair whose interrupt is another one's too has none.
void Port::tell_pairs() {
  std::set<int> taken;
  for (const auto& pair : pairs_) {
    pair->device = queue().device;
    pair->can = queue().can;
    const int fd = interrupts_ ? rte_eth_dev_rx_intr_ctl_q_get_fd(pair->device, pair->queue) : -1;
    pair->receive_fd = fd >= 0 && taken.insert(fd).second ? fd : -1;
  }
}

void Port::set_running(bool running) {
  for (const auto& pair : pairs_) pair->running.store(running, std::memory_order_release);
}

void Port::lend_to(uint16_t first, uint16_t workers) {
  NETBACK_CHECK(pairs_.size() == 1 || pairs_.size() == workers);
  std::vector<PortQueue*> by_worker(pairs_.size() > 1 ? workers : 0);
  for (const auto& pair : pairs_) {
    pair->worker = static_cast<uint16_t>((first + pair->queue) % workers);
    if (!by_worker.empty()) by_worker[pair->worker] = pair.get();
  }
  for (const auto& pair : pairs_) pair->by_worker = by_worker;
}

uint64_t Port::count(PortCounter counter) const {
  uint64_t sum = 0;
  for (const auto& pair : pairs_) sum += pair->counters.read(counter);
  return sum;
}

// Interrupts and hashes are help: without them it goes as well.
int Port::configure_without_refused(rte_eth_conf& wanted) {
  const auto configure = [&] {
    const uint16_t device = queue().device, count = device_.queue_pairs;
    wanted.intr_conf.rxq = interrupts_ = device_.quirks->receive_interrupt;
    const int result = rte_eth_dev_configure(device, count, count, &wanted);
    if (result == 0 || !interrupts_) return result;
    wanted.intr_conf.rxq = interrupts_ = false;
    return rte_eth_dev_configure(device, count, count, &wanted);
  };
  if (spread_.hash_types == 0) return configure();
  wanted.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
  wanted.rx_adv_conf.rss_conf.rss_hf = spread_.hash_types;
  const int result = configure();
  if (result == 0) return 0;
  spread_ = {.text = fmt::format("absent: the driver refuses it: {}", rte_strerror(-result))};
  wanted.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE;
  wanted.rx_adv_conf = {};
  return configure();
}

}  // namespace netback
