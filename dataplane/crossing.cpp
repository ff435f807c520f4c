#include "dataplane/crossing.hpp"

#include <fmt/core.h>
#include <rte_errno.h>

namespace netback {

std::span<const Crossing> CrossingEnd::send(uint16_t to) {
  Peer& peer = peers_[to];
  const std::span<const Crossing> kept(peer.kept.data(), std::exchange(peer.kept_count, 0));
  const uint32_t sent = rte_ring_sp_enqueue_burst_elem(peer.to, kept.data(), sizeof(Crossing),
                                                       static_cast<uint32_t>(kept.size()), nullptr);
  // Either it sees the frames in its last look before it sleeps, or we see here that it sleeps.
  rte_smp_mb();
  if (peer.end->sleeps_.load(std::memory_order_relaxed) &&
      peer.end->sleeps_.exchange(false, std::memory_order_relaxed))
    peer.end->mailbox_.wake_worker();
  return kept.subspan(sent);
}

std::span<const Crossing> CrossingEnd::take() {
  uint32_t count = 0;
  const size_t workers = peers_.size();
  for (size_t i = 0; i < workers && count < taken_.size(); ++i) {
    rte_ring* ring = peers_[(first_ + i) % workers].from;
    if (ring == nullptr) continue;
    count += rte_ring_sc_dequeue_burst_elem(ring, taken_.data() + count, sizeof(Crossing),
                                            static_cast<uint32_t>(taken_.size() - count), nullptr);
  }
  first_ = static_cast<uint16_t>((first_ + 1) % workers);
  return {taken_.data(), count};
}

void CrossingEnd::arm() {
  sleeps_.store(true, std::memory_order_relaxed);
  rte_smp_mb();
}

void CrossingEnd::disarm() {
  sleeps_.store(false, std::memory_order_relaxed);
}

Result<std::unique_ptr<Crossings>> Crossings::make(std::span<Mailbox* const> workers) {
  NETBACK_CHECK(workers.size() <= limits::workers_max);
  std::unique_ptr<Crossings> crossings(new Crossings);
  for (Mailbox* mailbox : workers) {
    const auto number = static_cast<uint16_t>(crossings->ends_.size());
    crossings->ends_.emplace_back(new CrossingEnd(number, *mailbox));
    crossings->ends_.back()->peers_.resize(workers.size());
  }
  for (const auto& from : crossings->ends_)
    for (const auto& to : crossings->ends_) {
      if (from == to) continue;
      if (Status status = crossings->connect(*from, *to); !status) return status.error();
    }
  return crossings;
}

Status Crossings::connect(CrossingEnd& from, CrossingEnd& to) {
  static std::atomic<uint32_t> serial = 0;  // DPDK wants a name for each
  rte_ring* ring = rte_ring_create_elem(fmt::format("crossing{}", serial++).c_str(),
                                        sizeof(Crossing), limits::crossing_ring_frames,
                                        SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  if (ring == nullptr)
    return Error{
        fmt::format("no memory for the rings between workers: {}", rte_strerror(rte_errno)),
        "raise memory-mb, or name fewer cpus in lcores"};
  from.peers_[to.worker_].to = ring;
  from.peers_[to.worker_].end = &to;
  to.peers_[from.worker_].from = ring;
  return Done{};
}

Crossings::~Crossings() {
  for (const auto& end : ends_)
    for (const CrossingEnd::Peer& peer : end->peers_) {
      if (peer.from == nullptr) continue;
      Crossing left;
      while (rte_ring_sc_dequeue_elem(peer.from, &left, sizeof left) == 0)
        rte_pktmbuf_free(left.frame);
      rte_ring_free(peer.from);
    }
}

}  // namespace netback
