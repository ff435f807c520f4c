// A port's device string: what it names, what its driver is known to do wrong, and whether it can
// be opened here at all. No DPDK call in here: it runs before EAL is up.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "control/config.hpp"
#include "lib/base/result.hpp"

namespace netback {

// Whether a driver keeps the order of each flow, and every frame, with several queue pairs.
enum class SeveralPairs : uint8_t {
  never,
  on_request,  // its kernel moves a flow to the pair that sent its last frame, whatever is on its
               // way
  always,
};

// Drivers that lie or need help (platform: port drivers that lie).
struct DriverQuirks {
  std::string_view driver;          // "net_af_packet"; "pci" stands for all PCI devices
  bool kernel_tap = false;          // iface= names a tap that the driver makes
  bool kernel_interface = false;    // iface= names an interface that must exist
  bool sends_chains = true;         // when dev_info says so; false: it lies
  bool completes_checksums = true;  // the same
  bool receive_interrupt = false;   // asks for one
  bool understates_mtu = false;     // says 1,500, whatever it takes
  bool keeps_buffers = false;       // those in its rings are lost when it is closed
  bool segments = false;            // TSO when dev_info says so, IPv4 and IPv6; false: it lies
  bool gives_large = false;         // hands out what the kernel has not cut (LRO), checksums blank
  bool wakes_thread = false;        // of the kernel, to take what is sent
  SeveralPairs several_pairs = SeveralPairs::never;
  std::string_view pairs_argument = {};  // by which its device string says how many it has
};

struct PortDevice {
  const DriverQuirks* quirks;
  std::string name;          // "net_af_packet0" or "0000:03:00.0": DPDK's name of it
  std::string arguments;     // "iface=veth0,..." for the driver
  std::string iface;         // the kernel interface, or empty
  bool for_good = false;     // its driver closes not all that it has opened
  bool plugged = false;      // while the daemon runs: EAL has not looked for it at its start
  bool connects = false;     // once, when it is opened: it is opened anew when its peer has gone
  uint16_t queue_pairs = 1;  // to be opened: one for each worker, or one
  uint32_t large_pairs = 1;  // so many, of all ports, receive into large buffers
  bool pci() const { return quirks->driver == "pci"; }
  bool receives() const;  // false: it never hands out a frame
};

// Frames of af_packet lie in a ring of fixed frames behind the kernel's header of them: bytes that
// are not left for the frame itself (TPACKET_V2, SOCK_RAW: aligned header + 16, minus the MAC).
inline constexpr uint32_t af_packet_overhead_bytes = 66;

// Splits and checks `config.device`: an unknown driver, a device node or interface that is not
// there, not Ethernet or in use, PCI in a PV domain or bound to none of the drivers that leave it
// to programs, an mtu that the driver cannot take. Fills in arguments that follow from the mtu.
// Errors name the port and say the fix. `root` goes before /sys and /dev in tests. `workers`: that
// there are.
Result<PortDevice> check_device(const PortConfig& config, const std::string& root = {},
                                uint16_t workers = 1);

// Of a net_virtio_user's rings: the driver itself would take any number and have fewer, or more.
uint16_t virtio_ring_slots(const PortDevice& device);

// How many buffers of a stream may wait for each other before they are sent to it: half the ring of
// a queue pair, which takes `descriptors` of them at most, as the turn that ends the wait adds to
// them. 0: it wakes no thread, and nothing waits.
uint32_t held_buffers_max(const PortDevice& device, uint16_t descriptors);

// How many of the pool's large buffers wait in the ring of a queue pair: a quarter is for all
// `pairs` that receive into them. 0: they would be too few for bursts, and short ones are used.
uint16_t large_receive_slots(uint32_t large_buffers, uint32_t pairs);

// Value of one key of an argument list "a=1,b=2"; empty when absent.
std::string device_argument(const std::string& arguments, std::string_view key);

}  // namespace netback
