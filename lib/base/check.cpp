#include "lib/base/check.hpp"

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>

namespace netback {

void check_failed(const char* expression, const char* file, int line) {
  fmt::print(stderr, "dpdk-netback: broken invariant at {}:{}: {}\n", file, line, expression);
  std::fflush(stderr);
  std::abort();
}

}  // namespace netback
