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

  // Whether what is below has gone: the kernel's interface that it was opened on, or a device of
  // which the driver says so. Only while it is present.
  bool vanished() const;
  // Whether there is something to open again. Never of a driver that keeps buffers: it would empty
  // the pool, and what it opens a second time may receive nothing.
  bool can_come_back() const;
  // `running` and the link go; what is for it is dropped and counted from here on.
  void suspend();
  // The device goes, once the worker has seen that.
  void let_go();
  // As open(), of a port that was let go; the vifs' filters are programmed again.
  Status come_back(FramePool& pool);
  // Neither suspended nor let go.
  bool present() const { return present_; }

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
  std::string_view link_text() const;  // for people: "up", "down", "gone"

  // What the driver itself counts (rte_eth_stats), to hold against our own counters; of all devices
  // that it has had.
  struct DriverCounts {
    uint64_t received_frames, sent_frames, missed_frames, failed_frames;
  };
  DriverCounts driver_counts() const;

 private:
  Port(const PortConfig& config, const PortDevice& device) : config_(config), device_(device) {}
  Status begin(FramePool& pool);
  void end_device();
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
  DriverCounts counts_before_ = {};            // of devices that have gone
  mutable DriverCounts counts_seen_ = {};      // with these, when they could be read last
  unsigned interface_ = 0;                     // the kernel's index of what it was opened on, or 0
  bool probed_ = false;
  bool started_ = false;
  bool present_ = false;
  bool keeps_large_ = false;
  bool interrupts_ = false;
  bool link_up_ = true;
};

}  // namespace netback
