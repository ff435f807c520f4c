// A DPDK port: opened from its configuration, lent to a worker as a PortQueue, closed in reverse.
#pragma once

#include <rte_ether.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/filter_programmer.hpp"
#include "control/flow_steering.hpp"
#include "control/port_device.hpp"
#include "control/port_spread.hpp"
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

  // Whether what is below has gone: the kernel's interface that it was opened on, a device of
  // which the driver says so, or the peer that it connected to. Only while it is present.
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

  // What a person has taken away from its vifs: begin_removal(), and finish_removal() once the
  // worker has seen that. plug() opens it again by what its configuration is now, its driver the
  // same; the vifs' filters are programmed again.
  enum class Removed : uint8_t { no, soon, whole };
  Removed removed() const { return removed_; }
  void begin_removal();
  void finish_removal();
  Status plug(const PortConfig& config, const PortDevice& device, FramePool& pool);

  // `running` goes first, then the filters, the queues and the device in the reverse order of
  // open(). No worker has a queue any more. Again is harmless (seed S12).
  void close();

  // close(), and DPDK's bus has the device no more: it may be opened as another port.
  void give_back();

  // The first of its pairs, or the only one.
  PortQueue& queue() { return *pairs_.front(); }
  const PortQueue& queue() const { return *pairs_.front(); }
  // All of them: one for each worker, or one. Their number stays.
  const std::vector<std::unique_ptr<PortQueue>>& pairs() const { return pairs_; }
  // Says whose each is before they are attached: the first this worker's, the others by turns.
  void lend_to(uint16_t first, uint16_t workers);
  uint64_t count(PortCounter counter) const;  // of all pairs
  const PortConfig& config() const { return config_; }
  const PortDevice& device() const { return device_; }
  // Of its NIC: what its vifs need.
  FilterProgrammer& filters() { return *filters_; }
  const FilterProgrammer& filters() const { return *filters_; }
  // Which queue pair a vif's frames come by: RSS, and rules for single addresses.
  const PortSpread& spread() const { return spread_; }
  FlowSteering& steering() { return steering_; }
  const FlowSteering& steering() const { return steering_; }
  std::string mac() const;

  // Asks the driver; one without link status counts as up. Whether it changed since the last call.
  bool update_link();
  bool link_up() const { return link_up_; }
  std::string_view link_text() const;  // for people: "up", "down", "gone", "removed"

  // What the driver itself counts (rte_eth_stats), to hold against our own counters; of all devices
  // that it has had.
  struct DriverCounts {
    uint64_t received_frames, sent_frames, missed_frames, failed_frames;
  };
  DriverCounts driver_counts() const;

 private:
  Port(const PortConfig& config, const PortDevice& device)
      : config_(config), device_(device), steering_(config.name) {}
  Status begin(FramePool& pool);
  void end_device();
  Status probe();
  Status configure(FramePool& pool);
  Status make_pairs(uint16_t has);
  Status set_up_queues(FramePool& pool);
  Status set_up_pair(FramePool& pool, uint16_t number);
  Status start();
  Status set_mtu();
  Status join_kernel();
  int configure_without_refused(rte_eth_conf& wanted);
  Error failed(std::string_view what, int result, std::string fix = {}) const;
  Error named(const Error& error) const;
  void find_capabilities(uint64_t transmit_offloads);
  bool driver_says_up() const;
  void tell_pairs();
  void set_running(bool running);
  void keep_large(uint32_t buffers);

  PortConfig config_;
  PortDevice device_;
  std::vector<std::unique_ptr<PortQueue>> pairs_;  // one once probed, all once configured
  std::unique_ptr<FilterProgrammer> filters_;      // once started
  PortSpread spread_;
  FlowSteering steering_;
  DriverCounts counts_before_ = {};        // of devices that have gone
  mutable DriverCounts counts_seen_ = {};  // with these, when they could be read last
  using Clock = std::chrono::steady_clock;
  // How long what connects may take until it has a link: then it is opened again. Doubled each
  // time.
  static constexpr auto patience_min = std::chrono::milliseconds(500);
  static constexpr auto patience_max = std::chrono::seconds(8);
  Clock::time_point opened_at_;
  Clock::duration patience_ = patience_min;
  uint64_t socket_ = 0;     // inode of what it connected to, or 0
  unsigned interface_ = 0;  // the kernel's index of what it was opened on, or 0
  bool probed_ = false;
  bool started_ = false;
  bool present_ = false;
  uint16_t keeping_large_ = 0;  // queues for which large buffers are kept: of the pool, once
  Removed removed_ = Removed::no;
  FramePool* pool_ = nullptr;  // of which it keeps large buffers
  uint32_t large_kept_ = 0;
  bool interrupts_ = false;
  bool link_up_ = true;
};

}  // namespace netback
