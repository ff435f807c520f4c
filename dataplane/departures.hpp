// Forwarding's way to the queues and ports of other workers.
#pragma once

#include <span>

#include "dataplane/crossing.hpp"
#include "dataplane/forward_table.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback {

// Of one turn. What does not get through is dropped and counted at its source, which is this
// worker's.
class Departures {
 public:
  // `crossing` null: there is no other worker, and everything is here.
  Departures(const ForwardTable& table, const FramePool& pool, CrossingEnd* crossing)
      : table_(table),
        pool_(pool),
        crossing_(crossing),
        worker_(crossing != nullptr ? crossing->worker() : uint16_t{0}) {}

  uint16_t worker() const { return worker_; }  // this one
  bool is_here(uint16_t worker) const { return crossing_ == nullptr || worker == worker_; }
  // The pair of a port's queues that is this worker's, or the only one.
  PortQueue& pair_here(PortQueue& port) const { return port.pair_of(worker_); }

  void to_vif(const GuestQueue& first, std::span<rte_mbuf* const> row);
  void to_port(const PortQueue& port, std::span<rte_mbuf* const> row);
  // To all of the crowd that are not here, but for `owner`: once to each worker that has some. The
  // frame stays the caller's; it is shared from here on, and its checksum is filled in before. How
  // many vifs those are.
  size_t show(const ForwardTable::Crowd& crowd, rte_mbuf* frame, const GuestQueue* owner) {
    if (crossing_ == nullptr) [[likely]]
      return 0;
    return show_elsewhere(crowd, frame, owner);
  }
  // What was put is on its way after this.
  void send() {
    if (crossing_ != nullptr) [[unlikely]]
      send_all();
  }

 private:
  size_t show_elsewhere(const ForwardTable::Crowd& crowd, rte_mbuf* frame, const GuestQueue* owner);
  rte_mbuf* for_another(rte_mbuf* frame) const;
  void put(uint16_t to, const Crossing& crossing);
  void send_all();
  void send(uint16_t to);
  void count_drop(const rte_mbuf* frame) const;

  const ForwardTable& table_;
  const FramePool& pool_;
  CrossingEnd* const crossing_;
  const uint16_t worker_;
};

}  // namespace netback
