// How far apart two CPUs are just now: nanoseconds for a cache line to go to the other and back.
//   round_trip CPU CPU
// Prints the median of many as JSON. Virtual CPUs move, so windows are classed by it.
#include <fmt/format.h>
#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr int batches = 400, trips_per_batch = 200;

alignas(64) std::atomic<uint32_t> line = 0;

bool run_on(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof(set), &set) == 0;
}

void answer(int cpu) {
  run_on(cpu);
  for (uint32_t trip = 0; trip < 2 * batches * trips_per_batch; trip += 2) {
    while (line.load(std::memory_order_acquire) != trip + 1) _mm_pause();
    line.store(trip + 2, std::memory_order_release);
  }
}

double one_batch(uint32_t& trip) {
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < trips_per_batch; ++i, trip += 2) {
    line.store(trip + 1, std::memory_order_release);
    while (line.load(std::memory_order_acquire) != trip + 2) _mm_pause();
  }
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - began;
  return taken.count() / trips_per_batch;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || !run_on(std::atoi(argv[1]))) {
    fmt::print(stderr, "usage: round_trip CPU CPU, of those that are there\n");
    return 2;
  }
  std::thread other(answer, std::atoi(argv[2]));
  std::vector<double> batch_ns;
  uint32_t trip = 0;
  for (int i = 0; i < batches; ++i) batch_ns.push_back(one_batch(trip));
  other.join();
  std::nth_element(batch_ns.begin(), batch_ns.begin() + batches / 2, batch_ns.end());
  fmt::print("{{\"round_trip_ns\":{:.1f}}}\n", batch_ns[batches / 2]);
}
