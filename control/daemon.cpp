#include "control/daemon.hpp"

#include <fmt/format.h>
#include <rte_launch.h>
#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <filesystem>

#include "lib/base/log.hpp"

namespace netback {
namespace {

// The configuration's word for it goes to the worker as it is.
static_assert(DaemonConfig::spin_always == Idle::spin_always);
constexpr unsigned first_worker_lcore = 1;  // EalOptions

constexpr std::string_view hugepages_fix =
    "sysctl vm.nr_hugepages=N and mount -t hugetlbfs none /dev/hugepages";

// Keeps what a factory made, or hands on why it made nothing.
template <class T>
Status keep(std::unique_ptr<T>& place, Result<std::unique_ptr<T>> made) {
  if (!made) return made.error();
  place = std::move(made).value();
  return Done{};
}

int run_worker(void* worker) {
  static_cast<Worker*>(worker)->run();
  return 0;
}

}  // namespace

Result<DaemonConfig> read_all_config(const std::string& directory) {
  auto config = read_daemon_config(directory);
  if (!config) return config.error();
  std::vector<Error> errors;
  read_vif_configs(directory, errors, config.value().defaults);
  if (!errors.empty()) return errors.front();
  if (auto& lcores = config.value().lcores; lcores.empty()) lcores = {last_cpu()};
  return config;
}

EalOptions eal_options(const DaemonConfig& config, const std::vector<PortDevice>& devices,
                       bool hugepages) {
  EalOptions options{
      .hugepages = hugepages, .memory_mb = config.memory_mb, .worker_cpus = config.lcores};
  for (const auto& device : devices)
    if (device.pci())
      options.pci_allowed.push_back(
          device.arguments.empty() ? device.name : device.name + ',' + device.arguments);
  return options;
}

Status check_memory(const std::vector<PortDevice>& devices, bool hugepages) {
  const auto found = std::ranges::find_if(devices, &PortDevice::pci);
  if (hugepages || found == devices.end()) return Done{};
  return Error{fmt::format("PCI device {} needs hugepages: other memory stays at no address that a "
                           "device could be told",
                           found->name),
               std::string(hugepages_fix)};
}

void count_large_pairs(std::vector<PortDevice>& devices) {
  uint32_t pairs = 0;
  for (const PortDevice& device : devices)
    if (device.quirks->gives_large) pairs += device.queue_pairs;
  for (PortDevice& device : devices) device.large_pairs = std::max(1U, pairs);
}

std::vector<StartStep> Daemon::steps() {
  const auto step = [this](Status (Daemon::*method)()) {
    return [this, method] { return (this->*method)(); };
  };
  return {
      {"read configuration", step(&Daemon::read_config), {}, exit_code::usage},
      {"prepare event loop", step(&Daemon::prepare_loop), [this] { loop_.reset(); }},
      {"take instance lock",
       [this] { return keep(lock_, InstanceLock::take(options_.socket + ".lock")); },
       [this] { lock_.reset(); }},
      {"check for kernel xen-netback", [] { return check_no_kernel_netback(); }},
      {"check ports", step(&Daemon::check_ports)},
      {"open xenstore", [this] { return keep(store_, Store::open()); }, [this] { store_.reset(); },
       exit_code::nobody},
      {"open grants", [this] { return keep(grants_, Grants::open()); }, [this] { grants_.reset(); },
       exit_code::nobody},
      {"open worker grants", step(&Daemon::open_worker_grants), [this] { worker_grants_.clear(); },
       exit_code::nobody},
      {"open event channels", step(&Daemon::open_events),
       [this] { control_channels_.reset(), events_.clear(); }, exit_code::nobody},
      {"start DPDK", step(&Daemon::start_dpdk), [this] { eal_.reset(); }},
      {"make frame pool", step(&Daemon::make_pool), [this] { end_pool(); }},
      {"open ports", step(&Daemon::open_ports),
       [this] {
         leaving_ports_.clear();
         while (!ports_.empty()) ports_.pop_back();
       }},
      {"start worker", step(&Daemon::start_workers), [this] { stop_workers(); }},
      {"open control socket", step(&Daemon::open_socket), [this] { socket_.reset(); }},
      {"watch xenstore", step(&Daemon::start_watcher), [this] { end_watcher(); },
       exit_code::nobody},
  };
}

Status Daemon::read_config() {
  auto config = read_all_config(options_.config_directory);
  if (!config) return config.error();
  config_ = std::move(config).value();
  log::start(options_.log_level.empty() ? config_.log_level : options_.log_level);
  return Done{};
}

// Before any thread is made: they inherit the signal mask.
Status Daemon::prepare_loop() {
  if (Status made = keep(loop_, Loop::make()); !made) return made;
  signal(SIGPIPE, SIG_IGN);
  return loop_->take_signals({SIGTERM, SIGINT}, [this](int) { begin_drain(); });
}

Status Daemon::check_ports() {
  devices_.clear();
  for (const auto& port : config_.ports) {
    auto device = check_device(port, {}, static_cast<uint16_t>(config_.lcores.size()));
    if (!device) return device.error();
    devices_.push_back(std::move(device).value());
  }
  count_large_pairs(devices_);
  return Done{};
}

Status Daemon::open_worker_grants() {
  for (size_t i = 0; i < config_.lcores.size(); ++i)
    if (Status opened = keep(worker_grants_.emplace_back(), Grants::open()); !opened) {
      worker_grants_.clear();
      return opened;
    }
  return Done{};
}

Status Daemon::open_events() {
  Status opened = keep(control_channels_, EventChannels::open());
  for (size_t i = 0; i < config_.lcores.size() && opened; ++i)
    opened = keep(events_.emplace_back(), EventChannels::open());
  if (!opened) control_channels_.reset(), events_.clear();
  return opened;
}

Status Daemon::start_dpdk() {
  hugepages_ = config_.memory != "pages" && hugepages_available(config_.memory_mb);
  if (config_.memory == "hugepages" && !hugepages_)
    return Error{fmt::format("there are not {} MB of free hugepages on a mounted hugetlbfs",
                             config_.memory_mb),
                 fmt::format("{}, or memory = \"auto\"", hugepages_fix)};
  if (Status status = check_memory(devices_, hugepages_); !status) return status;
  if (!hugepages_)
    log::info(
        "no hugepages: {} MB of ordinary pages instead, fixed at start; no NIC by DMA, more "
        "TLB misses",
        config_.memory_mb);
  return keep(eal_, Eal::start(eal_options(config_, devices_, hugepages_)));
}

Status Daemon::make_pool() {
  return keep(pool_, FramePool::make("frames", config_.frame_buffers, config_.large_buffers));
}

// Ports, workers and guests have given back what they held.
void Daemon::end_pool() {
  const uint32_t missing = pool_->buffers() - pool_->free_buffers();
  const auto keeps = [](const PortDevice& device) { return device.quirks->keeps_buffers; };
  if (missing > 0 && std::ranges::any_of(devices_, keeps))
    log::debug("{} frame buffers stay with a port's driver, which gives none back", missing);
  else if (missing > 0)
    log::error("{} frame buffers were not given back", missing);
  const uint32_t large_missing = pool_->large_buffers() - pool_->free_large_buffers();
  if (large_missing > 0) log::error("{} large buffers were not given back", large_missing);
  pool_.reset();
}

Status Daemon::open_ports() {
  for (size_t i = 0; i < config_.ports.size(); ++i) {
    auto port = Port::open(config_.ports[i], devices_[i], *pool_);
    if (!port) {
      while (!ports_.empty()) ports_.pop_back();
      return port.error();
    }
    ports_.push_back(std::move(port).value());
  }
  return Done{};
}

Status Daemon::start_workers() {
  Status started = Done{};
  std::vector<Mailbox*> mailboxes;
  for (size_t i = 0; i < config_.lcores.size() && started; ++i) {
    workers_.push_back({.mailbox = std::make_unique<Mailbox>()});
    mailboxes.push_back(workers_.back().mailbox.get());
    if (!mailboxes.back()->good())
      started = errno_error("cannot make an eventfd", "raise ulimit -n");
  }
  if (started && mailboxes.size() > 1) started = keep(crossings_, Crossings::make(mailboxes));
  for (size_t i = 0; i < mailboxes.size() && started; ++i) started = make_worker(i);
  if (started) started = launch_workers();
  if (!started) stop_workers();
  return started;
}

Status Daemon::make_worker(size_t number) {
  RunningWorker& running = workers_[number];
  const WorkerOptions options{.spin_us = config_.spin_us, .gather_us = config_.gather_us};
  running.worker =
      std::make_unique<Worker>(options, *running.mailbox, *worker_grants_[number], *events_[number],
                               *pool_, crossings_ ? &crossings_->end(number) : nullptr);
  running.link = std::make_unique<WorkerLink>(*running.mailbox);
  running.link->on_quarantined([this](const Quarantined& report) {
    if (watcher_) watcher_->quarantine(report);
  });
  const auto handle = [link = running.link.get()](uint32_t) { link->handle_reports(); };
  return loop_->add(running.mailbox->control_fd(), handle, EPOLLIN);
}

// Each with its ports.
Status Daemon::launch_workers() {
  std::vector<WorkerLink*> links;
  for (const RunningWorker& running : workers_) links.push_back(running.link.get());
  forwarding_ = std::make_unique<Forwarding>(std::move(links));
  std::vector<PortQueue*> queues;
  for (size_t i = 0; i < ports_.size(); ++i) {
    ports_[i]->lend_to(static_cast<uint16_t>(config_.worker_of_port(i)),
                       static_cast<uint16_t>(workers_.size()));
    queues.push_back(&ports_[i]->queue());
  }
  if (Status attached = forwarding_->attach_ports(queues); !attached) return attached;
  for (; launched_ < workers_.size(); ++launched_) {
    const auto lcore = first_worker_lcore + static_cast<unsigned>(launched_);
    if (rte_eal_remote_launch(run_worker, workers_[launched_].worker.get(), lcore) != 0)
      return Error{"DPDK's lcore for it is not waiting"};
  }
  return Done{};
}

// Nothing of any guest is attached any more. Until the last has stopped they send to one another.
void Daemon::stop_workers() {
  for (size_t i = 0; i < launched_; ++i) workers_[i].link->post(Stop{});
  for (size_t i = 0; i < launched_; ++i)
    rte_eal_wait_lcore(first_worker_lcore + static_cast<unsigned>(i));
  launched_ = 0;
  for (const RunningWorker& running : workers_)
    if (running.link) loop_->remove(running.mailbox->control_fd());
  crossings_.reset();
  workers_.clear();
  forwarding_.reset();  // with the table that the workers used last
}

Status Daemon::open_socket() {
  add_verbs();
  return keep(socket_,
              ControlSocket::open(*loop_, options_.socket, [this](const std::string& line) {
                return requests_.answer(line);
              }));
}

Status Daemon::start_watcher() {
  control_events_ = std::make_unique<ControlEvents>(*loop_, *control_channels_);
  filters_ = std::make_unique<FilterControl>(*loop_);
  std::vector<VifWorker> workers;
  for (size_t i = 0; i < workers_.size(); ++i)
    workers.push_back({config_.lcores[i], *events_[i], *workers_[i].link});
  world_.reset(new VifWorld{
      .loop = *loop_,
      .store = *store_,
      .grants = *grants_,
      .control_events = *control_events_,
      .forwarding = *forwarding_,
      .filters = *filters_,
      .workers = std::move(workers),
      .plans = {*store_, config_, vif_files_, ports_},
      .state_directory = std::filesystem::path(options_.socket).parent_path().string()});
  watcher_ = std::make_unique<VifWatcher>(*world_);
  std::vector<WorkerLink*> links;
  for (const RunningWorker& running : workers_) links.push_back(running.link.get());
  const auto changed = [this](const Port& port) {
    if (!draining_) watcher_->port_link_changed(port);
  };
  port_watch_ = std::make_unique<PortWatch>(*loop_, ports_, *pool_, links, changed);
  port_plug_.reset(new PortPlug({.config_directory = options_.config_directory,
                                 .config = config_,
                                 .devices = devices_,
                                 .ports = ports_,
                                 .leaving = leaving_ports_,
                                 .pool = *pool_,
                                 .hugepages = hugepages_,
                                 .workers = std::move(links),
                                 .forwarding = *forwarding_,
                                 .watcher = *watcher_,
                                 .watch = *port_watch_}));
  Status status = control_events_->start();
  if (status) status = watcher_->start();
  if (!status) end_watcher();
  return status;
}

void Daemon::end_watcher() {
  port_plug_.reset();
  port_watch_.reset();
  watcher_.reset();
  world_.reset();
  filters_.reset();  // the ports keep what is programmed until they are closed
  control_events_.reset();
}

void Daemon::serve() {
  fmt::print(stderr, "dpdk-netback: ready\n");
  loop_->run();
}

void Daemon::begin_drain() {
  if (std::exchange(draining_, true)) return;
  log::info("stopping: vifs are drained, xenstore stays as it is");
  watcher_->drain([this] { loop_->stop(); });
}

}  // namespace netback
