#include "lib/xenlab/abi/faults.hpp"

namespace xenlab {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): a counter, well mixed, so that threads may share it.
uint64_t next_random(std::atomic<uint64_t>& counter) {
  constexpr uint64_t step = 0x9e3779b97f4a7c15;
  uint64_t z = counter.fetch_add(step) + step;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

void arm_fault(Machine& machine, FaultKind kind, const Aim& aim) {
  Fault& fault = machine.faults[static_cast<uint32_t>(kind)];
  fault.random = aim.seed;
  fault.index = aim.index;
  fault.domain = aim.domain;
  fault.one_in = aim.one_in;
  fault.at = aim.at;
}

bool strikes_now(Machine& machine, FaultKind kind, const Chance& chance) {
  Fault& fault = machine.faults[static_cast<uint32_t>(kind)];
  if (fault.index != every && fault.index != chance.index) return false;
  if (fault.domain != every && fault.domain != chance.domain) return false;
  bool now = false;
  for (uint32_t left = fault.at; left > 0 && !now;)
    if (fault.at.compare_exchange_weak(left, left - 1)) {
      now = left == 1;
      break;
    }
  const uint32_t one_in = fault.one_in;
  if (one_in > 0 && next_random(fault.random) % one_in == 0) now = true;
  if (now) ++fault.happened;
  return now;
}

}  // namespace xenlab
