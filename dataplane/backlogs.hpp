// Which frames join a vif's backlog: as many as it may hold, no longer than its guest takes, of
// those that its rate pays for; cut if the guest does not segment.
#pragma once

#include <span>

#include "dataplane/vif_places.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback {

// Whether the guest takes a frame that stands for several as it is. None takes it with a VLAN tag,
// as none takes a blank checksum there (to_guest/copy).
bool takes_segmented(const VifSettings& settings, const rte_mbuf* frame);
// Whether the frame is longer than the guest takes. Without feature-sg it takes one slot a frame: a
// page.
bool too_long(const GuestQueue& queue, const rte_mbuf* frame);

// Of one turn.
class Backlogs {
 public:
  // `backlogged` lists the queues that have one. `now`: TSC.
  Backlogs(const FramePool& pool, Backlogged& backlogged, uint64_t now)
      : pool_(pool), backlogged_(backlogged), now_(now) {}

  // Each frame waits for slots of this queue afterwards, or was dropped and counted there. How many
  // segments frames were cut into.
  uint32_t join(GuestQueue& queue, std::span<rte_mbuf* const> row);

 private:
  struct Room {
    // It joins while the backlog holds fewer of both; the weight by what it lies in itself.
    uint32_t frames, buffers, large_buffers;
    bool in(const Backlog& backlog, const rte_mbuf* frame) const {
      const uint32_t buffers_max = FramePool::in_large(frame) ? large_buffers : buffers;
      return backlog.count() < frames && backlog.buffers() < buffers_max;
    }
  };
  static QueueCounter refusal(const GuestQueue& queue, const rte_mbuf* frame, const Room& room);
  QueueCounter refusal_or_rate(GuestQueue& queue, const rte_mbuf* frame, const Room& room);
  uint32_t join_cut(GuestQueue& queue, rte_mbuf* frame, const Room& room);
  Room room_of(const GuestQueue& queue);

  static constexpr uint32_t unknown = UINT32_MAX;
  const FramePool& pool_;
  Backlogged& backlogged_;
  const uint64_t now_;
  // By weight; asked once a turn, and only when a frame waits.
  uint32_t free_buffers_ = unknown, free_large_buffers_ = 0;
};

}  // namespace netback
