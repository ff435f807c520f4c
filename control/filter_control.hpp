// Keeps each port's filters and flow rules at what its connected vifs need: when one comes or goes,
// and when guests join and leave groups, which a timer looks for, so that churn coalesces.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "control/loop.hpp"
#include "control/port.hpp"
#include "dataplane/multicast_groups.hpp"

namespace netback {

class FilterControl {
 public:
  // How often groups are looked at: a port's list is programmed no more often for them.
  static constexpr auto groups_interval = std::chrono::milliseconds(10);

  // `loop` outlives it, and so do the ports of vifs.
  explicit FilterControl(Loop& loop) : loop_(loop) {}
  ~FilterControl();
  FilterControl(const FilterControl&) = delete;
  FilterControl& operator=(const FilterControl&) = delete;

  struct Vif {
    std::string name;  // for people; one connected vif has it
    Port* port;
    rte_ether_addr mac;
    uint16_t worker = 0;  // whose it is
    bool filtered = true;
    bool set_physaddr = false;
    // Asked by the timer until remove(); its workers amend them.
    const MulticastGroups* groups;
  };
  // It is connected now, and no worker knows it yet. The port has its flow rule at once, so that no
  // frame for it comes by another pair first, and its filters before the loop's next round: vifs
  // that come together are programmed together.
  void add(Vif vif);
  // It is about to be disconnected; its groups are not asked any more. Its flow rule stays until
  // left(), so that nothing of it comes by another pair while the old one has frames for it.
  void remove(const std::string& name);
  // No worker knows it any more.
  void left(const std::string& name);
  // A vif may have multicast control now, or no more: its port follows within the interval.
  void look_soon();

 private:
  struct Entry {
    Vif vif;
    uint32_t version;                                   // of the groups when they were read
    std::optional<std::vector<rte_ether_addr>> groups;  // none: it gets all
  };

  void changed(Port* port);
  void steer(Port* port, const rte_ether_addr& address) const;
  void program_changed();
  void look_at_groups();
  static bool read_groups(Entry& entry);
  WantedFilters wanted(const Port* port) const;

  Loop& loop_;
  std::vector<Entry> vifs_;   // in the order in which they connected
  std::vector<Vif> leaving_;  // removed; workers may know them yet
  std::vector<Port*> changed_;
  // Timers that are due; 0: none.
  Loop::TimerId program_timer_ = 0, look_timer_ = 0;
};

}  // namespace netback
