#include "dataplane/from_guest/inspect.hpp"

#include <rte_ether.h>

#include <cstring>

#include "dataplane/offload.hpp"
#include "dataplane/vlan.hpp"

namespace netback::from_guest {
namespace {

// A frame to be segmented is as long as the vif's frames may be once it is cut, and its checksum is
// blank even if the guest forgot to say so (as Linux's rx_gso_checksum_fixup).
QueueCounter inspect_gso(rte_mbuf* mbuf, const GuestFrame& frame, const VifSettings& settings) {
  if (!mark_segmented(mbuf, frame.gso_type == XEN_NETIF_GSO_TYPE_TCPV4, frame.gso_bytes))
    return QueueCounter::from_guest_drop_bad_headers_frames;
  if (longer_than(mbuf, settings.frame_bytes_max))
    return QueueCounter::from_guest_drop_too_long_frames;
  if (segmented(mbuf) && segment_count(mbuf) > limits::segments_max)
    return QueueCounter::from_guest_drop_too_many_segments_frames;
  return QueueCounter::from_guest_frames;
}

// Sets the frame's flags; the verdict: from_guest_frames or a drop.
QueueCounter inspect_headers(rte_mbuf* mbuf, const GuestFrame& frame, const VifSettings& settings) {
  const auto* ethernet = rte_pktmbuf_mtod(mbuf, const rte_ether_hdr*);
  if (settings.vlan != 0 && has_vlan_tag(mbuf)) [[unlikely]]
    return QueueCounter::from_guest_drop_tagged_frames;
  if (!frame.gso() && longer_than(mbuf, settings.frame_bytes_max))
    return QueueCounter::from_guest_drop_too_long_frames;
  if (settings.lock_mac && !rte_is_same_ether_addr(&ethernet->src_addr, &settings.mac))
    return QueueCounter::from_guest_drop_source_address_frames;
  if (frame.gso()) [[unlikely]]
    return inspect_gso(mbuf, frame, settings);
  if (frame.flags & NETTXF_csum_blank) {
    if (!parse_headers(mbuf)) return QueueCounter::from_guest_drop_bad_headers_frames;
    set_checksum_state(mbuf, RTE_MBUF_F_RX_L4_CKSUM_NONE);
  } else if (frame.flags & NETTXF_data_validated) {
    set_checksum_state(mbuf, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  }
  return QueueCounter::from_guest_frames;
}

// The sender's hash goes with the frame (frame.hpp). False: there is none, or of no algorithm or
// kind of hash that there is, which is no fault of the frame.
bool note_hash(rte_mbuf* mbuf, std::span<const FromGuestSlot> extras) {
  bool noted = false;
  for (const FromGuestSlot& slot : extras) {
    const auto& hash = slot.extra.u.hash;
    if (slot.extra.type != XEN_NETIF_EXTRA_TYPE_HASH ||
        hash.algorithm != XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ ||
        hash.type > _XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP)
      continue;
    uint32_t value;
    std::memcpy(&value, hash.value, sizeof value);
    mbuf->hash.rss = rte_le_to_cpu_32(value);
    mbuf->ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
    noted = true;
  }
  return noted;
}

}  // namespace

// The addresses come last: only now a frame that stands for several says how long it is.
QueueCounter inspect_frame(rte_mbuf* mbuf, const GuestFrame& frame, const VifSettings& settings) {
  const QueueCounter verdict = inspect_headers(mbuf, frame, settings);
  if (settings.addresses == nullptr) [[likely]]
    return verdict;
  if (verdict == QueueCounter::from_guest_frames && !settings.addresses->allow(mbuf))
    return QueueCounter::from_guest_drop_source_ip_frames;
  return verdict;
}

void inspect(FromGuestBatch& batch, FrameBatch& frames) {
  for (uint32_t r = 0; r < batch.run_count; ++r) {
    const SlotRun& run = batch.runs[r];
    const uint16_t vlan = run.queue->settings->vlan;
    uint64_t good_frames = 0, good_bytes = 0, gso_frames = 0, fixups = 0, hashed_frames = 0;
    for (uint32_t f = run.first_frame; f < uint32_t{run.first_frame} + run.frame_count; ++f) {
      GuestFrame& frame = batch.frames[f];
      if (!frame.good()) continue;
      if (rte_mbuf* const mbuf = batch.mbufs[f]; mbuf != nullptr) [[likely]] {
        frame.verdict = inspect_frame(mbuf, frame, *run.queue->settings);
        if (!frame.good()) {
          rte_pktmbuf_free(mbuf);
          continue;
        }
        const FromGuestSlot* extras = &batch.slots[frame.first_slot + 1u];
        if (frame.extra_count > 0) [[unlikely]]
          hashed_frames += note_hash(mbuf, {extras, frame.extra_count});
        NETBACK_CHECK(!frame.in_part);  // behind its first slot is what was there before
        frames.push(mbuf);
        if (vlan != 0) [[unlikely]]
          push_vlan(mbuf, vlan);
      }
      ++good_frames;
      good_bytes += frame.bytes;
      gso_frames += frame.gso();
      fixups += frame.gso() && !(frame.flags & NETTXF_csum_blank);
    }
    run.queue->counters.add(QueueCounter::from_guest_frames, good_frames);
    run.queue->counters.add(QueueCounter::from_guest_bytes, good_bytes);
    if (hashed_frames > 0)
      run.queue->counters.add(QueueCounter::from_guest_hashed_frames, hashed_frames);
    if (gso_frames == 0) continue;
    run.queue->counters.add(QueueCounter::from_guest_gso_frames, gso_frames);
    run.queue->counters.add(QueueCounter::from_guest_gso_checksum_fixups, fixups);
  }
}

}  // namespace netback::from_guest
