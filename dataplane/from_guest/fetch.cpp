#include "dataplane/from_guest/fetch.hpp"

#include <algorithm>

#include "dataplane/from_guest/chain.hpp"

namespace netback::from_guest {
namespace {

// A frame of 128 slots' worth cannot need more: frames are bounded by frame_bytes_max.
constexpr uint32_t buffers_max =
    limits::turn_slots_max * (netif::page_bytes / FramePool::buffer_bytes + 1);
// No frame has more large buffers than slots: one of two slots fits the first, wherever it begins.
static_assert(RTE_PKTMBUF_HEADROOM + FramePool::large_buffer_bytes - headroom_min >=
              3 * netif::page_bytes);

// What this turn's frames lie in. Frames that want large buffers have them all, or short ones all.
struct Buffers {
  std::array<rte_mbuf*, buffers_max> shorts;
  std::array<rte_mbuf*, limits::turn_slots_max> large;
  rte_mbuf* const* next_short = shorts.data();
  rte_mbuf* const* next_large = large.data();
  uint32_t large_count = 0;

  uint32_t shorts_wanted(const GuestFrame& frame) const {
    return large_count > 0 && wants_large(frame) ? 0 : buffers_wanted(frame);
  }
  rte_mbuf* frame_of(const FromGuestBatch& batch, const GuestFrame& frame, uint16_t source) {
    const bool in_large = large_count > 0 && wants_large(frame);
    const Chain chain = in_large ? large_chain(batch, frame) : short_chain(frame);
    rte_mbuf* const*& next = in_large ? next_large : next_short;
    rte_mbuf* made = make_chain(next, chain, source, frame.bytes);
    next += chain.count;
    return made;
  }
};

// Where the next bytes of a chain go; `at` of the whole chain to begin with.
struct ChainCursor {
  rte_mbuf* buffer;
  uint32_t at = 0;

