// Assertions about what this program itself guarantees. What a guest, a file or xenstore said is
// never checked with these: it gets a drop, a violation or a Result.
#pragma once

namespace netback {
[[noreturn]] void check_failed(const char* expression, const char* file, int line);
}

// Always on, in release builds too: a broken invariant must not go on to touch guests' memory.
#define NETBACK_CHECK(expression)                               \
  do {                                                          \
    if (!(expression)) [[unlikely]]                             \
      ::netback::check_failed(#expression, __FILE__, __LINE__); \
  } while (0)
