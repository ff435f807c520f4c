#include "control/port.hpp"

#include <fmt/format.h>
#include <net/if.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "control/kernel_link.hpp"
#include "control/memif_device.hpp"
#include "lib/base/log.hpp"

namespace netback {
namespace {

constexpr uint64_t checksum_offloads = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
constexpr uint64_t large_receive = RTE_ETH_RX_OFFLOAD_TCP_LRO | RTE_ETH_RX_OFFLOAD_SCATTER;

const char* bus(const PortDevice& device) {
  return device.pci() ? "pci" : "vdev";
}

bool pci_device_exists(const PortDevice& device) {
  std::error_code ignored;
  return std::filesystem::exists("/sys/bus/pci/devices/" + device.name, ignored);
}

uint32_t frame_bytes(uint32_t mtu) {
  return mtu + limits::ethernet_header_bytes;
}

}  // namespace

Result<std::unique_ptr<Port>> Port::open(const PortConfig& config, const PortDevice& device,
                                         FramePool& pool) {
  std::unique_ptr<Port> port(new Port(config, device));
  if (Status status = port->begin(pool); !status) {
    if (device.plugged) port->give_back();
    return status.error();
  }
  return port;
}

Status Port::begin(FramePool& pool) {
  if (Status status = probe(); !status) return status;
  if (Status status = configure(pool); !status) return status;
  if (Status status = start(); !status) return status;
  if (Status status = join_kernel(); !status) return status;
  if (vanished()) return failed("went while it was opened", -ENODEV);
  present_ = true;
  opened_at_ = Clock::now();
  update_link();
  set_running(true);
  return Done{};
}

Status Port::probe() {
  // The kernel's index first: what is below may go at any time, and another of its name come.
  if (device_.quirks->kernel_interface) interface_ = if_nametoindex(device_.iface.c_str());
  // PCI devices of the allow list were probed by EAL, once.
  if (!device_.pci() || device_.plugged || !pairs_.empty()) {
    const int result =
        rte_eal_hotplug_add(bus(device_), device_.name.c_str(), device_.arguments.c_str());
    if (result < 0) return failed("cannot be opened", result, "see DPDK's lines above");
  }
  uint16_t number = 0;
  const int result = rte_eth_dev_get_port_by_name(device_.name.c_str(), &number);
  if (result != 0 || number >= limits::ports_max) {
    if (!device_.pci() || device_.plugged)
      rte_eal_hotplug_remove(bus(device_), device_.name.c_str());
    return failed("there is no such DPDK port", result,
                  device_.pci() ? "bind it: dpdk-devbind.py -b uio_pci_generic ADDRESS" : "");
  }
  if (pairs_.empty()) pairs_.emplace_back(new PortQueue{.port = number});
  queue().device = number;
  queue().can = {};
  probed_ = true;
  return Done{};
}

Status Port::configure(FramePool& pool) {
  rte_eth_dev_info info{};
  if (const int result = rte_eth_dev_info_get(queue().device, &info); result != 0)
    return failed("says nothing of itself", result);
  if (config_.mtu < info.min_mtu || config_.mtu > info.max_mtu)
    return Error{fmt::format("port '{}': mtu {} is not within the driver's {} to {}", config_.name,
                             config_.mtu, info.min_mtu, info.max_mtu)};
  if (Status status = make_pairs(std::min(info.max_rx_queues, info.max_tx_queues)); !status)
    return status;
  rte_eth_conf wanted{};
  wanted.rxmode.mtu = device_.quirks->understates_mtu
                          ? std::min<uint32_t>(config_.mtu, RTE_ETHER_MTU)
                          : config_.mtu;
  // Marks blank checksums as such (RX_L4_CKSUM_NONE).
  wanted.rxmode.offloads =
      (RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM) & info.rx_offload_capa;
  const uint32_t tagged_bytes = frame_bytes(config_.mtu) + limits::vlan_tag_bytes;
  if (tagged_bytes > FramePool::buffer_bytes) {
    if (!(info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER))
      return Error{fmt::format("port '{}': mtu {} does not fit a buffer of {} bytes and the driver"
                               " receives into one",
                               config_.name, config_.mtu, FramePool::buffer_bytes),
                   "lower the port's mtu"};
    wanted.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
  }
  if (device_.quirks->gives_large && (info.rx_offload_capa & large_receive) == large_receive) {
    wanted.rxmode.offloads |= large_receive;
    queue().can.large_buffers = large_receive_slots(pool.large_buffers(), device_.large_pairs) > 0;
  }
  uint64_t trusted = 0;
  if (device_.quirks->completes_checksums) trusted |= checksum_offloads;
  if (device_.quirks->sends_chains) trusted |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  if (device_.quirks->segments)
    trusted |= RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
  wanted.txmode.offloads = trusted & info.tx_offload_capa;
  find_capabilities(wanted.txmode.offloads);
  queue().can.segmented_buffers_max = info.tx_desc_lim.nb_seg_max;

  spread_ = choose_spread(info, device_, pairs_.size());
  const int result = configure_without_refused(wanted);
  if (result != 0) return failed("cannot be configured", result);
  return set_up_queues(pool);
}

// Asked once; no answer means none (seed S11).
void Port::find_capabilities(uint64_t transmit_offloads) {
  queue().can.checksum = (transmit_offloads & checksum_offloads) == checksum_offloads;
  queue().can.chains = (transmit_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
  queue().can.segments = (transmit_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0;
  queue().can.ipv4_checksum = (transmit_offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0;
  queue().can.receives = device_.receives();
  queue().can.frame_bytes_max = frame_bytes(config_.mtu);
}

Status Port::start() {
  if (Status status = set_mtu(); !status) return status;
  if (const int result = rte_eth_dev_start(queue().device); result != 0)
    return failed("does not start", result,
                  device_.connects ? "start its server first, or role=server" : "");
  if (device_.connects) socket_ = memif_socket_inode(device_);
  started_ = true;
  if (filters_) {
    filters_->begin(queue().device);
  } else {
    filters_ = std::make_unique<FilterProgrammer>(config_.name, queue().device,
                                                  device_.quirks->kernel_tap);
    filters_->program({});  // until a vif needs something
  }
  if (spread_.hash_types != 0 && !share_out_hashes(queue().device, device_.queue_pairs))
    spread_.text = "on, by a table of the driver's own";
  if (pairs_.size() > 1) steering_.begin(queue().device);
  tell_pairs();
  return Done{};
}

// A kernel interface below the port must carry our mtu; drivers without one say ENOTSUP.
Status Port::set_mtu() {
  if (device_.quirks->understates_mtu) {
    if (!device_.quirks->kernel_interface) return Done{};  // its rings fit it
    const Status status = set_interface_mtu(device_.iface, config_.mtu);
    return status ? status : named(status.error());
  }
  const int result = rte_eth_dev_set_mtu(queue().device, static_cast<uint16_t>(config_.mtu));
  if (result != 0 && result != -ENOTSUP)
    return failed(fmt::format("does not take mtu {}", config_.mtu), result);
  return Done{};
}

Error Port::failed(std::string_view what, int result, std::string fix) const {
  return {fmt::format("port '{}': device '{}': {}: {}", config_.name, config_.device, what,
                      rte_strerror(-result)),
          std::move(fix)};
}

Error Port::named(const Error& error) const {
  return {fmt::format("port '{}': {}", config_.name, error.message), error.fix};
}

// The kernel's interface of the port: up, and on its bridge.
Status Port::join_kernel() {
  if (device_.iface.empty()) return Done{};
  if (device_.quirks->kernel_interface) {
    const std::string peer = sender_of_blank_checksums(device_.iface);
    if (!peer.empty() && !device_.quirks->completes_checksums)
      log::warn(
          "port '{}': {} sends without checksums and this driver does not see that: guests drop "
          "such frames (fix: ethtool -K {} tx off)",
          config_.name, peer, peer);
    return set_interface_up(device_.iface);
  }
  if (!device_.quirks->kernel_tap) return Done{};
  // The kernel is asked: /sys may be of another network namespace.
  if (if_nametoindex(device_.iface.c_str()) == 0)
    return named(
        {fmt::format("the driver made no tap {}", device_.iface), "see DPDK's lines above"});
  if (Status status = set_interface_mtu(device_.iface, config_.mtu); !status)
    return named(status.error());
  if (!config_.bridge.empty())
    if (Status status = join_bridge(device_.iface, config_.bridge); !status)
      return named(status.error());
  if (Status status = set_interface_up(device_.iface); !status) return named(status.error());
  return Done{};
}

void Port::keep_large(uint32_t buffers) {
  if (pool_ != nullptr) pool_->keep_large(int64_t{buffers} - std::exchange(large_kept_, buffers));
}

void Port::begin_removal() {
  removed_ = Removed::soon;
  set_running(false);
  present_ = link_up_ = false;
}

// What its filters have done to an interface of the kernel stays there otherwise.
void Port::finish_removal() {
  const WantedFilters wanted = filters_->wanted();
  filters_->program({});
  let_go();
  filters_->program(wanted);  // when it is opened again
  keep_large(0);
  keeping_large_ = 0;
  removed_ = Removed::whole;
}

void Port::give_back() {
  const bool device_is_there = probed_;
  close();
  if (device_is_there && device_.pci()) rte_eal_hotplug_remove(bus(device_), device_.name.c_str());
}

Status Port::plug(const PortConfig& config, const PortDevice& device, FramePool& pool) {
  const PortConfig config_before = std::exchange(config_, config);
  const PortDevice device_before = std::exchange(device_, device);
  interface_ = 0;
  Status status = come_back(pool);
  if (status) {
    removed_ = Removed::no;
  } else {
    config_ = config_before;
    device_ = device_before;
  }
  return status;
}

void Port::close() {
  if (pairs_.empty()) return;
  set_running(false);
  if (filters_) filters_->program({});
  steering_.clear();
  end_device();
  keep_large(0);
  pairs_.clear();
}

void Port::end_device() {
  if (!std::exchange(probed_, false)) return;
  const uint16_t number = queue().device;
  if (std::exchange(started_, false)) rte_eth_dev_stop(number);
  rte_eth_dev_close(number);
  if (!device_.pci()) rte_eal_hotplug_remove(bus(device_), device_.name.c_str());
}

bool Port::vanished() const {
  return rte_eth_dev_is_removed(queue().device) == 1 ||
         (interface_ != 0 && !interface_is_there(interface_)) ||
         (device_.connects && present_ && !driver_says_up() &&
          (link_up_ || Clock::now() - opened_at_ > patience_));
}

bool Port::can_come_back() const {
  if (device_.quirks->keeps_buffers) return false;
  if (device_.quirks->kernel_interface) return if_nametoindex(device_.iface.c_str()) != 0;
  if (device_.connects) return memif_server_is_there(device_, socket_);
  return !device_.pci() || pci_device_exists(device_);
}

void Port::suspend() {
  set_running(false);
  present_ = link_up_ = false;
  patience_ = std::min<Clock::duration>(2 * patience_, patience_max);
  filters_->end();
  steering_.end();
}

void Port::let_go() {
  if (!probed_) return;
  filters_->end();
  steering_.end();
  counts_before_ = driver_counts();
  for (const auto& pair : pairs_) pair->receive_fd = -1;
  end_device();
  if (device_.pci()) rte_eal_hotplug_remove(bus(device_), device_.name.c_str());
}

Status Port::come_back(FramePool& pool) {
  Status status = begin(pool);
  if (!status) let_go();
  return status;
}

std::string_view Port::link_text() const {
  if (removed_ != Removed::no) return "removed";
  if (!present_) return "gone";
  return link_up_ ? "up" : "down";
}

std::string Port::mac() const {
  rte_ether_addr address{};
  if (!probed_ || rte_eth_macaddr_get(queue().device, &address) != 0) return {};
  return address_text(address);
}

Port::DriverCounts Port::driver_counts() const {
  rte_eth_stats counts{};
  if (!probed_ || rte_eth_stats_get(queue().device, &counts) != 0) return counts_seen_;
  // While nobody is at the other end net_memif says 0.
  const DriverCounts &before = counts_before_, &seen = counts_seen_;
  counts_seen_ = {std::max(seen.received_frames, before.received_frames + counts.ipackets),
                  std::max(seen.sent_frames, before.sent_frames + counts.opackets),
                  std::max(seen.missed_frames, before.missed_frames + counts.imissed),
                  std::max(seen.failed_frames, before.failed_frames + counts.oerrors)};
  return counts_seen_;
}

bool Port::driver_says_up() const {
  rte_eth_link link{};
  const int result = rte_eth_link_get_nowait(queue().device, &link);
  return result != 0 || link.link_status == RTE_ETH_LINK_UP;
}

bool Port::update_link() {
  bool up = driver_says_up();
  // Drivers on one of the kernel's interfaces say up whatever it is.
  if (device_.quirks->kernel_interface) up = interface_is_running(device_.iface);
  if (up) patience_ = patience_min;
  return std::exchange(link_up_, up) != up;
}

}  // namespace netback
