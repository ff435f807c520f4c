#include "lib/xen/number.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <limits>
#include <string>

using netback::parse_number;

// protocol.md 1.12, cases 49 to 53: a width takes its own limits and nothing beyond them.

TEST_CASE("int8_takes_exactly_its_range") {
  CHECK(parse_number<int8_t>("127") == int8_t{127});
  CHECK(parse_number<int8_t>("-128") == int8_t{-128});
  CHECK_FALSE(parse_number<int8_t>("128"));
  CHECK_FALSE(parse_number<int8_t>("-129"));
}

TEST_CASE("uint8_takes_exactly_its_range") {
  CHECK(parse_number<uint8_t>("0") == uint8_t{0});
  CHECK(parse_number<uint8_t>("255") == uint8_t{255});
  CHECK_FALSE(parse_number<uint8_t>("256"));
  CHECK_FALSE(parse_number<uint8_t>("-1"));
}

TEST_CASE("int64_takes_exactly_its_range") {
  CHECK(parse_number<int64_t>("9223372036854775807") == std::numeric_limits<int64_t>::max());
  CHECK(parse_number<int64_t>("-9223372036854775808") == std::numeric_limits<int64_t>::min());
  CHECK_FALSE(parse_number<int64_t>("9223372036854775808"));
  CHECK_FALSE(parse_number<int64_t>("-9223372036854775809"));
}

TEST_CASE("uint64_takes_exactly_its_range") {
  CHECK(parse_number<uint64_t>("18446744073709551615") == std::numeric_limits<uint64_t>::max());
  CHECK_FALSE(parse_number<uint64_t>("18446744073709551616"));
  CHECK_FALSE(parse_number<uint64_t>("-1"));
}

TEST_CASE("a_number_fills_its_bytes_and_no_others") {
  struct {
    uint8_t before = 0xa5;
    int8_t number = 0;
    uint8_t after = 0xa5;
  } field;
  field.number = parse_number<int8_t>("-1").value();
  CHECK(field.before == 0xa5);
  CHECK(field.number == -1);
  CHECK(field.after == 0xa5);
}

TEST_CASE("only_decimal_digits_are_a_number") {
  for (const char* text :
       {"", "-", "+1", " 1", "1 ", "1\n", "0x10", "1e9", "1.0", "--1", "1,2", "one", "\xd9\xa1"}) {
    INFO(text);
    CHECK_FALSE(parse_number<int32_t>(text));
    CHECK_FALSE(parse_number<uint32_t>(text));
  }
  CHECK_FALSE(parse_number<uint32_t>("-1"));
  CHECK_FALSE(parse_number<uint32_t>("-0"));
  CHECK_FALSE(parse_number<uint32_t>(std::string_view("1\0", 2)));
}

TEST_CASE("leading_zeros_are_decimal") {
  CHECK(parse_number<uint32_t>("0010") == 10u);
}

TEST_CASE("a_megabyte_of_digits_is_refused_or_read_as_zero") {
  CHECK_FALSE(parse_number<uint64_t>(std::string(1 << 20, '9')));
  CHECK(parse_number<uint64_t>(std::string(1 << 20, '0')) == uint64_t{0});
}
