// Limits as people, xl and xenstore write them.
#pragma once

#include <string>
#include <string_view>

#include "dataplane/rate.hpp"
#include "lib/base/result.hpp"

namespace netback {

// As in an xl file (xl-network-configuration(5)): "10Mb/s", "250KB/s", "1MB/s@20ms". G, M and K are
// powers of 1000, b is bits, B bytes; the interval is in us, ms, s or, with no word, us, and 50 ms
// if there is none. Fails with "must be like ..., not ...".
Result<RateLimit> parse_rate(std::string_view text);

// As libxl writes it to xenstore: bytes in an interval, its microseconds.
Result<RateLimit> parse_store_rate(std::string_view text);

// In the first form, bytes of a second rounded down; or "unlimited".
std::string rate_text(const RateLimit& limit);

}  // namespace netback
