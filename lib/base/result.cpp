#include "lib/base/result.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>

namespace netback {

Error errno_error(std::string what, std::string fix) {
  return {fmt::format("{}: {}", what, std::strerror(errno)), std::move(fix)};
}

}  // namespace netback
