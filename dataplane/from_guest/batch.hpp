// What one turn holds of the guests' frames, from collect to respond. A stage is a function over
// it; each says what it fills in.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>

#include "dataplane/guest_queue.hpp"
#include "lib/dpdk/frame_pool.hpp"
#include "lib/xen/grants.hpp"

namespace netback {

// A request slot as copied out of the ring: an extra-info slot is another view of the same bytes.
union FromGuestSlot {
  netif::FromGuestRequest request;
  netif::ExtraInfo extra;
};
static_assert(sizeof(FromGuestSlot) == 12);

// Neighbouring slots of one queue.
struct SlotRun {
  GuestQueue* queue;
  uint16_t first_slot, slot_count;     // in slots; collect
  bool ends_at_producer;               // the guest published no more; collect
  uint16_t first_frame, frame_count;   // in frames; decode, shortened by fetch
  uint16_t taken_slots;                // what those frames took; fetch
  bool grant_copied;                   // the hypervisor had a part in it; fetch
  std::optional<Violation> violation;  // collect, decode
  uint32_t violation_slot;             // ring position
};

// One decoded frame before its bytes are here.
struct GuestFrame {
  uint8_t run;         // in runs
  uint8_t first_slot;  // in slots
  uint8_t slot_count;  // all of them: the first, its extra-info slots, the further ones
  uint8_t extra_count;
  uint16_t first_copy;  // in copies; fetch
  uint8_t copy_count;   // fetch
  uint8_t gso_type;     // XEN_NETIF_GSO_TYPE_*
  uint16_t bytes;       // of the whole frame
  uint16_t gso_bytes;   // payload of one segment
  uint8_t flags;        // NETTXF_* of the first slot
  bool in_part;         // fetch took its first slot alone; fetch, direct
  // from_guest_frames: a frame on its way. from_guest_multicast_answered: no frame but a request to
  // amend the vif's groups, which is done, or refused, as it is answered. Everything else: the
  // named drop.
  QueueCounter verdict;
  bool asks_for_groups() const { return verdict == QueueCounter::from_guest_multicast_answered; }
  bool good() const { return verdict == QueueCounter::from_guest_frames; }
  bool gso() const { return gso_type != XEN_NETIF_GSO_TYPE_NONE; }
};
static_assert(sizeof(GuestFrame) <= 16);

// Buffers that it needs: whole ones, the last one in part.
inline uint32_t buffers_wanted(const GuestFrame& frame) {
  constexpr uint32_t buffer_bytes = FramePool::buffer_bytes;
  return frame.good() ? (frame.bytes + buffer_bytes - 1) / buffer_bytes : 0;
}

struct FromGuestBatch {
  // A slot of 4 KiB fills at most three buffers, in part.
  static constexpr uint32_t copies_max = limits::turn_slots_max * 3;

  uint32_t run_count = 0, slot_count = 0, frame_count = 0;
  uint32_t buffers_wanted = 0;  // by the good frames; decode
  bool gathering = false;       // a queue has requests that wait for more; collect
  int64_t now = 0;              // TSC of the turn; collect
  // TSC at which the first of the queues that wait for their rates goes on; collect
  int64_t held_until = std::numeric_limits<int64_t>::max();
  std::array<SlotRun, limits::turn_runs_max> runs;
  std::array<FromGuestSlot, limits::turn_slots_max> slots;
  std::array<GuestFrame, limits::turn_slots_max> frames;
  std::array<rte_mbuf*, limits::turn_slots_max> mbufs;  // of frames[i], while it is good; fetch
  CopyPlan copies{CopyPlan::Direction::from_guest, copies_max};

  void clear() {
    run_count = slot_count = frame_count = buffers_wanted = 0;
    gathering = false;
    held_until = std::numeric_limits<int64_t>::max();
    copies.clear();
  }
};
static_assert(limits::turn_slots_max <= UINT8_MAX, "GuestFrame holds positions in a byte");

}  // namespace netback
