// A DPDK port: opened from its configuration, lent to a worker as a PortQueue, closed in reverse.
#pragma once

#include <rte_ether.h>

#include <memory>
#include <string>

#include "control/config.hpp"
#include "control/filter_programmer.hpp"
#include "control/port_device.hpp"
#include "dataplane/port/port_queue.hpp"
#include "lib/base/result.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback {

class Port {
 public:
  // Opens and starts it; with `bridge` set its kernel tap is on the bridge afterwards. Undoes what
  // it did when it fails (seed S7). `pool` outlives the port. Needs EAL.
  static Result<std::unique_ptr<Port>> open(const PortConfig& config, const PortDevice& device,
                                            FramePool& pool);
  ~Port() { close(); }
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  // `running` goes first, then the filters, the queue and the device in the reverse order of
  // open(). No worker has the queue any more. Again is harmless (seed S12).
  void close();

  PortQueue& queue() { return *queue_; }
  const PortQueue& queue() const { return *queue_; }
  const PortConfig& config() const { return config_; }
  const PortDevice& device() const { return device_; }
  // Of its NIC: what its vifs need.
  FilterProgrammer& filters() { return *filters_; }
  const FilterProgrammer& filters() const { return *filters_; }
  std::string mac() const;

  // Asks the driver; one without link status counts as up. Whether it changed since the last call.
  bool update_link();
  bool link_up() const { return link_up_; }

  // What the driver itself counts (rte_eth_stats), to hold against our own counters.
  struct DriverCounts {
    uint64_t received_frames, sent_frames, missed_frames, failed_frames;
  };
  DriverCounts driver_counts() const;

 private:
  Port(const PortConfig& config, const PortDevice& device) : config_(config), device_(device) {}
  Status probe();
  Status configure(FramePool& pool);
  Status set_up_queues(FramePool& pool);
  Status start();
  Status set_mtu();
  Status join_kernel();
  Error named(const Error& error) const;
  void find_capabilities(uint64_t transmit_offloads);

  PortConfig config_;
  PortDevice device_;
  std::unique_ptr<PortQueue> queue_;           // once probed
  std::unique_ptr<FilterProgrammer> filters_;  // once started
  bool started_ = false;
  bool interrupts_ = false;
  bool link_up_ = true;
};

}  // namespace netback
