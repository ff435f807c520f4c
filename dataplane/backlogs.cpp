#include "dataplane/backlogs.hpp"

#include <algorithm>

#include "dataplane/segment.hpp"
#include "dataplane/to_guest/batch.hpp"

namespace netback {
namespace {

void join_or_drop(GuestQueue& queue, rte_mbuf* frame, QueueCounter verdict) {
  if (verdict != QueueCounter::to_guest_frames) return drop(frame, queue.counters, verdict);
  queue.backlog.push(frame);
}

// What one queue of several may hold of what its vif may: of one half each has its part, so that
// a queue that nobody empties leaves the others some; the other half is for who needs more.
uint32_t queue_part(const GuestQueue& queue, uint32_t vif_max, uint32_t (Backlog::*held)() const) {
  const auto own = static_cast<uint32_t>(vif_max / 2 / queue.siblings.size());
  uint32_t common = vif_max / 2;
  for (const GuestQueue* other : queue.siblings) {
    if (other == &queue) continue;
    const uint32_t beyond = std::max((other->backlog.*held)(), own) - own;
    common -= std::min(common, beyond);
  }
  return own + common;
}

}  // namespace

bool takes_segmented(const VifSettings& settings, const rte_mbuf* frame) {
  if (vlan_tagged(frame)) return false;
  return RTE_ETH_IS_IPV4_HDR(frame->packet_type) ? settings.takes_gso_tcpv4
                                                 : settings.takes_gso_tcpv6;
}

bool too_long(const GuestQueue& queue, const rte_mbuf* frame) {
  const VifSettings& settings = *queue.settings;
  if (!settings.takes_chains && wire_bytes(frame) > netif::page_bytes - xdp_headroom(queue))
    return true;
  return longer_than(frame, settings.frame_bytes_max);
}

uint32_t Backlogs::join(GuestQueue& queue, std::span<rte_mbuf* const> row) {
  uint32_t segments = 0;
  const Room room = room_of(queue);
  const uint32_t before = queue.backlog.count();
  if (before == 0) queue.to_guest.prefetch<true>(static_cast<uint32_t>(row.size()));
  for (rte_mbuf* frame : row) {
    if (segmented(frame) && !takes_segmented(*queue.settings, frame)) [[unlikely]]
      segments += join_cut(queue, frame, room);
    else
      join_or_drop(queue, frame, refusal_or_rate(queue, frame, room));
  }
  if (queue.backlog.count() == before) return segments;
  if (before == 0) queue.backlog_since = now_;
  if (!queue.in_backlogged) backlogged_.add(queue);
  return segments;
}

// Why the queue takes none of the frame; to_guest_frames: it takes it.
QueueCounter Backlogs::refusal(const GuestQueue& queue, const rte_mbuf* frame, const Room& room) {
  if (too_long(queue, frame)) [[unlikely]]
    return QueueCounter::to_guest_drop_too_long_frames;
  if (queue.quarantined) [[unlikely]]
    return QueueCounter::to_guest_drop_detached_frames;
  if (!room.in(queue.backlog, frame)) return QueueCounter::to_guest_drop_backlog_full_frames;
  return QueueCounter::to_guest_frames;
}

// The same, of a frame that is to be paid for.
QueueCounter Backlogs::refusal_or_rate(GuestQueue& queue, const rte_mbuf* frame, const Room& room) {
  const QueueCounter verdict = refusal(queue, frame, room);
  RateBudget* rate = queue.to_guest_rate.load(std::memory_order_relaxed);
  if (rate == nullptr || verdict != QueueCounter::to_guest_frames) [[likely]]
    return verdict;
  return rate->take(frame->pkt_len, static_cast<int64_t>(now_))
             ? verdict
             : QueueCounter::to_guest_drop_rate_frames;
}

// For a guest that does not segment. Nothing is cut for one that takes none of it; it is paid for
// whole.
uint32_t Backlogs::join_cut(GuestQueue& queue, rte_mbuf* frame, const Room& room) {
  const QueueCounter verdict = refusal_or_rate(queue, frame, room);
  if (verdict != QueueCounter::to_guest_frames) {
    drop(frame, queue.counters, verdict);
    return 0;
  }
  Segments segments;
  const auto parts = cut(frame, pool_, segments);
  if (parts.empty()) {
    drop(frame, queue.counters, QueueCounter::to_guest_drop_no_buffer_frames);
    return 0;
  }
  rte_pktmbuf_free(frame);
  queue.counters.add(QueueCounter::to_guest_cut_frames);
  for (rte_mbuf* part : parts) join_or_drop(queue, part, refusal(queue, part, room));
  return static_cast<uint32_t>(parts.size());
}

// Dead guests share what is free and never starve the living (design 4.7).
Backlogs::Room Backlogs::room_of(const GuestQueue& queue) {
  if (free_buffers_ == unknown) {
    free_buffers_ = pool_.free_buffers_here();
    free_large_buffers_ = pool_.free_large_buffers_here() * FramePool::large_weight;
  }
  const Room vif{std::min(queue.settings->backlog_frames_max, limits::backlog_frames_max),
                 std::min(limits::backlog_buffers_max, free_buffers_ / 2),
                 std::min(limits::backlog_buffers_max, free_large_buffers_ / 2)};
  if (queue.siblings.size() <= 1) [[likely]]
    return vif;
  // One frame at least: a queue without that much would never get any.
  return {std::max(1U, queue_part(queue, vif.frames, &Backlog::count)),
          queue_part(queue, vif.buffers, &Backlog::buffers),
          queue_part(queue, vif.large_buffers, &Backlog::buffers)};
}

}  // namespace netback
