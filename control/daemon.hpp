// The daemon's parts and the order in which they come and go, wired by hand.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/filter_control.hpp"
#include "control/forwarding.hpp"
#include "control/host.hpp"
#include "control/loop.hpp"
#include "control/port.hpp"
#include "control/port_plug.hpp"
#include "control/port_watch.hpp"
#include "control/requests.hpp"
#include "control/socket.hpp"
#include "control/startup.hpp"
#include "control/vif_files.hpp"
#include "control/vif_watcher.hpp"
#include "control/worker_link.hpp"
#include "dataplane/worker.hpp"
#include "lib/dpdk/eal.hpp"
#include "lib/dpdk/frame_pool.hpp"
#include "lib/xen/evtchn.hpp"
#include "lib/xen/grants.hpp"
#include "lib/xen/store.hpp"

namespace netback {

struct DaemonOptions {
  std::string config_directory = "/etc/dpdk-netback";
  std::string socket = "/run/dpdk-netback/control.sock";
  std::string log_level;  // empty: as the configuration says
};

// Reads all configuration files; the error names the first bad line. `lcores` is the last cpu where
// no file says otherwise.
Result<DaemonConfig> read_all_config(const std::string& directory);

// What DPDK is started with: it touches no PCI device that is not a port.
EalOptions eal_options(const DaemonConfig& config, const std::vector<PortDevice>& devices,
                       bool hugepages);

// Whether the devices can work with the kind of memory that there is: a NIC by DMA needs hugepages.
Status check_memory(const std::vector<PortDevice>& devices, bool hugepages);

// Tells each how many queue pairs of all share the large buffers.
void count_large_pairs(std::vector<PortDevice>& devices);

class Daemon {
 public:
  explicit Daemon(DaemonOptions options)
      : options_(std::move(options)), vif_files_(options_.config_directory, config_.defaults) {}

  // In order; each undoes itself. They outlive nothing: run them while the daemon lives.
  std::vector<StartStep> steps();
  // Until SIGTERM, SIGINT or `stop`; every vif is drained then.
  void serve();

 private:
  Status read_config();
  Status prepare_loop();
  Status check_ports();
  Status open_worker_grants();
  Status open_events();
  Status start_dpdk();
  Status make_pool();
  void end_pool();
  Status open_ports();
  Status start_workers();
  Status make_worker(size_t number);
  Status launch_workers();
  void stop_workers();
  Status open_socket();
  Status start_watcher();
  void end_watcher();

  void add_verbs();
  Requests::Json info() const;
  Requests::Answer with_vif(const Requests::Json& args,
                            const std::function<Requests::Json(VifSession&)>& action) const;
  Requests::Answer stats(const Requests::Json& args) const;
  Requests::Answer ports(const Requests::Json& args) const;
  void add_port_verbs();
  Requests::Answer plug(const Requests::Json& args, bool add);
  Requests::Answer stop(const Requests::Json& args);
  void begin_drain();

  // In the order in which they are made.
  struct RunningWorker {
    std::unique_ptr<Mailbox> mailbox;
    std::unique_ptr<Worker> worker;
    std::unique_ptr<WorkerLink> link;
  };

  const DaemonOptions options_;
  DaemonConfig config_;
  VifFiles vif_files_;
  const Loop::Clock::time_point started_ = Loop::Clock::now();
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<InstanceLock> lock_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Grants> grants_;  // control's
  std::vector<std::unique_ptr<Grants>> worker_grants_;
  std::vector<std::unique_ptr<EventChannels>> events_;  // the workers'
  std::unique_ptr<EventChannels> control_channels_;
  std::vector<PortDevice> devices_;  // of config_.ports
  bool hugepages_ = false;
  std::unique_ptr<Eal> eal_;
  std::unique_ptr<FramePool> pool_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<std::unique_ptr<Port>> leaving_ports_;  // PortPlug's
  std::unique_ptr<Crossings> crossings_;              // none for one worker
  std::vector<RunningWorker> workers_;
  size_t launched_ = 0;  // of them
  std::unique_ptr<Forwarding> forwarding_;
  Requests requests_;
  std::unique_ptr<ControlSocket> socket_;
  std::unique_ptr<ControlEvents> control_events_;
  std::unique_ptr<FilterControl> filters_;
  std::unique_ptr<VifWorld> world_;
  std::unique_ptr<VifWatcher> watcher_;
  std::unique_ptr<PortWatch> port_watch_;
  std::unique_ptr<PortPlug> port_plug_;
  bool draining_ = false;
};

}  // namespace netback
