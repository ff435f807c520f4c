#include "control/filter_control.hpp"

#include <algorithm>
#include <utility>

namespace netback {

FilterControl::~FilterControl() {
  loop_.cancel(program_timer_);
  loop_.cancel(look_timer_);
}

void FilterControl::add(Vif vif) {
  changed(vif.port);
  Entry& entry = vifs_.emplace_back(Entry{std::move(vif), 0, {}});
  steer(entry.vif.port, entry.vif.mac);
  read_groups(entry);
  if (entry.groups) look_soon();
}

void FilterControl::remove(const std::string& name) {
  const auto found =
      std::ranges::find(vifs_, name, [](const Entry& each) { return each.vif.name; });
  if (found == vifs_.end()) return;
  changed(found->vif.port);
  leaving_.push_back(std::move(found->vif));
  vifs_.erase(found);
}

void FilterControl::left(const std::string& name) {
  const auto found = std::ranges::find(leaving_, name, &Vif::name);
  if (found == leaving_.end()) return;
  Port* port = found->port;
  const rte_ether_addr address = found->mac;
  leaving_.erase(found);
  steer(port, address);
}

// Of two vifs with one address the newest has the rule, as it has the frames, while there are
// tables with it.
void FilterControl::steer(Port* port, const rte_ether_addr& address) const {
  if (port->pairs().size() == 1) return;
  const Vif* newest = nullptr;
  const auto look_at = [&](const Vif& vif) {
    if (vif.port == port && rte_is_same_ether_addr(&vif.mac, &address)) newest = &vif;
  };
  for (const Entry& entry : vifs_) look_at(entry.vif);
  std::ranges::for_each(leaving_, look_at);
  if (newest == nullptr) return port->steering().steer(address, {});
  const uint16_t queue = port->queue().pair_of(newest->worker).queue;
  port->steering().steer(address, FlowRule{.vif = newest->name, .queue = queue});
}

void FilterControl::changed(Port* port) {
  if (std::ranges::find(changed_, port) == changed_.end()) changed_.push_back(port);
  if (program_timer_ == 0)
    program_timer_ = loop_.at(Loop::Clock::time_point::min(), [this] { program_changed(); });
}

void FilterControl::program_changed() {
  program_timer_ = 0;
  for (Port* port : std::exchange(changed_, {})) port->filters().program(wanted(port));
}

void FilterControl::look_soon() {
  if (look_timer_ == 0) look_timer_ = loop_.after(groups_interval, [this] { look_at_groups(); });
}

// Goes on for as long as some guest's list decides what it gets.
void FilterControl::look_at_groups() {
  look_timer_ = 0;
  std::vector<Port*> ports;
  for (Entry& entry : vifs_) {
    if (read_groups(entry) && std::ranges::find(ports, entry.vif.port) == ports.end())
      ports.push_back(entry.vif.port);
    if (entry.groups) look_soon();
  }
  for (Port* port : ports) port->filters().program_groups(wanted(port));
}

// Whether they have changed. The version is read first: a change from then on makes another.
bool FilterControl::read_groups(Entry& entry) {
  const MulticastGroups& groups = *entry.vif.groups;
  const uint32_t version = groups.version();
  if (std::exchange(entry.version, version) == version) return false;
  entry.groups.reset();
  if (groups.applied()) entry.groups = groups.joined();
  return true;
}

WantedFilters FilterControl::wanted(const Port* port) const {
  std::vector<FilterNeeds> needs;
  for (const auto& [vif, version, groups] : vifs_)
    if (vif.port == port)
      needs.push_back({.vif = vif.name,
                       .mac = vif.mac,
                       .filtered = vif.filtered,
                       .set_physaddr = vif.set_physaddr,
                       .groups = groups});
  return wanted_filters(needs);
}

}  // namespace netback
