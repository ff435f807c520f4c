// What rings and copies alone allow on this machine: a worker core and a guest core on netif's two
// rings, a page a slot, the payload copied; no grants, no events, no checks, no mbufs, no port.
//   ring_limit from_guest|to_guest BYTES GUEST_CPU WORKER_CPU SECONDS
// Prints frames per second as JSON: nothing that has to do more can be faster.
#include <fmt/format.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "lib/netfront/front_ring.hpp"
#include "lib/xen/ring.hpp"

using namespace netback;

namespace {

constexpr uint32_t burst = 32;
constexpr uint32_t slots = netif::ring_slots;

struct alignas(netif::page_bytes) Page {
  uint8_t bytes[netif::page_bytes];
};

Page ring_page;
std::vector<Page> guest_pages(slots), worker_pages(slots);
std::atomic<bool> stopped = false;

bool run_on(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof(set), &set) == 0;
}

// Frames that the worker copied out of the guest's pages.
uint64_t take_from_guest(uint32_t bytes) {
  FromGuestRing ring = FromGuestRing::attach(&ring_page).value();
  std::array<netif::FromGuestRequest, burst> requests;
  uint64_t frames = 0;
  while (!stopped.load(std::memory_order_relaxed)) {
    const uint32_t count = std::min(ring.available().value_or(0), burst);
    if (count == 0) continue;
    ring.copy_out(0, std::span(requests.data(), count));
    ring.take(count);
    for (uint32_t i = 0; i < count; ++i)
      std::memcpy(&worker_pages[requests[i].id], &guest_pages[requests[i].gref], bytes);
    for (uint32_t i = 0; i < count; ++i) ring.answer({.id = requests[i].id, .status = 0});
    ring.publish();
    frames += count;
  }
  return frames;
}

void send(uint32_t bytes) {
  FromGuestFrontRing ring(&ring_page);
  netif::FromGuestResponse response;
  while (!stopped.load(std::memory_order_relaxed)) {
    while (ring.take(response)) {
    }
    const uint32_t count = std::min(ring.free_slots(), burst);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t page = ring.produced() % slots;
      std::memset(&guest_pages[page], static_cast<int>(page), std::min(bytes, 64U));
      ring.put({.gref = page,
                .offset = 0,
                .flags = 0,
                .id = static_cast<uint16_t>(page),
                .size = static_cast<uint16_t>(bytes)});
    }
    if (count > 0) ring.push();
  }
}

// Frames that the worker copied into the guest's pages.
uint64_t give_to_guest(uint32_t bytes) {
  ToGuestRing ring = ToGuestRing::attach(&ring_page).value();
  std::array<netif::ToGuestRequest, burst> requests;
  uint64_t frames = 0;
  while (!stopped.load(std::memory_order_relaxed)) {
    const uint32_t count = std::min(ring.available().value_or(0), burst);
    if (count == 0) continue;
    ring.copy_out(0, std::span(requests.data(), count));
    ring.take(count);
    for (uint32_t i = 0; i < count; ++i)
      std::memcpy(&guest_pages[requests[i].gref], &worker_pages[requests[i].id], bytes);
    for (uint32_t i = 0; i < count; ++i)
      ring.answer(
          {.id = requests[i].id, .offset = 0, .flags = 0, .status = static_cast<int16_t>(bytes)});
    ring.publish();
    frames += count;
  }
  return frames;
}

void receive() {
  ToGuestFrontRing ring(&ring_page);
  const auto post = [&ring](uint16_t page) { ring.put({.id = page, .pad = 0, .gref = page}); };
  for (uint16_t page = 0; page < slots; ++page) post(page);
  ring.push();
  netif::ToGuestResponse response;
  while (!stopped.load(std::memory_order_relaxed)) {
    uint32_t count = 0;
    for (; count < burst && ring.take(response); ++count) post(response.id);
    if (count > 0) ring.push();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view direction = argc == 6 ? argv[1] : "";
  const auto bytes = static_cast<uint32_t>(argc == 6 ? std::atoi(argv[2]) : 0);
  if ((direction != "from_guest" && direction != "to_guest") || bytes == 0 ||
      bytes > netif::page_bytes || !run_on(std::atoi(argv[4]))) {
    fmt::print(stderr,
               "usage: ring_limit from_guest|to_guest BYTES GUEST_CPU WORKER_CPU SECONDS\n"
               "BYTES: 1 to 4096; CPUs that are there\n");
    return 2;
  }
  const bool from_guest = direction == "from_guest";
  std::thread guest([&] {
    run_on(std::atoi(argv[3]));
    from_guest ? send(bytes) : receive();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the guest has made its ring
  std::thread clock([&] {
    std::this_thread::sleep_for(std::chrono::duration<double>(std::atof(argv[5])));
    stopped = true;
  });
  const auto began = std::chrono::steady_clock::now();
  const uint64_t frames = from_guest ? take_from_guest(bytes) : give_to_guest(bytes);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - began;
  guest.join();
  clock.join();
  fmt::print("{{\"frames_per_s\":{:.0f}}}\n", static_cast<double>(frames) / taken.count());
}
