// Ports that come and go while the daemon runs, asked for by a person (netbackctl port add,
// remove).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/forwarding.hpp"
#include "control/port.hpp"
#include "control/port_watch.hpp"
#include "control/requests.hpp"
#include "control/vif_watcher.hpp"

namespace netback {

// Of the daemon's files the one with the ports, with everything in it as it is now: what is asked
// for is the table [[port]] of that name. Fails when the file is bad or has none.
Result<PortConfig> read_port_config(const std::string& directory, const std::string& name);

// What PortPlug changes; all of it outlives it.
struct PluggedParts {
  const std::string& config_directory;
  DaemonConfig& config;              // its ports: what vifs' nic and bridge find
  std::vector<PortDevice>& devices;  // what they keep is looked at in the end
  std::vector<std::unique_ptr<Port>>& ports;
  // Out of `ports`, until their worker has let them go; closed with the daemon if it never does.
  std::vector<std::unique_ptr<Port>>& leaving;
  FramePool& pool;
  bool hugepages;
  std::vector<WorkerLink*> workers;  // by number
  Forwarding& forwarding;
  VifWatcher& watcher;
  PortWatch& watch;
};

class PortPlug {
 public:
  using Refused = std::optional<Requests::Refusal>;

  // No ack of a worker is handled after it.
  explicit PortPlug(PluggedParts parts) : parts_(std::move(parts)) {}

  // Opens what the file says of the port, gives it to the worker with the fewest ports, and has the
  // vifs that were refused for want of it look again. One that was removed by force is opened in
  // its old place, by what the file says now. Undoes what it did when it fails.
  Refused add(const std::string& name);
  // Out of the forwarding table, then from its worker, then closed: in the rounds of the loop that
  // follow. Refused while vifs have it, which are named. `force`: for those it is as if its device
  // had gone, until it is added again; the port stays, without a device, as long as they do.
  Refused remove(const std::string& name, bool force);

 private:
  Port* find(const std::string& name) const;
  std::vector<std::string> vifs_on(const Port& port) const;
  Result<PortDevice> checked_device(PortConfig config, const Port* known) const;
  Refused unsuited(const Port& known, const PortConfig& config, const PortDevice& device) const;
  Status check_free(const PortConfig& config, const PortDevice& device) const;
  Status check_bridge(const PortConfig& config) const;
  Status open(const PortConfig& config, const PortDevice& device);
  uint16_t choose_worker() const;
  uint16_t free_number();
  void unplug(Port& port);
  void close_soon(Port& port);
  void close_now(const Port* port);

  PluggedParts parts_;
  uint16_t last_number_ = 0;  // given to a port
};

}  // namespace netback
