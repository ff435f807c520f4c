// Time that passes when a target says so, so that no run waits for the pauses of the code under
// test. libFuzzer keeps its time by another clock. In one file of a target.
#pragma once

#include <chrono>

namespace netback::fuzz {

inline std::chrono::steady_clock::time_point time_now{std::chrono::hours(1)};

inline void pass_time(std::chrono::milliseconds time) {
  time_now += time;
}

}  // namespace netback::fuzz

std::chrono::steady_clock::time_point std::chrono::steady_clock::now() noexcept {
  return netback::fuzz::time_now;
}
