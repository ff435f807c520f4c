#include "control/rate_text.hpp"

#include <fmt/format.h>

#include <array>

#include "control/quote.hpp"
#include "lib/xen/number.hpp"

namespace netback {
namespace {

constexpr uint64_t us_per_s = 1'000'000;
constexpr uint32_t default_interval_us = 50'000;
// A product of these two fits 64 bits.
constexpr uint64_t bytes_per_s_max = 1'000'000'000'000;
constexpr uint32_t interval_us_max = 10'000'000;

struct Unit {
  std::string_view word;
  uint64_t factor;
};
constexpr std::array thousands = {Unit{"G", 1'000'000'000}, Unit{"M", 1'000'000}, Unit{"K", 1000}};
constexpr std::array intervals = {Unit{"ms", 1000}, Unit{"us", 1}, Unit{"s", us_per_s}};

bool take_end(std::string_view& text, std::string_view end) {
  if (!text.ends_with(end)) return false;
  text.remove_suffix(end.size());
  return true;
}

template <size_t count>
uint64_t take_unit(std::string_view& text, const std::array<Unit, count>& units) {
  for (const Unit& unit : units)
    if (take_end(text, unit.word)) return unit.factor;
  return 1;
}

Error out_of_range(std::string_view text) {
  return {
      fmt::format("must be from 1 byte a second and an interval to {} GB/s, with an interval of"
                  " 1 us to {} s, not {}",
                  bytes_per_s_max / 1'000'000'000, interval_us_max / us_per_s, in_quotes(text))};
}

// `bytes_per_s` as far as it is a whole number.
bool in_range(const RateLimit& limit) {
  return limit.bytes > 0 && limit.interval_us > 0 && limit.interval_us <= interval_us_max &&
         limit.bytes <= bytes_per_s_max * limit.interval_us / us_per_s &&
         limit.bytes * us_per_s >= limit.interval_us;
}

}  // namespace

Result<RateLimit> parse_rate(std::string_view text) {
  const Error bad{fmt::format("must be like \"10Mb/s\", \"250KB/s\" or \"1MB/s@20ms\", not {}",
                              in_quotes(text))};
  const size_t at = text.find('@');
  std::string_view rate = text.substr(0, at);
  if (!take_end(rate, "/s")) return bad;
  const bool bits = rate.ends_with('b');
  if (!bits && !rate.ends_with('B')) return bad;
  rate.remove_suffix(1);
  const uint64_t factor = take_unit(rate, thousands);
  const auto number = parse_number<uint32_t>(rate);
  if (!number) return bad;
  uint32_t interval_us = default_interval_us;
  if (at != text.npos) {
    std::string_view interval = text.substr(at + 1);
    const uint64_t us = take_unit(interval, intervals);
    const auto count = parse_number<uint32_t>(interval);
    if (!count) return bad;
    if (*count > interval_us_max / us) return out_of_range(text);
    interval_us = static_cast<uint32_t>(*count * us);
  }
  const uint64_t bytes_per_s = *number * factor / (bits ? 8 : 1);
  if (bytes_per_s > bytes_per_s_max) return out_of_range(text);
  const RateLimit limit{.bytes = bytes_per_s * interval_us / us_per_s, .interval_us = interval_us};
  return in_range(limit) ? Result<RateLimit>(limit) : out_of_range(text);
}

Result<RateLimit> parse_store_rate(std::string_view text) {
  const size_t comma = text.find(',');
  const auto bytes = parse_number<uint64_t>(text.substr(0, comma));
  const auto interval_us =
      comma == text.npos ? std::nullopt : parse_number<uint32_t>(text.substr(comma + 1));
  if (!bytes || !interval_us)
    return Error{fmt::format("must be bytes and microseconds, like \"62500,50000\", not {}",
                             in_quotes(text))};
  const RateLimit limit{.bytes = *bytes, .interval_us = *interval_us};
  if (*bytes > bytes_per_s_max * (interval_us_max / us_per_s) || !in_range(limit))
    return out_of_range(text);
  return limit;
}

std::string rate_text(const RateLimit& limit) {
  if (!limit.limited()) return "unlimited";
  const uint64_t bytes_per_s = limit.bytes * us_per_s / limit.interval_us;
  std::string rate = fmt::format("{}B/s", bytes_per_s);
  for (const auto& [word, factor] : thousands) {
    if (bytes_per_s * 8 % factor != 0) continue;
    rate = fmt::format("{}{}b/s", bytes_per_s * 8 / factor, word);
    break;
  }
  return limit.interval_us % 1000 == 0 ? fmt::format("{}@{}ms", rate, limit.interval_us / 1000)
                                       : fmt::format("{}@{}us", rate, limit.interval_us);
}

}  // namespace netback
