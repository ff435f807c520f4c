// The filters of a NIC for unit tests, at the C ABI of DPDK: while one lives, it is the hardware
// below every port, which keeps what it is told as DPDK does and refuses what the test says.
#pragma once

#include <rte_ethdev.h>

#include <map>
#include <string>
#include <vector>

#include "tests/unit/support/filters.hpp"

namespace netback::test {

class FakeNic {
 public:
  // `addresses`: that its table takes, the primary MAC with them.
  explicit FakeNic(uint32_t addresses = 16) : addresses_max(addresses) { current = this; }
  ~FakeNic() { current = nullptr; }
  FakeNic(const FakeNic&) = delete;

  static FakeNic* current;  // the one that lives

  // Calls by the names of DPDK's functions without "rte_eth_" and "dev_": each refused with this.
  std::map<std::string, int> refuses;
  size_t groups_max = SIZE_MAX;  // a longer list is refused with -ENOSPC
  uint32_t addresses_max;
  size_t flows_max = SIZE_MAX;  // one more rule is refused with -ENOSPC
  uint16_t receive_queues_max = UINT16_MAX, transmit_queues_max = UINT16_MAX;  // that it says
  bool removed = false;   // what the driver says of its device
  int removed_asked = 0;  // how often it was asked that

  FilterState state{.primary = own_mac};
  std::map<std::string, uint16_t> flows;  // rules: to which queue what is for an address comes
  rte_eth_conf configured{};              // what the driver was configured with last
  std::vector<uint16_t> receive_slots, transmit_slots;  // of each queue that was set up, in order
  uint64_t more_receive_offloads = 0;                   // that it says it has
  std::map<uint16_t, int> receive_fds;                  // of queues whose interrupts it has
  // What was called; a rule that is found good is not: "flow_create 00:16:3e:00:00:01 to 1",
  // "mac_addr_add 00:16:3e:00:00:01", "set_mc_addr_list 2", "promiscuous_enable".
  std::vector<std::string> calls;
  size_t count(const std::string& name) const;  // of them, that begin so

  // 0 if it may be done, or what it is refused with. Notes the call.
  int begin(const std::string& name, const std::string& argument = {});
};

}  // namespace netback::test
