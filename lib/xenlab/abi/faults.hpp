// Faults on demand: whether one strikes at this chance.
#pragma once

#include "lib/xenlab/abi/layout.hpp"

namespace xenlab {

void arm_fault(Machine& machine, FaultKind kind, uint64_t seed, uint32_t one_in, uint32_t at);
bool strikes_now(Machine& machine, FaultKind kind);

inline bool is_armed(const Machine& machine, FaultKind kind) {
  const Fault& fault = machine.faults[static_cast<uint32_t>(kind)];
  return fault.one_in != 0 || fault.at != 0;
}

inline bool strikes(Machine& machine, FaultKind kind) {
  return is_armed(machine, kind) && strikes_now(machine, kind);
}

}  // namespace xenlab
