// What a worker itself does for a frame: its turns on one core, with a guest whose rings and pages
// are in that core's cache, a copy that is a memcpy, and a net_null port.
//   turn from_guest|to_guest BYTES SLOTS_A_TURN CPU SECONDS
// Prints nanoseconds a frame as JSON, of turns alone: what the guest does is not counted.
#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "dataplane/worker.hpp"
#include "lib/dpdk/eal.hpp"
#include "lib/netfront/front_ring.hpp"

using namespace netback;

namespace {

struct alignas(netif::page_bytes) Page {
  uint8_t bytes[netif::page_bytes];
};

constexpr uint32_t slots = netif::ring_slots;
constexpr rte_ether_addr mac{{0x00, 0x16, 0x3e, 0, 0, 1}}, elsewhere{{0x00, 0x16, 0x3e, 0, 0, 2}};
Page from_guest_page, to_guest_page;
std::vector<Page> pages(2 * slots);  // grant reference: index + netif::first_reference

uint8_t* page_of(uint32_t reference) {
  return pages[reference - netif::first_reference].bytes;
}

// A guest without a hypervisor between: all it grants is `pages`.
struct Guest {
  FromGuestFrontRing from_guest{&from_guest_page};
  ToGuestFrontRing to_guest{&to_guest_page};
  VifSettings settings{.mac = mac, .takes_chains = true};
  GuestQueue queue{.vif = 0,
                   .domain = 1,
                   .from_guest_port = 1,
                   .to_guest_port = 2,
                   .from_guest = FromGuestRing::attach(&from_guest_page).value(),
                   .to_guest = ToGuestRing::attach(&to_guest_page).value(),
                   .settings = &settings};

  void send(uint32_t count, uint16_t bytes) {
    while (from_guest.get()) {
    }
    for (uint32_t i = 0; i < count; ++i) {
      const auto id = static_cast<uint16_t>(from_guest.produced() % slots);
      from_guest.put(
          {.gref = netif::first_reference + id, .offset = 0, .flags = 0, .id = id, .size = bytes});
    }
    from_guest.push();
  }
  void post(uint32_t count) {
    while (to_guest.get()) {
    }
    for (uint32_t i = 0; i < count; ++i) {
      const auto id = static_cast<uint16_t>(to_guest.produced() % slots);
      to_guest.put({.id = id, .pad = 0, .gref = netif::first_reference + slots + id});
    }
    to_guest.push();
  }
};

[[noreturn]] void give_up(std::string_view why) {
  fmt::print(stderr, "turn: {}\n", why);
  std::exit(1);
}

// A port that sends whatever it is given and receives frames for the guest.
void open_port(PortQueue& queue, FramePool& pool, uint32_t bytes, bool receives) {
  const auto options = fmt::format("size={},no-rx={}", bytes, receives ? 0 : 1);
  if (rte_eal_hotplug_add("vdev", "net_null0", options.c_str()) != 0) give_up("no net_null port");
  rte_eth_dev_get_port_by_name("net_null0", &queue.port);
  queue.device = queue.port;
  const rte_eth_conf configuration{};
  if (rte_eth_dev_configure(queue.port, 1, 1, &configuration) != 0 ||
      rte_eth_rx_queue_setup(queue.port, 0, 64, SOCKET_ID_ANY, nullptr, pool.mempool()) != 0 ||
      rte_eth_tx_queue_setup(queue.port, 0, 64, SOCKET_ID_ANY, nullptr) != 0 ||
      rte_eth_dev_start(queue.port) != 0)
    give_up("the port does not start");
  queue.can = {.checksum = false, .chains = true, .receives = receives};
  queue.running = true;
}

}  // namespace

