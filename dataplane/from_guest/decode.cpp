#include "dataplane/from_guest/decode.hpp"

#include <algorithm>

namespace netback::from_guest {
namespace {

using Outcome = Decoded::Outcome;

constexpr Decoded whole{Outcome::frame, {}};

Decoded violation(Violation what) {
  return {Outcome::violation, what};
}

// The chain goes on where our copy ends.
Decoded cut_short(bool ends_at_producer, Violation what) {
  return ends_at_producer ? violation(what) : Decoded{Outcome::partial, {}};
}

bool crosses_page(const netif::FromGuestRequest& slot, uint32_t bytes) {
  return slot.offset + bytes > netif::page_bytes;
}

// The extra-info slots behind the first one: checks them and notes what they ask for.
Decoded decode_extras(std::span<const FromGuestSlot> slots, bool ends_at_producer,
                      const VifSettings& settings, GuestFrame& frame) {
  bool more = true, asks_for_groups = false;
  while (more) {
    if (frame.extra_count == limits::extra_slots_max) return violation(Violation::too_many_extras);
    if (frame.slot_count == slots.size())
      return cut_short(ends_at_producer, Violation::missing_extra_info);
    const netif::ExtraInfo& extra = slots[frame.slot_count].extra;
    ++frame.slot_count;
    ++frame.extra_count;
    switch (extra.type) {
      case XEN_NETIF_EXTRA_TYPE_GSO:
        frame.gso_bytes = extra.u.gso.size;
        frame.gso_type = extra.u.gso.type;
        if (frame.gso_bytes == 0 || (frame.gso_type != XEN_NETIF_GSO_TYPE_TCPV4 &&
                                     frame.gso_type != XEN_NETIF_GSO_TYPE_TCPV6))
          return violation(Violation::bad_gso);
        if (!(frame.gso_type == XEN_NETIF_GSO_TYPE_TCPV4 ? settings.gso_tcpv4_offered
                                                         : settings.gso_tcpv6_offered))
          frame.verdict = QueueCounter::from_guest_drop_gso_not_offered_frames;
        break;
      case XEN_NETIF_EXTRA_TYPE_MCAST_ADD:
      case XEN_NETIF_EXTRA_TYPE_MCAST_DEL:
        asks_for_groups = true;
        break;
      case XEN_NETIF_EXTRA_TYPE_HASH:  // inspect looks at it once the frame is here
        break;
      default:
        return violation(Violation::bad_extra_type);
    }
    more = extra.flags & XEN_NETIF_EXTRA_FLAG_MORE;
  }
  if (asks_for_groups) frame.verdict = QueueCounter::from_guest_multicast_answered;
  return whole;
}

// The slots that carry the rest of the frame. `first_bytes` becomes the first fragment's size.
Decoded decode_further_slots(std::span<const FromGuestSlot> slots, bool ends_at_producer,
                             GuestFrame& frame, uint32_t& first_bytes) {
  uint32_t further = 0;
  bool more = true;
  while (more) {
    if (further == limits::further_slots_tolerated) return violation(Violation::too_many_slots);
    if (frame.slot_count == slots.size())
      return cut_short(ends_at_producer, Violation::unfinished_frame);
    const netif::FromGuestRequest& slot = slots[frame.slot_count].request;
    ++frame.slot_count;
    ++further;
    if (further > limits::further_slots_max && frame.good())
      frame.verdict = QueueCounter::from_guest_drop_too_many_slots_frames;
    // Buggy frontends overflow the 16-bit total of a frame of 64 KiB and more: drop, do not punish.
    if (slot.size > first_bytes && frame.good())
      frame.verdict = QueueCounter::from_guest_drop_size_mismatch_frames;
    first_bytes -= std::min<uint32_t>(slot.size, first_bytes);
    if (crosses_page(slot, slot.size)) return violation(Violation::crosses_page);
    if (slot.size > 0 && slot.gref < netif::first_reference && frame.good())
      frame.verdict = QueueCounter::from_guest_drop_bad_reference_frames;
    more = slot.flags & NETTXF_more_data;
  }
  return whole;
}

bool too_long(const GuestFrame& frame, const VifSettings& settings) {
  return !frame.gso() && frame.bytes > settings.frame_bytes_max + limits::vlan_tag_bytes;
}

// Frames that a GSO frame stands for, at most: how long its headers are is not known yet.
uint32_t segments_of(const GuestFrame& frame) {
  return (frame.bytes + frame.gso_bytes - 1u) / frame.gso_bytes;
}

uint8_t frame_flags(const netif::FromGuestRequest& first) {
  return static_cast<uint8_t>(first.flags & (NETTXF_csum_blank | NETTXF_data_validated));
}

}  // namespace

Decoded decode_frame(std::span<const FromGuestSlot> slots, bool ends_at_producer,
                     const VifSettings& settings, GuestFrame& frame) {
  const netif::FromGuestRequest& first = slots[0].request;
  frame = {};
  frame.slot_count = 1;
  frame.bytes = first.size;
  frame.flags = frame_flags(first);
  frame.verdict = QueueCounter::from_guest_frames;

  if (first.flags & NETTXF_extra_info) {
    const Decoded extras = decode_extras(slots, ends_at_producer, settings, frame);
    if (extras.outcome != Outcome::frame) return extras;
    // A multicast request is no frame: it is answered, and its more_data means nothing (as Linux).
    if (frame.asks_for_groups()) return whole;
  }
  uint32_t first_bytes = first.size;
  if (first.flags & NETTXF_more_data) {
    const Decoded rest = decode_further_slots(slots, ends_at_producer, frame, first_bytes);
    if (rest.outcome != Outcome::frame) return rest;
  }
  if (!frame.good()) return whole;
  // Only now, as Linux has it: a frame already refused is not judged by what its first slot became.
  if (first_bytes < limits::ethernet_header_bytes) {
    frame.verdict = QueueCounter::from_guest_drop_bad_size_frames;
  } else if (crosses_page(first, first_bytes)) {
    return violation(Violation::crosses_page);
  } else if (first.gref < netif::first_reference) {
    frame.verdict = QueueCounter::from_guest_drop_bad_reference_frames;
  } else if (too_long(frame, settings)) {
    frame.verdict = QueueCounter::from_guest_drop_too_long_frames;
  }
  return whole;
}

namespace {

// Most frames: one slot that says nothing else, has nothing to refuse and fits one buffer.
bool is_plain(const netif::FromGuestRequest& slot, const VifSettings& settings) {
  return (slot.flags & (NETTXF_extra_info | NETTXF_more_data)) == 0 &&
         slot.size >= limits::ethernet_header_bytes && !crosses_page(slot, slot.size) &&
         slot.gref >= netif::first_reference &&
         slot.size <= settings.frame_bytes_max + limits::vlan_tag_bytes &&
         slot.size <= FramePool::buffer_bytes;
}

// Any other frame of the run, from slot `at` on; whether there is one. A violation is noted.
bool decode_chain(FromGuestBatch& batch, SlotRun& run, uint32_t at, GuestFrame& frame) {
  const uint32_t end = run.first_slot + run.slot_count;
  const Decoded decoded =
      decode_frame({&batch.slots[at], end - at}, run.ends_at_producer, *run.queue->settings, frame);
  if (decoded.outcome == Outcome::violation) {
    run.violation = decoded.violation;
    run.violation_slot = run.queue->from_guest.next_slot() + at - run.first_slot;
  }
  return decoded.outcome == Outcome::frame;
}

void decode_run(FromGuestBatch& batch, uint32_t number) {
  SlotRun& run = batch.runs[number];
  const VifSettings& settings = *run.queue->settings;
  const uint32_t end = run.first_slot + run.slot_count;
  uint32_t count = batch.frame_count, buffers = 0, segments = 0;
  for (uint32_t at = run.first_slot; at < end; ++count) {
    GuestFrame& frame = batch.frames[count];
    const netif::FromGuestRequest& first = batch.slots[at].request;
    if (is_plain(first, settings)) [[likely]] {
      frame = {.run = static_cast<uint8_t>(number),
               .first_slot = static_cast<uint8_t>(at),
               .slot_count = 1,
               .bytes = first.size,
               .flags = frame_flags(first),
               .verdict = QueueCounter::from_guest_frames};
      at += 1;
      buffers += 1;
      continue;
    }
    if (!decode_chain(batch, run, at, frame)) break;
    if (frame.gso()) {
      segments += segments_of(frame);
      if (segments > limits::run_segments_max && count > batch.frame_count) break;
    }
    frame.run = static_cast<uint8_t>(number);
    frame.first_slot = static_cast<uint8_t>(at);
    at += frame.slot_count;
    buffers += buffers_wanted(frame);
  }
  run.first_frame = static_cast<uint16_t>(batch.frame_count);
  run.frame_count = static_cast<uint16_t>(count - batch.frame_count);
  batch.frame_count = count;
  batch.buffers_wanted += buffers;
}

}  // namespace

void decode(FromGuestBatch& batch) {
  for (uint32_t r = 0; r < batch.run_count; ++r) decode_run(batch, r);
}

}  // namespace netback::from_guest
