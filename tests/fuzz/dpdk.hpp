// DPDK's environment for a fuzz target, as the unit tests have it.
#pragma once

#include <unistd.h>

#include <string>

#include "lib/dpdk/eal.hpp"

namespace netback::fuzz {

// Until the end of the process.
inline void start_dpdk() {
  static const auto eal =
      Eal::start({.file_prefix = "netback-fuzz-" + std::to_string(getpid()), .memory_mb = 128});
  NETBACK_CHECK(eal.ok());
}

}  // namespace netback::fuzz
