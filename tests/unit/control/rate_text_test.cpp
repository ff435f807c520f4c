// xl's and xenstore's words for a limit.
#include "control/rate_text.hpp"

#include <catch2/catch.hpp>

#include <vector>

namespace netback {

namespace {

RateLimit rate(std::string_view text) {
  auto limit = parse_rate(text);
  INFO(text);
  INFO((limit ? "" : limit.error().message));
  REQUIRE(limit);
  return limit.value();
}

std::string problem(std::string_view text) {
  const auto limit = parse_rate(text);
  return limit ? "accepted" : limit.error().message;
}

std::string store_problem(std::string_view text) {
  const auto limit = parse_store_rate(text);
  return limit ? "accepted" : limit.error().message;
}

std::string out_of_range(const std::string& text) {
  return "must be from 1 byte a second and an interval to 1000 GB/s, with an interval of 1 us to "
         "10 s, not \"" +
         text + "\"";
}

}  // namespace

TEST_CASE("rate_text_every_unit_of_xl_s_grammar") {
  const auto of = [](uint64_t bytes_per_s) {
    return RateLimit{.bytes = bytes_per_s / 20, .interval_us = 50'000};
  };
  CHECK(rate("10Mb/s") == of(1'250'000));
  CHECK(rate("10MB/s") == of(10'000'000));
  CHECK(rate("250KB/s") == of(250'000));
  CHECK(rate("250Kb/s") == of(31'250));
  CHECK(rate("1Gb/s") == of(125'000'000));
  CHECK(rate("40GB/s") == of(40'000'000'000));
  CHECK(rate("1600B/s") == of(1'600));
  CHECK(rate("1600b/s") == of(200));
}

TEST_CASE("rate_text_every_unit_of_an_interval") {
  const auto in = [](uint32_t us) { return RateLimit{.bytes = us, .interval_us = us}; };
  CHECK(rate("1MB/s@20ms") == in(20'000));
  CHECK(rate("1MB/s@20us") == in(20));
  CHECK(rate("1MB/s@20") == in(20));
  CHECK(rate("1MB/s@2s") == in(2'000'000));
  CHECK(rate("1MB/s@10s") == in(10'000'000));
}

TEST_CASE("rate_text_what_is_not_xl_s_grammar") {
  for (const std::string text :
       {"",          "fast",       "10",      "10M",           "10Mb",       "10Mb/",
        "Mb/s",      "10 Mb/s",    "-1Mb/s",  "10mb/s",        "10Tb/s",     "10M/s",
        "10Mib/s",   "1.5Mb/s",    "10Mb/s@", "10Mb/s@ms",     "10Mb/s@20m", "10Mb/s@20ns",
        "10Mb/s@-1", "10Mb/s@1@1", "@20ms",   "4294967296b/s", "62500,50000"}) {
    CHECK(problem(text) ==
          "must be like \"10Mb/s\", \"250KB/s\" or \"1MB/s@20ms\", not \"" + text + "\"");
  }
}

TEST_CASE("rate_text_the_edges_of_what_a_limit_can_be") {
  for (const std::string text : {"0B/s", "19B/s", "7b/s@10s", "1001GB/s", "1B/s@0ms",
                                 "1MB/s@10001ms", "1MB/s@11s", "1MB/s@10000001"})
    CHECK(problem(text) == out_of_range(text));
  CHECK(rate("20B/s") == RateLimit{.bytes = 1, .interval_us = 50'000});
  CHECK(rate("1B/s@10s") == RateLimit{.bytes = 10, .interval_us = 10'000'000});
  CHECK(rate("1000GB/s@10s") == RateLimit{.bytes = 10'000'000'000'000, .interval_us = 10'000'000});
}

TEST_CASE("rate_text_as_libxl_writes_it") {
  const auto limit = parse_store_rate("62500,50000");
  REQUIRE(limit);
  CHECK(Result(limit).value() == RateLimit{.bytes = 62'500, .interval_us = 50'000});
  for (const std::string text : {"", ",", "1", "1,", ",1", "1,2,3", "1, 2", "-1,5", "1,4294967296",
                                 "18446744073709551616,1", "10Mb/s", "1;2"})
    CHECK(store_problem(text) ==
          "must be bytes and microseconds, like \"62500,50000\", not \"" + text + "\"");
  for (const std::string text : {"0,50000", "1,0", "1,10000001", "1,1000001", "10000000000001,1",
                                 "1000001,1", "18446744073709551615,10000000"})
    CHECK(store_problem(text) == out_of_range(text));
  for (const std::string text :
       {"1,1", "1,1000000", "1000000,1", "10000000000000,10000000", "10,10000000"})
    CHECK(store_problem(text) == "accepted");
}

TEST_CASE("rate_text_for_people_it_reads_back_as_it_was") {
  CHECK(rate_text({}) == "unlimited");
  for (const std::string text :
       {"10Mb/s@50ms", "1Gb/s@1ms", "16Kb/s@50ms", "101B/s@1000ms", "8Mb/s@20us", "40Gb/s@10000ms"})
    CHECK(rate_text(rate(text)) == text);
  CHECK(rate_text(rate("1MB/s@2s")) == "8Mb/s@2000ms");
  CHECK(rate_text({.bytes = 2, .interval_us = 3}) == "666666B/s@3us");
}

}  // namespace netback
