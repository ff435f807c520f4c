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
  steer(entry.vif.port);
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
  leaving_.erase(found);
  steer(port);
}

// Of two vifs with one address the newest has the rule, as it has the frames, while there are
// tables with it.
void FilterControl::steer(Port* port) const {
  if (port->pairs().size() == 1) return;
  FlowRules rules;
  const auto add = [&](const Vif& vif) {
    if (vif.port == port)
      rules[vif.mac] = {.vif = vif.name, .queue = port->queue().pair_of(vif.worker).queue};
  };
  for (const Entry& entry : vifs_) add(entry.vif);
  std::ranges::for_each(leaving_, add);
  port->steering().steer(std::move(rules));
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
