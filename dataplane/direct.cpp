#include "dataplane/direct.hpp"

#include <algorithm>
#include <span>

#include "dataplane/backlogs.hpp"
#include "dataplane/from_guest/chain.hpp"
#include "dataplane/from_guest/fetch.hpp"
#include "dataplane/from_guest/inspect.hpp"
#include "dataplane/offload.hpp"
#include "dataplane/queue_choice.hpp"
#include "dataplane/to_guest/copy.hpp"
#include "dataplane/to_guest/respond.hpp"

namespace netback {
namespace {

// Where the next bytes of a frame are: those of its first slot in our buffer, where they were
// checked, the others in the sender's pages.
class Source {
 public:
  Source(const FromGuestBatch& batch, const GuestFrame& frame, const rte_mbuf* mbuf)
      : domain_(batch.runs[frame.run].queue->domain),
        ours_(rte_pktmbuf_mtod(mbuf, uint8_t*)),
        ours_left_(from_guest::first_slot_bytes(batch, frame)),
        slot_(&batch.slots[frame.first_slot + 1u + frame.extra_count]) {}

  // Plans the next `bytes` bytes of the frame to that place of the guest's.
  bool plan(CopyPlan& copies, uint32_t reference, uint32_t offset, uint32_t bytes) {
    while (bytes > 0) {
      const auto& theirs = slot_->request;
      if (ours_left_ == 0 && at_ == theirs.size) {
        ++slot_;
        at_ = 0;
        continue;
      }
      const bool ours = ours_left_ > 0;
      const uint32_t here = std::min(bytes, ours ? ours_left_ : theirs.size - at_);
      const bool planned = ours ? copies.add(reference, offset, ours_, here)
                                : copies.add_between({domain_, theirs.gref, theirs.offset + at_},
                                                     reference, offset, here);
      if (!planned) return false;
      if (ours) {
        ours_ += here;
        ours_left_ -= here;
      } else {
        at_ += here;
      }
      offset += here;
      bytes -= here;
    }
    return true;
  }

 private:
  const uint16_t domain_;
  uint8_t* ours_;
  uint32_t ours_left_;
  const FromGuestSlot* slot_;
  uint32_t at_ = 0;  // in that slot
};

bool plan_delivery(const FromGuestBatch& batch, const GuestFrame& frame, ToGuestBatch& to_guest,
                   Delivery& delivery) {
  Source source(batch, frame, delivery.frame);
  delivery.first_copy = static_cast<uint16_t>(to_guest.copies.count());
  const auto plan = [&](uint32_t reference, uint32_t offset, uint32_t bytes) {
    return source.plan(to_guest.copies, reference, offset, bytes);
  };
  if (!plan_slots(to_guest, delivery, plan)) return false;
  delivery.copy_count = static_cast<uint16_t>(to_guest.copies.count() - delivery.first_copy);
  return true;
}

// One run's direct deliveries.
class Direct {
 public:
  Direct(FromGuestBatch& batch, const DirectWay& way, SlotRun& run)
      : batch_(batch),
        way_(way),
        to_guest_(way.to_guest),
        run_(run),
        sender_(*run.queue),
        end_(uint32_t{run.first_frame} + run.frame_count) {}

  Forwarded deliver() {
    to_guest_.clear();
    choose();
    if (to_guest_.delivery_count > 0) copy();
    const Forwarded delivered{to_guest_.delivery_count, bytes()};
    const uint32_t rest = hand_over();
    sender_.streams_to_guest = !any_in_part(rest);
    if (failed_) sender_.direct_after = limits::frames_after_failed_direct;
    if (!sender_.streams_to_guest)
      from_guest::fetch_rest(batch_, run_, rest, way_.grants, way_.counters);
    return delivered;
  }

  bool wanted() const { return any_in_part(run_.first_frame); }

 private:
  bool any_in_part(uint32_t first) const {
    const GuestFrame* frames = batch_.frames.data();
    return std::any_of(frames + first, frames + end_,
                       [](const GuestFrame& frame) { return frame.good() && frame.in_part; });
  }

  // Plans the deliveries, up to the first frame that is no such.
  void choose() {
    for (uint32_t f = run_.first_frame; f < end_; ++f) {
      const GuestFrame& frame = batch_.frames[f];
      if (!frame.good()) continue;
      if (!frame.in_part || !add(frame, batch_.mbufs[f])) return;
    }
  }

  bool add(const GuestFrame& frame, rte_mbuf* mbuf) {
    if (!inspected(frame, mbuf)) {
      failed_ = true;
      return false;
    }
    GuestQueue* const receiver = receiver_of(mbuf);
    if (receiver == nullptr || (receiver_ != nullptr && receiver != receiver_)) return false;
    if (!may_go_directly(sender_, *receiver, mbuf)) return false;
    if (receiver_ == nullptr) {
      receiver_ = receiver;
      posted_ =
          std::min(receiver->to_guest.available().value_or(0), limits::vif_to_guest_slots_max);
      to_guest_.copies.begin_vif(receiver->domain);
    }
    Delivery delivery = to_guest::delivery_of(*receiver, mbuf, posted_ - to_guest_.slot_count);
    if (to_guest_.slot_count + delivery.slot_count > posted_) return false;
    delivery.first_slot = static_cast<uint16_t>(to_guest_.slot_count);
    receiver->to_guest.copy_out(
        to_guest_.slot_count,
        std::span(&to_guest_.slots[to_guest_.slot_count], delivery.slot_count));
    if (!plan_delivery(batch_, frame, to_guest_, delivery)) {
      failed_ = true;
      return false;
    }
    to_guest_.slot_count += delivery.slot_count;
    to_guest_.deliveries[to_guest_.delivery_count++] = delivery;
    return true;
  }

