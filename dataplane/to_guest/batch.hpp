// What one turn delivers to guests, from copy to respond.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "dataplane/guest_queue.hpp"
#include "lib/xen/grants.hpp"

namespace netback {

// The hash that goes with a frame; nothing when the guest wants none, or none of such a frame.
inline std::optional<FrameHash> hash_for(const GuestQueue& queue, const rte_mbuf* frame) {
  if (queue.hashing == nullptr) [[likely]]
    return std::nullopt;
  return queue.hashing->of(frame);
}
// Slots of extra info behind the frame's first: of segmentation, of its hash, in this order.
inline uint32_t extras_for(const rte_mbuf* frame, bool hashed) {
  return (segmented(frame) ? 1 : 0) + (hashed ? 1 : 0);
}
// Slots that a frame takes: its bytes in pages, and extra info.
inline uint32_t slots_for(const rte_mbuf* frame, bool hashed) {
  return (frame->pkt_len + netif::page_bytes - 1) / netif::page_bytes + extras_for(frame, hashed);
}

// A frame and the neighbouring slots of the guest that take it.
struct Delivery {
  GuestQueue* queue;
  rte_mbuf* frame;
  uint16_t first_slot, slot_count;  // in slots
  uint16_t first_copy, copy_count;  // in copies
  bool bad_reference;               // a slot was posted that nothing can be copied to
  uint8_t extra_count;              // of the slots, those of extra info
  bool hashed;
  uint8_t hash_type;  // FrameHash's, when it is
  uint32_t hash_value;

  // Whether slot number `i` carries extra info in the place of its request.
  bool is_extra_slot(uint32_t i) const { return i >= 1 && i <= extra_count; }
};

static_assert(sizeof(Delivery) == 32);

struct ToGuestBatch {
  // A slot's bytes come from as many pieces as the frame's chain has there; ours hold 2 KiB.
  static constexpr uint32_t copies_max = limits::turn_to_guest_slots_max * 4;

  struct Violator {
    GuestQueue* queue;
    uint32_t slot;  // ring position
  };

  uint32_t delivery_count = 0, slot_count = 0, violator_count = 0;
  std::array<Delivery, limits::turn_to_guest_slots_max> deliveries;
  std::array<netif::ToGuestRequest, limits::turn_to_guest_slots_max> slots;
  std::array<Violator, limits::turn_to_guest_slots_max> violators;  // of impossible_producer
  CopyPlan copies{CopyPlan::Direction::to_guest, copies_max};
  uint32_t cursor = 0;  // the place in Backlogged at which the next turn starts

  void clear() {
    delivery_count = slot_count = violator_count = 0;
    copies.clear();
  }
};

}  // namespace netback
