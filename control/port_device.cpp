#include "control/port_device.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "control/kernel_link.hpp"
#include "control/memif_device.hpp"
#include "dataplane/limits.hpp"
#include "lib/dpdk/frame_pool.hpp"
#include "lib/xen/number.hpp"

namespace netback {
namespace {

constexpr std::array known_drivers = {
    DriverQuirks{.driver = "net_null", .several_pairs = SeveralPairs::always},
    DriverQuirks{.driver = "net_ring", .several_pairs = SeveralPairs::always},
    DriverQuirks{"net_pcap"},
    DriverQuirks{.driver = "net_tap",  // cuts by rte_gso: IPv4 alone
                 .kernel_tap = true,
                 .several_pairs = SeveralPairs::on_request},
    DriverQuirks{.driver = "net_virtio_user",
                 .kernel_tap = true,
                 .receive_interrupt = true,
                 .segments = true,
                 .gives_large = true,
                 .wakes_thread = true,
                 .several_pairs = SeveralPairs::on_request,
                 .pairs_argument = "queues"},
    // Truncates in silence what is longer than its ring's frames; says that it takes 1,518 bytes,
    // whatever they are. No checksums. With several sockets the kernel puts fragments together, to
    // what is then cut, and gives parts of a flow to another socket when one is full.
    DriverQuirks{.driver = "net_af_packet",
                 .kernel_interface = true,
                 .completes_checksums = false,
                 .understates_mtu = true},
    // Sends pkt_len bytes of the first segment, whatever is behind it. Its rings lie in the pool
    // itself (UMEM), and close() gives nothing of them back.
    DriverQuirks{.driver = "net_af_xdp",
                 .kernel_interface = true,
                 .sends_chains = false,
                 .completes_checksums = false,
                 .keeps_buffers = true},
    // A chain's frames after the ring's first round: the mark of one that goes on is never taken
    // off its slot. Says that it takes 1,518 bytes, whatever its buffers are.
    DriverQuirks{.driver = "net_memif", .sends_chains = false, .understates_mtu = true},
    DriverQuirks{.driver = "pci",
                 .receive_interrupt = true,
                 .segments = true,
                 .several_pairs = SeveralPairs::always},
};

// Xen's own scripts give it to each vif. A bridge takes the lowest MAC of its ports: with a random
// one per start dom0's MAC would be another after a restart, and guests' ARP entries for it wrong.
constexpr char bridged_tap_mac[] = "fe:ff:ff:ff:ff:ff";

// Drivers of the kernel that leave a PCI device to a program.
constexpr std::array<std::string_view, 3> passing_drivers = {"uio_pci_generic", "vfio-pci",
                                                             "igb_uio"};

constexpr uint32_t mtu_min = 68;  // IPv4's least
constexpr uint32_t mtu_max =
    limits::frame_bytes_max - limits::ethernet_header_bytes - limits::vlan_tag_bytes;
// The kernel leaves so much of a buffer free before what it receives (XDP_PACKET_HEADROOM).
constexpr uint32_t xdp_headroom_bytes = 256;
constexpr uint32_t af_xdp_mtu_max = FramePool::buffer_bytes - xdp_headroom_bytes -
                                    limits::ethernet_header_bytes - limits::vlan_tag_bytes;

Error port_error(const PortConfig& config, const std::string& what, std::string fix = {}) {
  return {fmt::format("port '{}': device '{}': {}", config.name, config.device, what),
          std::move(fix)};
}

bool is_pci_address(const std::string& name) {
  static const std::regex address("([0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\\.[0-7]");
  return std::regex_match(name, address);
}

const DriverQuirks* find_driver(const std::string& name) {
  std::string driver = name;
  while (!driver.empty() && driver.back() >= '0' && driver.back() <= '9') driver.pop_back();
  if (driver == "pci") return nullptr;  // our word, no driver's
  if (is_pci_address(name)) driver = "pci";
  const auto found = std::ranges::find(known_drivers, driver, &DriverQuirks::driver);
  return found == known_drivers.end() ? nullptr : &*found;
}

// As DPDK names it: "0A:1b.0" is "0000:0a:1b.0".
std::string full_pci_address(const std::string& address) {
  unsigned domain = 0, bus = 0, number = 0, function = 0;
  if (std::sscanf(address.c_str(), "%x:%x:%x.%u", &domain, &bus, &number, &function) != 4) {
    domain = 0;
    std::sscanf(address.c_str(), "%x:%x.%u", &bus, &number, &function);
  }
  return fmt::format("{:04x}:{:02x}:{:02x}.{}", domain, bus, number, function);
}

// There, and given to a driver that hands it on to programs. Otherwise DPDK passes it over without
// a word.
Status check_bound(const PortConfig& config, const std::string& address, const std::string& root) {
  const std::filesystem::path directory = root + "/sys/bus/pci/devices/" + address;
  std::error_code absent;
  if (!std::filesystem::exists(directory, absent))
    return port_error(config, "there is no such PCI device", "ls /sys/bus/pci/devices");
  const std::string driver =
      std::filesystem::read_symlink(directory / "driver", absent).filename().string();
  if (std::ranges::find(passing_drivers, driver) != passing_drivers.end()) return Done{};
  return port_error(config,
                    driver.empty() ? std::string("it is bound to no driver")
                                   : fmt::format("it is bound to the kernel's driver {}", driver),
                    fmt::format("dpdk-devbind.py -b uio_pci_generic {}", address));
}

Status check_pci(const PortConfig& config, PortDevice& device, const std::string& root) {
  std::string guest_type;
  std::ifstream(root + "/sys/hypervisor/guest_type") >> guest_type;
  if (guest_type == "PV")  // its page frame numbers are not the machine's: DMA would hit others
    return port_error(config,
                      "a PCI device driven from a PV domain can write to other guests' memory",
                      "use a PVH dom0 or a driver domain, or net_virtio_user or net_af_packet");
  device.name = full_pci_address(device.name);
  return check_bound(config, device.name, root);
}

// An interface that the user brings (af_packet, af_xdp).
Status check_interface(const PortConfig& config, const std::string& iface,
                       const std::string& root) {
  if (iface.empty()) return port_error(config, "needs iface=NAME");
  if (!interface_exists(iface, root))
    return port_error(config, fmt::format("there is no interface {}", iface),
                      fmt::format("ip link add {} type veth peer name ...", iface));
  if (!interface_is_ethernet(iface, root))
    return port_error(config, fmt::format("interface {} is not Ethernet", iface));
  return Done{};
}

// A tap that the driver makes, on vhost-net or on its own.
Status check_tap(const PortConfig& config, PortDevice& device, const std::string& root) {
  const std::string path = device_argument(device.arguments, "path");
  if (device.quirks->driver == "net_virtio_user") {
    if (path.empty()) return port_error(config, "needs path=/dev/vhost-net");
    if (access((root + path).c_str(), R_OK | W_OK) != 0)
      return port_error(
          config, errno_error("cannot open " + path).message,
          path == "/dev/vhost-net" ? "modprobe vhost_net, or use net_af_packet on a veth" : "");
    if (path != "/dev/vhost-net") {  // a vhost-user socket: no tap, whatever is said of one
      device.iface.clear();
      return Done{};
    }
  }
  if (access((root + "/dev/net/tun").c_str(), R_OK | W_OK) != 0)
    return port_error(config, errno_error("cannot open /dev/net/tun").message, "modprobe tun");
  if (device.iface.empty()) {  // a name that is the same at each start, so that bridges know it
    device.iface = "nb-" + config.name;
    device.arguments += ",iface=" + device.iface;
  }
  if (device.iface.size() >= IFNAMSIZ)
    return port_error(config, fmt::format("interface name {} is too long", device.iface));
  if (!interface_exists(device.iface, root)) return Done{};
  if (!interface_exists(device.iface + "/tun_flags", root))
    return port_error(config, fmt::format("interface {} exists and is not a tap", device.iface),
                      "choose another iface=");
  if (tap_is_busy(device.iface))
    return port_error(config, fmt::format("tap {} is in use by another process", device.iface),
                      "choose another iface=");
  return Done{};
}

Result<uint32_t> argument_number(const PortConfig& config, const PortDevice& device,
                                 std::string_view key, uint32_t absent) {
  const std::string text = device_argument(device.arguments, key);
  if (text.empty()) return absent;
  const auto number = parse_number<uint32_t>(text);
  if (!number) return port_error(config, fmt::format("{}={} is not a number", key, text));
  return *number;
}

// af_packet cuts what does not fit its ring's frames, so the ring must fit the mtu; and its frames
// must fit our buffers, because it receives into one.
Status fit_af_packet(const PortConfig& config, PortDevice& device) {
  const uint32_t frame_max = FramePool::buffer_bytes;
  const auto framesz = argument_number(config, device, "framesz", frame_max);
  const auto blocksz = argument_number(config, device, "blocksz", 4096);
  const auto framecnt = argument_number(config, device, "framecnt", 1024);
  for (const auto* number : {&framesz, &blocksz, &framecnt})
    if (!*number) return number->error();
  const uint32_t frame = Result(framesz).value(), block = Result(blocksz).value(),
                 count = Result(framecnt).value();
  if (frame == 0 || frame % 16 != 0 || frame > frame_max)
    return port_error(config,
                      fmt::format("framesz={} is not a multiple of 16 up to {}", frame, frame_max));
  if (block % 4096 != 0 || block < frame || count == 0 || count % (block / frame) != 0)
    return port_error(
        config,
        fmt::format("blocksz={} or framecnt={} does not fit framesz={}", block, count, frame),
        "blocksz: a multiple of 4096; framecnt: of the frames in a block");
  const uint32_t mtu =
      frame - std::min(frame, af_packet_overhead_bytes + limits::ethernet_header_bytes +
                                  limits::vlan_tag_bytes);
  if (config.mtu > mtu)
    return port_error(config, fmt::format("mtu {} does not fit, at most {}", config.mtu, mtu),
                      "lower the port's mtu, or use net_virtio_user");
  for (const auto& [key, value] :
       {std::pair{"framesz", frame}, {"blocksz", block}, {"framecnt", count}})
    if (device_argument(device.arguments, key).empty())
      device.arguments += fmt::format(",{}={}", key, value);
  return Done{};
}

Status fit_mtu(const PortConfig& config, PortDevice& device) {
  if (config.mtu < mtu_min || config.mtu > mtu_max)
    return port_error(config,
                      fmt::format("mtu {} is not within {} to {}", config.mtu, mtu_min, mtu_max));
  if (device.quirks->driver == "net_af_packet") return fit_af_packet(config, device);
  if (device.quirks->driver == "net_af_xdp" && config.mtu > af_xdp_mtu_max)
    return port_error(config,
                      fmt::format("mtu {} does not fit, at most {}", config.mtu, af_xdp_mtu_max));
  return Done{};
}

// How many queue pairs it is to have. A device string that says so itself is not contradicted.
Status choose_pairs(const PortConfig& config, PortDevice& device, uint16_t workers) {
  const SeveralPairs several = device.quirks->several_pairs;
  const uint32_t unasked = several == SeveralPairs::always ? workers : 1;
  const uint32_t wanted = config.queue_pairs.value_or(unasked);
  if (wanted <= 1) return Done{};
  if (wanted != workers)  // the file may say of lcores what is not so yet
    return port_error(config, fmt::format("{} queue pairs for {} workers", wanted, workers),
                      "queue-pairs = 1, or one for each that runs");
  if (several == SeveralPairs::never)
    return port_error(config, fmt::format("its driver has one queue pair, not {}", wanted),
                      "queue-pairs = 1");
  const std::string_view key = device.quirks->pairs_argument;
  if (!key.empty()) {
    const auto said = argument_number(config, device, key, wanted);
    if (!said) return said.error();
    if (Result(said).value() < wanted)
      return port_error(config,
                        fmt::format("it has {} of {} queue pairs", Result(said).value(), wanted),
                        fmt::format("leave out {}=", key));
    if (device_argument(device.arguments, key).empty())
      device.arguments += fmt::format(",{}={}", key, wanted);
    // Its control queue says how many are used.
    if (device_argument(device.arguments, "cq").empty()) device.arguments += ",cq=1";
  }
  device.queue_pairs = static_cast<uint16_t>(wanted);
  return Done{};
}

Status check_kind(const PortConfig& config, PortDevice& device, const std::string& root) {
  if (device.pci()) return check_pci(config, device, root);
  if (device.quirks->kernel_interface) return check_interface(config, device.iface, root);
  if (device.quirks->kernel_tap) return check_tap(config, device, root);
  if (device.quirks->driver == "net_memif") return check_memif(config, device);
  return Done{};
}

}  // namespace

bool PortDevice::receives() const {
  return quirks->driver != "net_null" || device_argument(arguments, "no-rx") != "1";
}

std::string device_argument(const std::string& arguments, std::string_view key) {
  size_t start = 0;
  while (start < arguments.size()) {
    const size_t end = std::min(arguments.find(',', start), arguments.size());
    const std::string_view item(arguments.data() + start, end - start);
    if (item.size() > key.size() && item.starts_with(key) && item[key.size()] == '=')
      return std::string(item.substr(key.size() + 1));
    start = end + 1;
  }
  return {};
}

Result<PortDevice> check_device(const PortConfig& config, const std::string& root,
                                uint16_t workers) {
  const size_t comma = std::min(config.device.find(','), config.device.size());
  PortDevice device;
  device.name = config.device.substr(0, comma);
  device.arguments = config.device.substr(std::min(comma + 1, config.device.size()));
  device.quirks = find_driver(device.name);
  if (device.quirks == nullptr) {
    std::vector<std::string_view> names;
    for (const auto& driver : known_drivers) names.push_back(driver.driver);
    names.back() = "a PCI address";
    return port_error(config, "unknown driver",
                      fmt::format("use one of {}", fmt::join(names, ", ")));
  }
  device.iface = device_argument(device.arguments, "iface");
  device.for_good = device.quirks->keeps_buffers;
  if (Status status = check_kind(config, device, root); !status) return status.error();
  if (Status status = fit_mtu(config, device); !status) return status.error();
  if (Status status = choose_pairs(config, device, workers); !status) return status.error();
  // Left alone it hands out empty frames as fast as they are taken, and no worker ever rests.
  if (device.quirks->driver == "net_null" && device_argument(device.arguments, "no-rx").empty())
    device.arguments += device.arguments.empty() ? "no-rx=1" : ",no-rx=1";
  if (!config.bridge.empty() && (!device.quirks->kernel_tap || device.iface.empty()))
    return port_error(config,
                      fmt::format("bridge '{}' needs a driver with a kernel tap", config.bridge),
                      "net_virtio_user0,path=/dev/vhost-net,iface=NAME");
  if (!config.bridge.empty() && device_argument(device.arguments, "mac").empty())
    device.arguments += fmt::format(",mac={}", bridged_tap_mac);
  return device;
}

uint16_t virtio_ring_slots(const PortDevice& device) {
  constexpr uint16_t unless_said = 256;  // VIRTIO_USER_DEF_Q_SZ
  const std::string text = device_argument(device.arguments, "queue_size");
  const unsigned long slots = std::strtoul(text.c_str(), nullptr, 0);  // as the driver reads it
  return slots > 0 && slots <= UINT16_MAX ? static_cast<uint16_t>(slots) : unless_said;
}

uint32_t held_buffers_max(const PortDevice& device, uint16_t descriptors) {
  if (!device.quirks->wakes_thread) return 0;
  return std::min(virtio_ring_slots(device), descriptors) / 2u;
}

uint16_t large_receive_slots(uint32_t large_buffers, uint32_t pairs) {
  constexpr uint32_t least = limits::port_burst_frames, most = 1024;
  const uint32_t slots = large_buffers / 4 / pairs;
  return slots < least ? 0 : static_cast<uint16_t>(std::min(slots, most));
}

}  // namespace netback
