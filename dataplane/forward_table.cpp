#include "dataplane/forward_table.hpp"

#include <fmt/core.h>
#include <rte_errno.h>
#include <rte_jhash.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace netback {
namespace {

uint64_t key_of(uint16_t segment, const rte_ether_addr& address) {
  uint64_t key = 0;
  std::memcpy(&key, address.addr_bytes, RTE_ETHER_ADDR_LEN);
  return key | uint64_t{segment} << 48;
}

rte_hash* make_hash(size_t entries) {
  static std::atomic<uint32_t> serial = 0;  // DPDK wants a name for each
  const std::string name = fmt::format("fwd{}", serial++);
  rte_hash_parameters parameters{};
  parameters.name = name.c_str();
  parameters.entries = static_cast<uint32_t>(std::max<size_t>(entries * 2, 64));
  parameters.key_len = sizeof(uint64_t);
  parameters.hash_func = rte_jhash;
  parameters.socket_id = SOCKET_ID_ANY;
  return rte_hash_create(&parameters);
}

}  // namespace

Result<std::unique_ptr<ForwardTable>> ForwardTable::make(const std::vector<PortQueue*>& ports,
                                                         const std::vector<Vif>& vifs,
                                                         uint32_t serial) {
  std::unique_ptr<ForwardTable> table(new ForwardTable);
  table->serial_ = serial;
  for (PortQueue* port : ports) {
    table->segments_[port->port].number = port->port;
    table->segments_[port->port].port = port;
  }
  table->addresses_ = make_hash(vifs.size());
  if (table->addresses_ == nullptr)
    return Error{fmt::format("no memory for the forwarding table: {}", rte_strerror(rte_errno))};
  for (const Vif& vif : vifs) {
    NETBACK_CHECK(vif.queue->vif < limits::vifs_max && vif.port < limits::ports_max);
    if (table->by_vif_.size() <= vif.queue->vif) table->by_vif_.resize(vif.queue->vif + 1);
    table->by_vif_[vif.queue->vif] = {vif.queue, vif.port, vif.since};
    Segment& segment = table->segment_for(vif);
    segment.vifs.add(vif.queue);
    if (!vif.filtered) segment.unfiltered.add(vif.queue);
    const uint64_t key = key_of(segment.number, vif.mac);
    if (rte_hash_add_key_data(table->addresses_, &key, vif.queue) != 0)
      return Error{"the forwarding table is full"};
  }
  return table;
}

void ForwardTable::Crowd::add(GuestQueue* queue) {
  NETBACK_CHECK(queue->worker < limits::workers_max);
  if (by_worker.size() <= queue->worker) by_worker.resize(queue->worker + 1u);
  by_worker[queue->worker].push_back(queue);
}

ForwardTable::Segment& ForwardTable::segment_for(const Vif& vif) {
  Segment& port = segments_[vif.port];
  if (vif.vlan == 0) return port;
  NETBACK_CHECK(vif.vlan <= vlan_max);
  if (port.vlans.empty()) port.vlans.resize(vlan_max + 2);  // whatever a tag says
  Segment*& segment = port.vlans[vif.vlan];
  if (segment == nullptr) {
    const auto number = static_cast<uint16_t>(limits::ports_max + vlans_.size());
    segment = &vlans_.emplace_back(Segment{.number = number,
                                           .port = port.port,
                                           .vifs = {.vlan = vif.vlan},
                                           .unfiltered = {.unfiltered = true, .vlan = vif.vlan}});
  }
  return *segment;
}

ForwardTable::~ForwardTable() {
  rte_hash_free(addresses_);
}

GuestQueue* ForwardTable::find(uint16_t port, const rte_ether_addr& address) const {
  const uint64_t key = key_of(port, address);
  void* queue = nullptr;
  return rte_hash_lookup_data(addresses_, &key, &queue) >= 0 ? static_cast<GuestQueue*>(queue)
                                                             : nullptr;
}

}  // namespace netback
