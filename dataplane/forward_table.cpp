#include "dataplane/forward_table.hpp"

#include <fmt/core.h>
#include <rte_errno.h>
#include <rte_jhash.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace netback {
namespace {

static_assert(limits::ports_max * 2 + limits::vifs_max * 3 <= UINT16_MAX,
              "a vif makes three segments at most, an isolated one its port one more");

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
  for (const Vif& vif : vifs) {
    NETBACK_CHECK(vif.queue->vif < limits::vifs_max && vif.port < limits::ports_max);
    Segment*& switched = table->switched_[vif.port];
    if (vif.isolated && switched == nullptr)
      switched = &table->new_segment(table->segments_[vif.port].port);
  }
  // A vif's address is where the port's frames reach it and, if that is elsewhere, where vifs' do.
  const auto twice = std::ranges::count_if(
      vifs, [&](const Vif& vif) { return table->switched_[vif.port] != nullptr; });
  table->addresses_ = make_hash(vifs.size() + static_cast<size_t>(twice));
  if (table->addresses_ == nullptr)
    return Error{fmt::format("no memory for the forwarding table: {}", rte_strerror(rte_errno))};
  for (const Vif& vif : vifs) {
    auto segment = table->place(vif);
    if (!segment) return segment.error();
    if (table->by_vif_.size() <= vif.queue->vif) table->by_vif_.resize(vif.queue->vif + 1);
    table->by_vif_[vif.queue->vif] = {vif.queue, segment.value(), vif.since};
  }
  return table;
}

void ForwardTable::Crowd::add(GuestQueue* queue) {
  NETBACK_CHECK(queue->worker < limits::workers_max);
  if (by_worker.size() <= queue->worker) by_worker.resize(queue->worker + 1u);
  by_worker[queue->worker].push_back(queue);
}

ForwardTable::Segment& ForwardTable::new_segment(PortQueue* port, uint16_t vlan) {
  const auto number = static_cast<uint16_t>(limits::ports_max + others_.size());
  return others_.emplace_back(Segment{.number = number,
                                      .port = port,
                                      .vifs = {.vlan = vlan},
                                      .unfiltered = {.unfiltered = true, .vlan = vlan}});
}

ForwardTable::Segment& ForwardTable::on_vlan(Segment& port, uint16_t vlan) {
  if (vlan == 0) return port;
  NETBACK_CHECK(vlan <= vlan_max);
  if (port.vlans.empty()) port.vlans.resize(vlan_max + 2);  // whatever a tag says
  Segment*& segment = port.vlans[vlan];
  if (segment == nullptr) segment = &new_segment(port.port, vlan);
  return *segment;
}

Status ForwardTable::add(Segment& segment, const Vif& vif) {
  segment.vifs.add(vif.queue);
  if (!vif.filtered) segment.unfiltered.add(vif.queue);
  const uint64_t key = key_of(segment.number, vif.mac);
  if (rte_hash_add_key_data(addresses_, &key, vif.queue) != 0)
    return Error{"the forwarding table is full"};
  return Done{};
}

// Puts the vif where frames reach it, and says whom its own frames reach: nullptr without its port.
// An isolated one's segment has no VLANs: all its frames leave with the tag that they got.
Result<const ForwardTable::Segment*> ForwardTable::place(const Vif& vif) {
  Segment& port = segments_[vif.port];
  if (Status status = add(on_vlan(port, vif.vlan), vif); !status) return status.error();
  Segment* reached = &port;
  if (vif.isolated) {
    reached = &new_segment(port.port);
    if (Status status = add(*reached, vif); !status) return status.error();
  } else if (switched_[vif.port] != nullptr) {
    reached = switched_[vif.port];
    if (Status status = add(on_vlan(*reached, vif.vlan), vif); !status) return status.error();
  }
  return port.port != nullptr ? reached : nullptr;
}

ForwardTable::~ForwardTable() {
  rte_hash_free(addresses_);
}

GuestQueue* ForwardTable::find(const Segment& segment, const rte_ether_addr& address) const {
  const uint64_t key = key_of(segment.number, address);
  void* queue = nullptr;
  return rte_hash_lookup_data(addresses_, &key, &queue) >= 0 ? static_cast<GuestQueue*>(queue)
                                                             : nullptr;
}

}  // namespace netback
