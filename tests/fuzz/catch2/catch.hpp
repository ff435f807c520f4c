// Catch2's words for the parts of the unit tests' hosts that fuzz targets use: a check that fails
// ends the process, which is what libFuzzer takes for a crash.
#pragma once

#include "lib/base/check.hpp"

#define REQUIRE(...) NETBACK_CHECK((__VA_ARGS__))
#define CHECK(...) NETBACK_CHECK((__VA_ARGS__))
#define CHECK_FALSE(...) NETBACK_CHECK(!(__VA_ARGS__))
#define INFO(...) static_cast<void>(0)