extern "C" {
xengnttab_handle* xengnttab_open(xentoollog_logger*, unsigned) {
  return reinterpret_cast<xengnttab_handle*>(&pages);
}
int xengnttab_close(xengnttab_handle*) {
  return 0;
}
int xengnttab_grant_copy(xengnttab_handle*, uint32_t count,
                         xengnttab_grant_copy_segment_t* segments) {
  for (uint32_t i = 0; i < count; ++i) {
    auto& segment = segments[i];
    if (segment.flags & GNTCOPY_source_gref)
      std::memcpy(segment.dest.virt,
                  page_of(segment.source.foreign.ref) + segment.source.foreign.offset, segment.len);
    else
      std::memcpy(page_of(segment.dest.foreign.ref) + segment.dest.foreign.offset,
                  segment.source.virt, segment.len);
    segment.status = GNTST_okay;
  }
  return 0;
}
xenevtchn_handle* xenevtchn_open(xentoollog_logger*, unsigned) {
  return reinterpret_cast<xenevtchn_handle*>(&pages);
}
int xenevtchn_close(xenevtchn_handle*) {
  return 0;
}
int xenevtchn_fd(xenevtchn_handle*) {
  return 0;
}
int xenevtchn_notify(xenevtchn_handle*, evtchn_port_t) {
  return 0;
}
}

int main(int argc, char** argv) {
  const std::string_view way = argc == 6 ? argv[1] : "";
  if (way != "from_guest" && way != "to_guest")
    give_up("turn from_guest|to_guest BYTES SLOTS_A_TURN CPU SECONDS");
  const bool from_guest = way == "from_guest";
  const auto bytes = static_cast<uint16_t>(std::atoi(argv[2]));
  const auto burst = static_cast<uint32_t>(std::atoi(argv[3]));
  const double seconds = std::atof(argv[5]);
  if (bytes < limits::ethernet_header_bytes || bytes > 1514 || burst < 1 || burst > slots ||
      seconds <= 0)
    give_up("BYTES are 14 to 1514, SLOTS_A_TURN 1 to 256, SECONDS more than 0");
  auto eal = Eal::start({.file_prefix = fmt::format("turn{}", getpid()), .memory_mb = 128});
  if (!eal) give_up(eal.error().message);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(std::atoi(argv[4]), &cpus);
  if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) give_up("no such CPU");

  auto pool = FramePool::make("frames", 4096).value();
  auto grants = Grants::open().value();
  auto events = EventChannels::open().value();
  PortQueue port{};
  open_port(port, *pool, bytes, !from_guest);
  Guest guest;
  for (uint32_t i = 0; i < slots; ++i) {
    std::memcpy(pages[i].bytes, &elsewhere, sizeof elsewhere);
    std::memcpy(pages[i].bytes + sizeof elsewhere, &mac, sizeof mac);
  }
  auto table =
      ForwardTable::make(
          {&port}, {{.queue = &guest.queue, .port = port.port, .mac = mac, .filtered = from_guest}})
          .value();
  Mailbox mailbox;
  Worker worker({.spin_us = Idle::spin_always}, mailbox, *grants, *events, *pool);
  mailbox.post({.sequence = 1, .what = AttachPort{&port}});
  mailbox.post({.sequence = 2, .what = AttachQueue{&guest.queue}});
  mailbox.post({.sequence = 3, .what = UseTable{table.get()}});
  worker.turn();

  const auto counter = from_guest ? QueueCounter::from_guest_frames : QueueCounter::to_guest_frames;
  uint64_t cycles = 0;
  const uint64_t ends = rte_rdtsc() + static_cast<uint64_t>(seconds * double(rte_get_tsc_hz()));
  const uint64_t before = guest.queue.counters.read(counter);
  while (rte_rdtsc() < ends) {
    if (from_guest)
      guest.send(burst, bytes);
    else
      guest.post(std::min(burst, guest.to_guest.free_slots()));
    const uint64_t began = rte_rdtsc_precise();
    worker.turn();
    cycles += rte_rdtsc_precise() - began;
  }
  const uint64_t frames = guest.queue.counters.read(counter) - before;
  fmt::print("{{\"ns_per_frame\":{:.2f},\"frames\":{}}}\n",
             1e9 * double(cycles) / double(rte_get_tsc_hz()) / double(frames), frames);
  return 0;
}
