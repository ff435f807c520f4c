// What things take on a real host, spent by waiting: on top of what they take here.
#pragma once

#include "lib/xenlab/abi/layout.hpp"

namespace xenlab {

struct Spent {
  uint32_t hypercalls = 0, copies = 0, notifications = 0;
};

// In nanoseconds each; all 0: nothing is spent. Takes 20 ms, for the clock.
struct CostWords {
  uint32_t hypercall = 0, copy = 0, notify = 0;
};
void set_costs(Machine& machine, const CostWords& words);

void spend(const Costs& costs, const Spent& what);

inline void charge(const Machine& machine, const Spent& what) {
  if (!machine.costs.set.load(std::memory_order_relaxed)) [[likely]]
    return;
  spend(machine.costs, what);
}

}  // namespace xenlab
