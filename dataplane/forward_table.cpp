#include "dataplane/forward_table.hpp"

#include <fmt/core.h>
#include <rte_errno.h>
#include <rte_jhash.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace netback {
namespace {

uint64_t key_of(uint16_t port, const rte_ether_addr& address) {
  uint64_t key = 0;
  std::memcpy(&key, address.addr_bytes, RTE_ETHER_ADDR_LEN);
  return key | uint64_t{port} << 48;
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
                                                         const std::vector<Vif>& vifs) {
  std::unique_ptr<ForwardTable> table(new ForwardTable);
  for (PortQueue* port : ports) table->segments_[port->port].port = port;
  table->addresses_ = make_hash(vifs.size());
  if (table->addresses_ == nullptr)
    return Error{fmt::format("no memory for the forwarding table: {}", rte_strerror(rte_errno))};
  for (const Vif& vif : vifs) {
    NETBACK_CHECK(vif.queue->vif < limits::vifs_max && vif.port < limits::ports_max);
    if (table->by_vif_.size() <= vif.queue->vif) table->by_vif_.resize(vif.queue->vif + 1);
    table->by_vif_[vif.queue->vif] = {vif.queue, vif.port};
    auto& segment = table->segments_[vif.port];
    segment.vifs.push_back(vif.queue);
    if (!vif.filtered) segment.unfiltered.push_back(vif.queue);
    const uint64_t key = key_of(vif.port, vif.mac);
    if (rte_hash_add_key_data(table->addresses_, &key, vif.queue) != 0)
      return Error{"the forwarding table is full"};
  }
  return table;
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