  // Plans `bytes` bytes of a slot; false when the guest's side is out of bounds.
  bool add(CopyPlan& plan, uint32_t reference, uint32_t offset, uint32_t bytes) {
    while (bytes > 0) {
      while (at >= buffer->data_len) {
        at -= buffer->data_len;
        buffer = buffer->next;
      }
      const uint32_t here = std::min(bytes, uint32_t{buffer->data_len} - at);
      if (!plan.add(reference, offset, rte_pktmbuf_mtod_offset(buffer, uint8_t*, at), here))
        return false;
      at += here;
      offset += here;
      bytes -= here;
    }
    return true;
  }
};

// The first slot, or all that are behind it.
enum class Part { first_slot, rest };

// Adds to the frame's copies, which are the plan's last.
void plan_part(FromGuestBatch& batch, GuestFrame& frame, rte_mbuf* chain, Part part) {
  const FromGuestSlot* slots = &batch.slots[frame.first_slot];
  const auto& first = slots[0].request;
  const uint32_t first_bytes = first_slot_bytes(batch, frame);
  bool planned = true;
  if (part == Part::first_slot) {
    ChainCursor cursor{chain};
    planned = cursor.add(batch.copies, first.gref, first.offset, first_bytes);
  } else {
    ChainCursor cursor{chain, first_bytes};
    for (uint32_t i = 1 + frame.extra_count; i < frame.slot_count && planned; ++i) {
      const auto& slot = slots[i].request;
      planned = cursor.add(batch.copies, slot.gref, slot.offset, slot.size);
    }
  }
  NETBACK_CHECK(planned);  // decode checked the bounds, and the plan has room for a full batch
  frame.copy_count = static_cast<uint8_t>(batch.copies.count() - frame.first_copy);
}

void plan_frame(FromGuestBatch& batch, GuestFrame& frame, rte_mbuf* chain) {
  frame.first_copy = static_cast<uint16_t>(batch.copies.count());
  plan_part(batch, frame, chain, Part::first_slot);
  if (!frame.in_part) plan_part(batch, frame, chain, Part::rest);
}

// One of a stream's: behind its first slot are pages with nothing but payload.
bool may_go_directly(const FromGuestBatch& batch, const GuestFrame& frame, const rte_mbuf* chain) {
  return frame.gso() && frame.extra_count == 1 &&
         frame.slot_count - frame.extra_count >= int{limits::large_frame_slots} &&
         first_slot_bytes(batch, frame) <= chain->data_len;
}

// Most frames are one slot that fits one buffer.
bool is_short(const GuestFrame& frame) {
  return frame.slot_count == 1 + frame.extra_count && frame.bytes <= FramePool::buffer_bytes;
}

void plan_short(FromGuestBatch& batch, GuestFrame& frame, rte_mbuf* buffer, uint16_t source) {
  const auto& slot = batch.slots[frame.first_slot].request;
  FramePool::begin_frame(buffer, source, frame.bytes);
  frame.first_copy = static_cast<uint16_t>(batch.copies.count());
  NETBACK_CHECK(
      batch.copies.add(slot.gref, slot.offset, rte_pktmbuf_mtod(buffer, void*), frame.bytes));
  frame.copy_count = static_cast<uint8_t>(batch.copies.count() - frame.first_copy);
}

void pay(const FromGuestBatch& batch, const SlotRun& run, RateBudget& rate) {
  uint64_t bytes = 0;
  for (uint32_t f = 0; f < run.frame_count; ++f) bytes += batch.frames[run.first_frame + f].bytes;
  rate.spend(bytes, batch.now);
}

// Takes the slots of a run and plans the copies of its frames into the next buffers. How many slots
// the hypervisor has a part in.
uint32_t plan_run(FromGuestBatch& batch, SlotRun& run, Buffers& buffers) {
  if (run.frame_count > 0) batch.copies.begin_vif(run.queue->domain, run.queue->staging);
  const uint16_t source = source_of_vif(run.queue->vif, run.queue->number);
  const uint32_t staged_before = batch.copies.staged();
  uint32_t taken_slots = 0, copied_slots = 0;
  // Only what comes first may: it would overtake the frames before it.
  bool directly = run.queue->streams_to_guest && run.queue->staging == nullptr;
  for (uint32_t f = run.first_frame; f < uint32_t{run.first_frame} + run.frame_count; ++f) {
    GuestFrame& frame = batch.frames[f];
    taken_slots += frame.slot_count;
    if (!frame.good()) continue;
    if (is_short(frame)) [[likely]] {
      batch.mbufs[f] = *buffers.next_short++;
      plan_short(batch, frame, batch.mbufs[f], source);
      directly = false;
    } else {
      batch.mbufs[f] = buffers.frame_of(batch, frame, source);
      directly = directly && may_go_directly(batch, frame, batch.mbufs[f]);
      frame.in_part = directly;
      plan_frame(batch, frame, batch.mbufs[f]);
    }
    if (frame.copy_count > 0)
      copied_slots += frame.in_part ? 1u : frame.slot_count - uint32_t{frame.extra_count};
  }
  run.taken_slots = static_cast<uint16_t>(taken_slots);
  run.grant_copied = copied_slots > 0;
  if (const uint32_t staged = batch.copies.staged() - staged_before; staged > 0)
    run.queue->counters.add(QueueCounter::from_guest_staged_copies, staged);
  run.queue->from_guest.take(taken_slots);
  if (RateBudget* rate = run.queue->from_guest_rate.load(std::memory_order_relaxed)) [[unlikely]]
    pay(batch, run, *rate);
  return copied_slots;
}

// Large buffers for all frames that want them, or none; a quarter of all stays for frames to guests
// (and what ports may need, pool). What is needed of the others then.
uint32_t take_large(const FromGuestBatch& batch, FramePool& pool, Buffers& buffers) {
  if (batch.buffers_wanted <= batch.frame_count || pool.large_buffers() == 0) [[likely]]
    return batch.buffers_wanted;
  uint32_t large = 0, shorts = batch.buffers_wanted;
  for (uint32_t r = 0; r < batch.run_count; ++r) {
    const SlotRun& run = batch.runs[r];
    for (uint32_t f = run.first_frame; f < uint32_t{run.first_frame} + run.frame_count; ++f) {
      if (!wants_large(batch.frames[f])) continue;
      large += large_chain(batch, batch.frames[f]).count;
      shorts -= buffers_wanted(batch.frames[f]);
    }
  }
  NETBACK_CHECK(large <= buffers.large.size());
  if (large == 0 || pool.free_large_buffers_here() < large + pool.large_buffers() / 4 ||
      !pool.take_large(buffers.large.data(), large))
    return batch.buffers_wanted;
  buffers.large_count = large;
  return shorts;
}

// Leaves in the rings what there are no buffers for, run by run; the buffers that are needed then.
uint32_t shorten_to(FromGuestBatch& batch, const Buffers& taken, uint32_t buffers_max) {
  uint32_t buffers = 0;
  for (uint32_t r = 0; r < batch.run_count; ++r) {
    SlotRun& run = batch.runs[r];
    for (uint32_t f = 0; f < run.frame_count; ++f) {
      const GuestFrame& frame = batch.frames[run.first_frame + f];
      const uint32_t wanted = taken.shorts_wanted(frame);
      if (buffers + wanted > buffers_max) {
        run.frame_count = static_cast<uint16_t>(f);
        run.violation.reset();  // it lies behind frames that wait: seen again when they are taken
      } else {
        buffers += wanted;
      }
    }
  }
  return buffers;
}

void drop_if_failed(FromGuestBatch& batch, uint32_t f) {
  GuestFrame& frame = batch.frames[f];
  if (!frame.good() || batch.copies.ok(frame.first_copy, frame.copy_count)) return;
  frame.verdict = QueueCounter::from_guest_drop_copy_failed_frames;
  rte_pktmbuf_free(batch.mbufs[f]);
}

void drop_failed(FromGuestBatch& batch) {
  for (uint32_t r = 0; r < batch.run_count; ++r) {
    const SlotRun& run = batch.runs[r];
    for (uint32_t f = run.first_frame; f < uint32_t{run.first_frame} + run.frame_count; ++f)
      drop_if_failed(batch, f);
  }
}

void count_copies(FromGuestBatch& batch, uint32_t calls, uint32_t slots, WorkerCounters& counters) {
  counters.add(WorkerCounter::worker_from_guest_copy_calls, calls);
  counters.add(WorkerCounter::worker_from_guest_copy_slots, slots);
  for (uint32_t r = 0; r < batch.run_count; ++r) {
    if (!batch.runs[r].grant_copied) continue;
    batch.runs[r].queue->counters.add(QueueCounter::from_guest_copy_calls, calls);
    batch.runs[r].queue->counters.add(QueueCounter::from_guest_copy_slots, slots);
  }
}

}  // namespace

bool fetch(FromGuestBatch& batch, FramePool& pool, Grants& grants, WorkerCounters& counters) {
  if (batch.frame_count == 0) return true;
  NETBACK_CHECK(batch.buffers_wanted <= buffers_max);
  Buffers buffers;
  uint32_t wanted = take_large(batch, pool, buffers);
  bool enough = true;
  while (wanted > 0 && !pool.take(buffers.shorts.data(), wanted)) {
    enough = false;
    wanted = shorten_to(batch, buffers, std::min(wanted - 1, pool.free_buffers()));
  }
  uint32_t copied_slots = 0;
  for (uint32_t r = 0; r < batch.run_count; ++r)
    copied_slots += plan_run(batch, batch.runs[r], buffers);
  // Of frames that wait now.
  const uint32_t used = static_cast<uint32_t>(buffers.next_large - buffers.large.data());
  if (used < buffers.large_count) [[unlikely]]
    pool.give_back_large(&buffers.large[used], buffers.large_count - used);
  const uint32_t calls = batch.copies.run(grants);
  if (calls > 0) count_copies(batch, calls, copied_slots, counters);
  if (!batch.copies.all_ok()) drop_failed(batch);
  return enough;
}

void fetch_rest(FromGuestBatch& batch, const SlotRun& run, uint32_t first, Grants& grants,
                WorkerCounters& counters) {
  const uint32_t end = run.first_frame + run.frame_count;
  const auto waits = [&](uint32_t f) { return batch.frames[f].good() && batch.frames[f].in_part; };
  batch.copies.clear();
  batch.copies.begin_vif(run.queue->domain);
  uint32_t slots = 0;
  for (uint32_t f = first; f < end; ++f) {
    if (!waits(f)) continue;
    batch.frames[f].first_copy = static_cast<uint16_t>(batch.copies.count());
    plan_part(batch, batch.frames[f], batch.mbufs[f], Part::rest);
    slots += batch.frames[f].slot_count - batch.frames[f].extra_count - 1u;
  }
  const uint32_t calls = batch.copies.run(grants);
  counters.add(WorkerCounter::worker_from_guest_copy_calls, calls);
  counters.add(WorkerCounter::worker_from_guest_copy_slots, slots);
  run.queue->counters.add(QueueCounter::from_guest_copy_calls, calls);
  run.queue->counters.add(QueueCounter::from_guest_copy_slots, slots);
  for (uint32_t f = first; f < end; ++f) {
    if (!waits(f)) continue;
    batch.frames[f].in_part = false;
    drop_if_failed(batch, f);
  }
}

}  // namespace netback::from_guest
