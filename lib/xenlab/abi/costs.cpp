#include "lib/xenlab/abi/costs.hpp"

#include <x86intrin.h>

#include <chrono>
#include <thread>

namespace xenlab {
namespace {

double cycles_per_ns() {
  using Clock = std::chrono::steady_clock;
  const auto began = Clock::now();
  const uint64_t first = __rdtsc();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const uint64_t last = __rdtsc();
  const std::chrono::duration<double, std::nano> took = Clock::now() - began;
  return double(last - first) / took.count();
}

}  // namespace

void set_costs(Machine& machine, const CostWords& words) {
  Costs& costs = machine.costs;
  const double cycles = cycles_per_ns();
  costs.hypercall_cycles = static_cast<uint64_t>(cycles * words.hypercall);
  costs.copy_cycles = static_cast<uint64_t>(cycles * words.copy);
  costs.notify_cycles = static_cast<uint64_t>(cycles * words.notify);
  costs.set = words.hypercall != 0 || words.copy != 0 || words.notify != 0;
}

void spend(const Costs& costs, const Spent& what) {
  const uint64_t cycles = costs.hypercall_cycles * what.hypercalls +
                          costs.copy_cycles * what.copies +
                          costs.notify_cycles * what.notifications;
  const uint64_t until = __rdtsc() + cycles;
  while (__rdtsc() < until) {  // no PAUSE: where a hypervisor traps it, it is no short wait
  }
}

}  // namespace xenlab
