#include "dataplane/to_guest/respond.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace netback::to_guest {
namespace {

// netif numbers these two flags the other way round than those of the from_guest ring.
uint16_t checksum_flags(const rte_mbuf* frame) {
  switch (checksum_state(frame)) {
    case RTE_MBUF_F_RX_L4_CKSUM_NONE:
      return NETRXF_csum_blank | NETRXF_data_validated;
    case RTE_MBUF_F_RX_L4_CKSUM_GOOD:
      return NETRXF_data_validated;
    default:
      return 0;
  }
}

// What the guest is to make of a frame that stands for several.
netif::ExtraInfo segmentation_info(const rte_mbuf* frame) {
  netif::ExtraInfo extra{};
  extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
  extra.u.gso.size = frame->tso_segsz;
  extra.u.gso.type =
      RTE_ETH_IS_IPV4_HDR(frame->packet_type) ? XEN_NETIF_GSO_TYPE_TCPV4 : XEN_NETIF_GSO_TYPE_TCPV6;
  return extra;
}

netif::ExtraInfo hash_info(const Delivery& delivery) {
  netif::ExtraInfo extra{};
  extra.type = XEN_NETIF_EXTRA_TYPE_HASH;
  extra.u.hash.type = delivery.hash_type;
  extra.u.hash.algorithm = XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ;
  const uint32_t value = rte_cpu_to_le_32(delivery.hash_value);
  std::memcpy(extra.u.hash.value, &value, sizeof value);
  return extra;
}

// How much of its pages the guest finds free: in Linux's own layout of this extra info.
netif::ExtraInfo headroom_info(uint16_t headroom) {
  netif::ExtraInfo extra{};
  extra.type = netif::extra_type_xdp;
  extra.u.pad[0] = headroom;
  return extra;
}

// Slot number `i`, in the order of extra_slots_for. It overlays a whole slot, the request's id with
// it (netif.h, "extra info").
netif::ToGuestResponse extra_info(const Delivery& delivery, uint32_t i) {
  uint32_t at = 1;
  netif::ExtraInfo extra;
  if (segmented(delivery.frame) && at++ == i)
    extra = segmentation_info(delivery.frame);
  else if (delivery.hashed() && at++ == i)
    extra = hash_info(delivery);
  else
    extra = headroom_info(delivery.headroom);
  if (i < delivery.extra_slots()) extra.flags = XEN_NETIF_EXTRA_FLAG_MORE;
  return std::bit_cast<netif::ToGuestResponse>(extra);
}

// Every slot of a frame that could not be copied is an ERROR of its own, never half a frame.
void answer_slots(const ToGuestBatch& batch, const Delivery& delivery, bool copied) {
  uint32_t left = delivery.frame->pkt_len;
  for (uint32_t i = 0; i < delivery.slot_count; ++i) {
    if (copied && delivery.is_extra_slot(i)) {
      delivery.queue->to_guest.answer(extra_info(delivery, i));
      continue;
    }
    netif::ToGuestResponse response{};
    response.id = batch.slots[delivery.first_slot + i].id;
    response.status = NETIF_RSP_ERROR;
    if (copied) {
      const uint32_t here = std::min(left, delivery.room(i));
      left -= here;
      response.offset = delivery.offset(i);
      response.status = static_cast<int16_t>(here);
      response.flags = i == 0 ? checksum_flags(delivery.frame) : 0;
      if (left > 0) response.flags |= NETRXF_more_data;
      if (i == 0 && delivery.extra_slots() > 0) response.flags |= NETRXF_extra_info;
    }
    delivery.queue->to_guest.answer(response);
  }
}

void answer_delivery(const ToGuestBatch& batch, const Delivery& delivery, bool copied) {
  if (delivery.slot_count != 1 || !copied) [[unlikely]]
    return answer_slots(batch, delivery, copied);
  delivery.queue->to_guest.answer({.id = batch.slots[delivery.first_slot].id,
                                   .offset = delivery.offset(0),
                                   .flags = checksum_flags(delivery.frame),
                                   .status = static_cast<int16_t>(delivery.frame->pkt_len)});
}

// Deliveries [first, end), all of one queue. Frames are freed together.
void finish(const ToGuestBatch& batch, uint32_t first, uint32_t end, uint64_t now) {
  GuestQueue& queue = *batch.deliveries[first].queue;
  std::array<rte_mbuf*, limits::turn_to_guest_slots_max> copied_frames;
  uint32_t frames = 0, buffers = 0;
  uint64_t bytes = 0, slots = 0, segmented_frames = 0, hashed_frames = 0;
  for (uint32_t d = first; d < end; ++d) {
    const Delivery& delivery = batch.deliveries[d];
    const bool copied =
        !delivery.bad_reference && batch.copies.ok(delivery.first_copy, delivery.copy_count);
    answer_delivery(batch, delivery, copied);
    slots += delivery.slot_count;
    buffers += FramePool::weight(delivery.frame);
    if (!copied) {
      drop(delivery.frame, queue.counters, QueueCounter::to_guest_drop_copy_failed_frames);
      continue;
    }
    bytes += delivery.frame->pkt_len;
    segmented_frames += segmented(delivery.frame);
    hashed_frames += delivery.hashed();
    copied_frames[frames++] = delivery.frame;
  }
  rte_pktmbuf_free_bulk(copied_frames.data(), frames);
  queue.backlog.pop(end - first, buffers);
  queue.backlog_since = now;
  queue.stalled.store(false, std::memory_order_relaxed);
  queue.counters.add(QueueCounter::to_guest_slots, slots);
  queue.counters.add(QueueCounter::to_guest_frames, frames);
  queue.counters.add(QueueCounter::to_guest_bytes, bytes);
  if (segmented_frames > 0) queue.counters.add(QueueCounter::to_guest_gso_frames, segmented_frames);
  if (hashed_frames > 0) queue.counters.add(QueueCounter::to_guest_hashed_frames, hashed_frames);
}

void publish(GuestQueue& queue, EventChannels& events) {
  NETBACK_CHECK(queue.to_guest.unanswered() == 0);
  if (!queue.to_guest.publish()) return;
  queue.counters.add(QueueCounter::to_guest_notifications);
  events.notify(queue.to_guest_port);
}

}  // namespace

void respond(ToGuestBatch& batch, Backlogged& backlogged, EventChannels& events, uint64_t now) {
  for (uint32_t first = 0, end = 0; first < batch.delivery_count; first = end) {
    GuestQueue* queue = batch.deliveries[first].queue;
    while (end < batch.delivery_count && batch.deliveries[end].queue == queue) ++end;
    finish(batch, first, end, now);
    publish(*queue, events);
  }
  backlogged.remove_if([](const GuestQueue& queue) { return queue.backlog.count() == 0; });
}

}  // namespace netback::to_guest
