// Faults on demand: whether one strikes at this chance.
#pragma once

#include "lib/xenlab/abi/layout.hpp"

namespace xenlab {

void arm_fault(Machine& machine, FaultKind kind, uint64_t seed, uint32_t one_in, uint32_t at);
bool strikes_now(Fault& fault);

inline bool strikes(Machine& machine, FaultKind kind) {
  Fault& fault = machine.faults[static_cast<uint32_t>(kind)];
  if (fault.one_in == 0 && fault.at == 0) [[likely]]
    return false;
  return strikes_now(fault);
}

}  // namespace xenlab
