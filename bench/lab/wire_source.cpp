// What a port brings, for a benchmark of many vifs: preloaded below a daemon, it gives the frames
// that net_null makes the addresses of vifs. The file WIRE_SOURCE, four numbers of 32 bits, says
// how and may change at any time: the last three bytes of the first vif's address, of how many vifs
// with addresses from there on, how many frames each gets before the next has its turn, and how
// many come in a second, in bursts of so many; 0: whenever they are asked for.
#include <dlfcn.h>
#include <fcntl.h>
#include <rte_byteorder.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace {

struct Orders {
  uint32_t first, vifs, run, per_second;
};

const volatile Orders* orders() {
  const char* path = std::getenv("WIRE_SOURCE");
  const int file = path != nullptr ? open(path, O_RDONLY) : -1;
  void* mapped = mmap(nullptr, sizeof(Orders), PROT_READ, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) std::abort();
  close(file);
  return static_cast<const volatile Orders*>(mapped);
}

// Whether the next burst is due. One that was late is made up for, but not a long pause.
bool due(uint32_t run, uint32_t per_second) {
  static uint64_t next = 0;
  const uint64_t now = rte_rdtsc(), hz = rte_get_tsc_hz();
  if (now < next) return false;
  next = std::max(next, now - hz / 100'000) + hz * run / per_second;
  return true;
}

uint16_t address_frames(uint16_t, uint16_t, rte_mbuf** frames, uint16_t count, uint16_t, void* of) {
  static uint32_t vif = 0, given = 0;
  const auto* now = static_cast<const volatile Orders*>(of);
  const uint32_t first = now->first, vifs = now->vifs, run = now->run;
  const uint32_t per_second = now->per_second;
  if (per_second > 0) {
    const uint32_t burst = due(run, per_second) ? std::min<uint32_t>(run, count) : 0;
    rte_pktmbuf_free_bulk(frames + burst, count - burst);
    count = static_cast<uint16_t>(burst);
  }
  for (uint16_t i = 0; i < count; ++i) {
    if (++given > run) given = 1, ++vif;
    if (vif >= vifs) vif = 0;
    const uint32_t low = rte_cpu_to_be_32(first + vif);  // its first byte is 0
    uint8_t header[14] = {0x00, 0x16, 0x3e, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
    std::memcpy(header + 3, reinterpret_cast<const uint8_t*>(&low) + 1, 3);
    std::memcpy(rte_pktmbuf_mtod(frames[i], void*), header, sizeof header);
  }
  return count;
}

}  // namespace

extern "C" int rte_eth_dev_start(uint16_t port) {
  const auto real =
      reinterpret_cast<decltype(&rte_eth_dev_start)>(dlsym(RTLD_NEXT, "rte_eth_dev_start"));
  static const volatile Orders* const now = orders();
  const void* added = rte_eth_add_rx_callback(port, 0, address_frames, const_cast<Orders*>(now));
  return added != nullptr ? real(port) : -1;
}
