// What one turn delivers to guests, from copy to respond.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "dataplane/guest_queue.hpp"
#include "lib/xen/grants.hpp"

namespace netback {

inline uint16_t xdp_headroom(const GuestQueue& queue) {
  return queue.xdp_headroom.load(std::memory_order_relaxed);
}
// The hash that goes with a frame; nothing when the guest wants none, or none of such a frame.
inline std::optional<FrameHash> hash_for(const GuestQueue& queue, const rte_mbuf* frame) {
  if (queue.hashing == nullptr) [[likely]]
    return std::nullopt;
  return queue.hashing->of(frame);
}
// Slots of extra info behind a frame's first: of segmentation, of its hash, of a guest's headroom,
// in this order.
inline uint32_t extra_slots_for(const rte_mbuf* frame, bool hashed, uint16_t headroom) {
  return (segmented(frame) ? 1u : 0u) + (hashed ? 1u : 0u) + (headroom > 0 ? 1u : 0u);
}
// All slots that a frame takes at least: its bytes in pages, behind `headroom` bytes of each, and
// extra info.
inline uint32_t slots_for(const rte_mbuf* frame, bool hashed, uint16_t headroom) {
  uint32_t pages = (frame->pkt_len + netif::page_bytes - 1) / netif::page_bytes;
  if (headroom > 0) [[unlikely]] {
    const uint32_t room = netif::page_bytes - headroom;
    pages = (frame->pkt_len + room - 1) / room;
  }
  return pages + extra_slots_for(frame, hashed, headroom);
}

// Linux's netfront takes this much of a frame out of its first slot, for the headers
// (RX_COPY_THRESHOLD), and trusts that they are there.
inline constexpr uint32_t first_slot_bytes_min = 256;
// Where in a page of ours the frame begins.
inline uint32_t place_in_page(const rte_mbuf* frame) {
  return reinterpret_cast<uintptr_t>(rte_pktmbuf_mtod(frame, uint8_t*)) % netif::page_bytes;
}
// All slots that the frame takes when it begins at that place of the guest's first page too. Pages
// of a frame in large buffers then end where the guest's do, and most are one operation for the
// hypervisor; otherwise each is two. 0: it had better not.
inline uint32_t aligned_slots_for(const rte_mbuf* frame, bool hashed, uint16_t headroom) {
  if (frame->pkt_len <= netif::page_bytes || headroom > 0 || !FramePool::in_large(frame)) [[likely]]
    return 0;
  const uint32_t place = place_in_page(frame);
  if (netif::page_bytes - place < first_slot_bytes_min) return 0;
  return (place + frame->pkt_len + netif::page_bytes - 1) / netif::page_bytes +
         extra_slots_for(frame, hashed, headroom);
}

// Short frames begin at so many different lines of the guest's pages: all at the pages' beginnings,
// they would have a few sets of each cache to themselves, and push each other out of it.
inline constexpr uint32_t begin_lines = 32;
inline constexpr uint32_t line_bytes = 64;
inline constexpr uint32_t spread_frame_bytes_max =
    netif::page_bytes - (begin_lines - 1) * line_bytes;

// A frame and the neighbouring slots of the guest that take it.
struct Delivery {
  GuestQueue* queue;
  rte_mbuf* frame;
  uint16_t first_slot, slot_count;  // in slots
  uint16_t first_copy, copy_count;  // in copies
  uint16_t headroom;                // of each page
  bool bad_reference : 1;           // a slot was posted that nothing can be copied to
  bool aligned : 1;                 // aligned_slots_for
  uint8_t begin_line : 5;           // of the page; not 0 in one slot without headroom alone
  uint8_t hash_type;                // FrameHash's, or no_hash
  uint32_t hash_value;

  static constexpr uint8_t no_hash = UINT8_MAX;
  bool hashed() const { return hash_type != no_hash; }
  uint32_t extra_slots() const { return extra_slots_for(frame, hashed(), headroom); }
  // Whether slot number `i` carries extra info in the place of its request: those behind the first.
  bool is_extra_slot(uint32_t i) const { return i >= 1 && i <= extra_slots(); }
  // Of slot number `i`: where its bytes begin in the guest's page, and how many it has room for.
  uint16_t offset(uint32_t i) const {
    if (aligned && i == 0) return static_cast<uint16_t>(place_in_page(frame));
    return static_cast<uint16_t>(headroom + begin_line * line_bytes);
  }
  uint32_t room(uint32_t i) const { return netif::page_bytes - offset(i); }
};
// The longest that a port hands out, of a guest with the most headroom, still fits a turn.
static_assert((limits::frame_bytes_max + 18) / (netif::page_bytes - netif::xdp_headroom_max) + 4 <=
              limits::vif_to_guest_slots_max);
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

// Has plan(reference, offset, bytes) plan what each slot of the delivery gets of its frame, in
// order; false when it did for one, the last then.
template <class Plan>
bool plan_slots(const ToGuestBatch& batch, const Delivery& delivery, Plan plan) {
  uint32_t left = delivery.frame->pkt_len;
  for (uint32_t i = 0; i < delivery.slot_count; ++i) {
    if (delivery.is_extra_slot(i)) continue;
    const uint32_t here = std::min(left, delivery.room(i));
    if (!plan(batch.slots[delivery.first_slot + i].gref, delivery.offset(i), here)) return false;
    left -= here;
  }
  return true;
}

}  // namespace netback
