// Faults on demand: whether one strikes at this chance.
#pragma once

#include "lib/xenlab/abi/layout.hpp"

namespace xenlab {

// What a fault strikes: one chance in `one_in`, or the `at`-th; neither: nothing any more.
struct Aim {
  uint32_t one_in = 0, at = 0;
  // Of an operation in its call, and of the domain whose page it uses: others are no chance.
  uint32_t index = every, domain = every;
  uint64_t seed = 1;
};

// A chance to strike; where there is one, the operation.
struct Chance {
  uint32_t index = every, domain = every;
};

void arm_fault(Machine& machine, FaultKind kind, const Aim& aim);
bool strikes_now(Machine& machine, FaultKind kind, const Chance& chance);

inline bool is_armed(const Machine& machine, FaultKind kind) {
  const Fault& fault = machine.faults[static_cast<uint32_t>(kind)];
  return fault.one_in != 0 || fault.at != 0;
}

inline bool strikes(Machine& machine, FaultKind kind, const Chance& chance = {}) {
  return is_armed(machine, kind) && strikes_now(machine, kind, chance);
}

}  // namespace xenlab