  // Its headers lie in what is here of it, or nobody may look at them yet: behind it is what was in
  // the buffer before.
  bool inspected(const GuestFrame& frame, rte_mbuf* mbuf) const {
    const auto here = static_cast<uint16_t>(from_guest::first_slot_bytes(batch_, frame));
    return headers_within(*mbuf, here) &&
           from_guest::inspect_frame(mbuf, frame, *sender_.settings) ==
               QueueCounter::from_guest_frames &&
           segmented(mbuf);
  }

  // The one other guest's queue that gets the frame, nobody else seeing it (forward); null: there
  // are more, or none, or it is another worker's.
  GuestQueue* receiver_of(const rte_mbuf* mbuf) const {
    const ForwardTable::Segment* segment = way_.table.segment_of_vif(sender_.vif);
    if (segment == nullptr || !segment->vlans.empty() || !segment->unfiltered.empty())
      return nullptr;
    const auto& to = rte_pktmbuf_mtod(mbuf, const rte_ether_hdr*)->dst_addr;
    GuestQueue* const owner =
        rte_is_multicast_ether_addr(&to) ? nullptr : way_.table.find(*segment, to);
    const bool other_here =
        owner != nullptr && owner != &sender_.first_of_vif() && owner->worker == sender_.worker;
    return other_here ? &choose_queue(*owner, mbuf) : nullptr;
  }

  // Afterwards the deliveries are those before the first that failed.
  void copy() {
    const uint32_t calls = to_guest_.copies.run(way_.grants);
    uint32_t slots = 0, d = 0;
    for (; d < to_guest_.delivery_count; ++d) {
      const Delivery& delivery = to_guest_.deliveries[d];
      if (!to_guest_.copies.ok(delivery.first_copy, delivery.copy_count)) break;
      slots += delivery.slot_count;
    }
    failed_ |= d < to_guest_.delivery_count;
    to_guest_.delivery_count = d;
    to_guest_.slot_count = slots;
    to_guest::count_copies(to_guest_, calls, way_.counters);
  }

  uint64_t bytes() const {
    uint64_t sum = 0;
    for (uint32_t d = 0; d < to_guest_.delivery_count; ++d)
      sum += to_guest_.deliveries[d].frame->pkt_len;
    return sum;
  }

  // The receiver gets the deliveries, which leave the batch. The first frame that is not one.
  uint32_t hand_over() {
    const uint32_t count = to_guest_.delivery_count;
    uint32_t f = run_.first_frame;
    for (uint32_t d = 0; d < count; ++f) {
      if (!batch_.frames[f].good()) continue;
      batch_.frames[f].in_part = false;
      receiver_->backlog.push(batch_.mbufs[f]);  // respond takes it from there
      batch_.mbufs[f] = nullptr;
      ++d;
    }
    if (count > 0) {
      receiver_->to_guest.take(to_guest_.slot_count);
      to_guest::respond(to_guest_, way_.backlogged, way_.events, way_.now);
      sender_.counters.add(QueueCounter::from_guest_direct_frames, count);
      sender_.first_of_vif().debt_slots += count;  // as what forward gives to another guest
    }
    return f;
  }

  FromGuestBatch& batch_;
  const DirectWay& way_;
  ToGuestBatch& to_guest_;
  SlotRun& run_;
  GuestQueue& sender_;
  const uint32_t end_;
  GuestQueue* receiver_ = nullptr;
  uint32_t posted_ = 0;  // slots of it that may be taken
  bool failed_ = false;  // something that more buffers would not have helped
};

}  // namespace

bool may_go_directly(const GuestQueue& sender, const GuestQueue& receiver, const rte_mbuf* frame) {
  return sender.settings->vlan == 0 && receiver.backlog.count() == 0 && !receiver.quarantined &&
         receiver.staging == nullptr &&
         receiver.to_guest_rate.load(std::memory_order_relaxed) == nullptr &&
         takes_segmented(*receiver.settings, frame) && !too_long(receiver, frame) &&
         to_guest::takes_blank(*receiver.settings, frame);
}

Forwarded deliver_directly(FromGuestBatch& batch, const DirectWay& way) {
  Forwarded delivered;
  for (uint32_t r = 0; r < batch.run_count; ++r) {
    if (!batch.runs[r].queue->streams_to_guest) [[likely]]
      continue;
    Direct direct(batch, way, batch.runs[r]);
    if (direct.wanted()) delivered += direct.deliver();
  }
  return delivered;
}

}  // namespace netback
