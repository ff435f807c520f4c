// Finds the vifs of our domain in xenstore and has each look at itself when something changed.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "control/vif_session.hpp"

namespace netback {

class VifWatcher {
 public:
  // `world` outlives the watcher; its `wake` is set to come here.
  explicit VifWatcher(VifWorld& world);
  ~VifWatcher();
  VifWatcher(const VifWatcher&) = delete;
  VifWatcher& operator=(const VifWatcher&) = delete;

  // Sets the watches; the vifs that are there already are found by their first events.
  Status start();
  void stop();  // no more events; harmless when not started

  // Detaches all vifs with their backlogs delivered and writes nothing to xenstore; `done` once
  // nothing of any guest is held (design 8).
  void drain(std::function<void()> done);

  void quarantine(const Quarantined& report);
  void port_link_changed(const Port& port);

  // In order of id.
  std::vector<VifSession*> vifs() const;
  // By "DOMID.DEVID", "NAME.DEVID" or MAC; nullptr: none. Of two with the MAC the connected one.
  VifSession* find(const std::string& name) const;

 private:
  void handle_store();
  void note(std::string_view path, std::string_view token);
  void look_everywhere();
  void look_in(uint16_t domain);
  void look_for_domains();
  void look_soon();
  void look_at_dirty();
  void look_at(const VifId& id);
  void appear(const VifId& id);
  void wake(const VifId& id);

  VifWorld& world_;
  std::string backends_;  // ".../backend/vif"
  std::map<VifId, std::unique_ptr<VifSession>> sessions_;
  std::vector<uint16_t> free_indices_;
  std::set<VifId> dirty_;       // to look at: however many events there were (XSA-349)
  std::set<VifId> due_;         // those that were dirty when the last of them had had its turn
  bool woken_ = false;          // look_at_dirty() is due
  std::set<uint16_t> look_in_;  // domains whose vifs came or went
  bool look_everywhere_ = false;
  bool look_for_domains_ = false;
  bool draining_ = false;
  bool started_ = false;
};

// "7.0" or "7/0/state" below backend/vif; nothing when it is not a vif's.
std::optional<VifId> parse_vif_id(std::string_view domain, std::string_view devid);

}  // namespace netback
