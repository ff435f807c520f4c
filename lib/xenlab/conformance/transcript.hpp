// Lines of the conformance transcript: "function: case: outcome". Nothing in them may differ from
// one run to the next on the same host, so numbers that a host chooses are not printed.
#pragma once

#include <errno.h>
#include <fmt/format.h>

#include <cstdio>
#include <string>

namespace conformance {

inline std::string errno_name(int error) {
  switch (error) {
    case 0:
      return "0";
    case EACCES:
      return "EACCES";
    case EAGAIN:
      return "EAGAIN";
    case EBADF:
      return "EBADF";
    case EEXIST:
      return "EEXIST";
    case EFAULT:
      return "EFAULT";
    case EINVAL:
      return "EINVAL";
    case ENODEV:
      return "ENODEV";
    case ENOENT:
      return "ENOENT";
    case ENOSPC:
      return "ENOSPC";
    case ENOTCONN:
      return "ENOTCONN";
    case ENOTTY:
      return "ENOTTY";
    case ENXIO:
      return "ENXIO";
    case EPERM:
      return "EPERM";
    case ESRCH:
      return "ESRCH";
    default:
      return fmt::format("errno {}", error);
  }
}

inline void say(const char* function, const char* what, const std::string& outcome) {
  fmt::print("{}: {}: {}\n", function, what, outcome);
  std::fflush(stdout);
}

// Of calls that give 0, or -1 with errno.
inline void say_status(const char* function, const char* what, int result) {
  const int why = errno;
  say(function, what, result >= 0 ? "ok" : fmt::format("-1 {}", errno_name(why)));
}

// Of calls that give an address, or nullptr with errno.
inline void say_address(const char* function, const char* what, const void* address) {
  const int why = errno;
  say(function, what, address != nullptr ? "ok" : fmt::format("null {}", errno_name(why)));
}

inline std::string yes(bool answer) {
  return answer ? "yes" : "no";
}

void grants();
void copies();
void events();

}  // namespace conformance
