#include "dataplane/from_guest/inspect.hpp"

#include <rte_ether.h>

#include "dataplane/offload.hpp"

namespace netback::from_guest {
namespace {

bool tagged(const rte_ether_hdr* ethernet) {
  return ethernet->ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN);
}

// Sets the frame's flags; the verdict: from_guest_frames or a drop.
QueueCounter inspect_frame(rte_mbuf* mbuf, const GuestFrame& frame, const VifSettings& settings) {
  const auto* ethernet = rte_pktmbuf_mtod(mbuf, const rte_ether_hdr*);
  if (mbuf->pkt_len > settings.frame_bytes_max && !tagged(ethernet))
    return QueueCounter::from_guest_drop_too_long_frames;
  if (settings.lock_mac && !rte_is_same_ether_addr(&ethernet->src_addr, &settings.mac))
    return QueueCounter::from_guest_drop_source_address_frames;
  if (frame.flags & NETTXF_csum_blank) {
    if (!parse_headers(mbuf)) return QueueCounter::from_guest_drop_bad_headers_frames;
    set_checksum_state(mbuf, RTE_MBUF_F_RX_L4_CKSUM_NONE);
  } else if (frame.flags & NETTXF_data_validated) {
    set_checksum_state(mbuf, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  }
  return QueueCounter::from_guest_frames;
}

}  // namespace

void inspect(FromGuestBatch& batch, FrameBatch& frames) {
  for (uint32_t r = 0; r < batch.run_count; ++r) {
    const SlotRun& run = batch.runs[r];
    uint64_t good_frames = 0, good_bytes = 0;
    for (uint32_t f = run.first_frame; f < uint32_t{run.first_frame} + run.frame_count; ++f) {
      GuestFrame& frame = batch.frames[f];
      if (!frame.good()) continue;
      rte_mbuf* mbuf = batch.mbufs[f];
      frame.verdict = inspect_frame(mbuf, frame, *run.queue->settings);
      if (!frame.good()) {
        rte_pktmbuf_free(mbuf);
        continue;
      }
      frames.push(mbuf);
      ++good_frames;
      good_bytes += mbuf->pkt_len;
    }
    run.queue->counters.add(QueueCounter::from_guest_frames, good_frames);
    run.queue->counters.add(QueueCounter::from_guest_bytes, good_bytes);
  }
}

}  // namespace netback::from_guest
