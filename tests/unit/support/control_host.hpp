// The control thread around a store, grants and channels of the tests' own. The test is the guest,
// the toolstack and the worker.
#pragma once

#include <catch2/catch.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/vif_files.hpp"
#include "control/vif_watcher.hpp"
#include "tests/unit/control/config_files.hpp"
#include "tests/unit/support/fake_store.hpp"
#include "tests/unit/support/fake_xen.hpp"
#include "tests/unit/support/test_guest.hpp"

namespace netback::test {

class ControlHost {
 public:
  static constexpr const char* port_name = "p";

  ControlHost();
  ~ControlHost();

  // --- as the toolstack ---
  // A domain with a vif 0 whose directories are made; its mac ends in the domain's number.
  VifId add_vif(uint16_t domain);
  VifId add_connected_vif(uint16_t domain = 5);  // its guest has come too
  static std::string backend(const VifId& id);   // the directories
  static std::string frontend(const VifId& id);
  // --- as the guest ---
  // Rings of its own, and Connected. Again, it connects anew.
  void connect(const VifId& id, uint32_t queues = 1);
  void set_frontend(const VifId& id, int state);
  // --- as the worker ---
  // The oldest command that was not acked, or nothing.
  const Command* next_command();
  // Acks it. Reads the table that it replaces first, as a worker may until then; a table of staged
  // pages is the queue's from here on.
  void ack();

  // All that there is to do, timers of later excepted: loop, and worker if it is not held up.
  void settle();
  // Settles until this is so, timers of later included; false: not within two seconds.
  bool soon(const std::function<bool()>& done);
  // Drains as for a restart; the watcher that comes then finds everything as a new daemon does.
  void restart();
  void quarantine(const VifId& id, Violation violation = Violation::bad_extra_type,
                  uint32_t queue = 0);

  VifSession& vif(const VifId& id);
  // Our state of a vif, -1: none.
  int state(const VifId& id) const;
  // The states that we wrote for it, in order; and again without those.
  std::vector<int> states(const VifId& id) const;

  FakeStore& nodes = FakeStore::instance();
  bool worker_runs = true;
  ConfigDirectory files;
  ConfigDirectory state_files;  // the world's state_directory
  DaemonConfig config;
  VifFiles vif_files{files.path(), config.defaults};
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Store> store;
  std::unique_ptr<Grants> grants;
  std::unique_ptr<EventChannels> events;            // the worker's
  std::unique_ptr<EventChannels> control_channels;  // where the fake's kicks go
  std::unique_ptr<ControlEvents> control_events;
  std::unique_ptr<FramePool> pool;
  std::vector<std::unique_ptr<Port>> ports;
  Mailbox mailbox;
  std::unique_ptr<WorkerLink> link;
  std::unique_ptr<Forwarding> forwarding;
  std::unique_ptr<FilterControl> filters;
  std::unique_ptr<VifWorld> world;
  std::unique_ptr<VifWatcher> watcher;

 private:
  void make_rings(const VifId& id, const std::string& prefix);

  std::optional<Command> taken_;  // the oldest, not yet acked
  const ForwardTable* table_ = nullptr;
  std::vector<std::unique_ptr<Page>> pages_;
};

}  // namespace netback::test
