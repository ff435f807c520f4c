#include "dataplane/departures.hpp"

#include <algorithm>

#include "dataplane/offload.hpp"

namespace netback {

void Departures::to_vif(const GuestQueue& first, std::span<rte_mbuf* const> row) {
  Crossing crossing{
      .frame = nullptr, .table = table_.serial(), .vif = first.vif, .to = Crossing::To::vif};
  for (rte_mbuf* frame : row) {
    crossing.frame = frame;
    put(first.worker, crossing);
  }
}

void Departures::to_port(const PortQueue& port, std::span<rte_mbuf* const> row) {
  Crossing crossing{.frame = nullptr, .table = table_.serial(), .to = Crossing::To::port};
  for (rte_mbuf* frame : row) {
    crossing.frame = frame;
    put(port.worker, crossing);
  }
}

size_t Departures::show_elsewhere(const ForwardTable::Crowd& crowd, rte_mbuf* frame,
                                  const GuestQueue* owner) {
  Crossing crossing{.frame = nullptr,
                    .table = table_.serial(),
                    .vif = owner != nullptr ? owner->vif : Crossing::no_vif,
                    .to = crowd.unfiltered ? Crossing::To::unfiltered : Crossing::To::all};
  crossing.vlan = crowd.vlan;
  size_t takers = 0;
  const auto takes = [owner](const GuestQueue* queue) { return queue != owner; };
  for (uint16_t to = 0; to < crowd.by_worker.size(); ++to) {
    if (to == worker_ || std::ranges::none_of(crowd.of(to), takes)) continue;
    takers += crowd.of(to).size();
    crossing.frame = for_another(frame);
    if (crossing.frame == nullptr)
      count_drop(frame);
    else
      put(to, crossing);
  }
  return takers;
}

// One that stands for several is cut by who gets it, and stays as it is for who gets it here: it is
// copied.
rte_mbuf* Departures::for_another(rte_mbuf* frame) const {
  if (segmented(frame)) [[unlikely]]
    return rte_pktmbuf_copy(frame, pool_.mempool(), 0, UINT32_MAX);
  if (checksum_blank(frame)) complete_checksum(frame);
  rte_pktmbuf_refcnt_update(frame, 1);
  return frame;
}

void Departures::put(uint16_t to, const Crossing& crossing) {
  if (crossing_->full(to)) send(to);
  crossing_->put(to, crossing);
}

void Departures::send_all() {
  for (uint16_t to = 0; to < crossing_->workers(); ++to)
    if (crossing_->keeps(to)) send(to);
}

void Departures::send(uint16_t to) {
  for (const Crossing& refused : crossing_->send(to)) {
    count_drop(refused.frame);
    rte_pktmbuf_free(refused.frame);
  }
}

void Departures::count_drop(const rte_mbuf* frame) const {
  if (from_vif(frame))
    return table_.source(frame)->counters.add(QueueCounter::from_guest_drop_crossing_frames);
  pair_here(*table_.segment(frame->port)->port)
      .counters.add(PortCounter::port_drop_crossing_frames);
}

}  // namespace netback
