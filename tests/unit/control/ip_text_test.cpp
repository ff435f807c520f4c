// Addresses as people and xl write them.
#include "control/ip_text.hpp"

#include <catch2/catch.hpp>

#include <string>

namespace netback {
namespace {

using Prefixes = std::vector<AddressPrefix>;

Prefixes parsed(std::string_view text) {
  auto list = parse_addresses(text);
  INFO(text << ": " << (list ? "" : list.error().message));
  REQUIRE(list);
  return list.value();
}

std::string why_not(std::string_view text) {
  const auto list = parse_addresses(text);
  return list ? "accepted" : list.error().message;
}

const AddressPrefix four{.bits = 32, .address = {192, 0, 2, 1}};
const AddressPrefix six{
    .ipv6 = true, .bits = 128, .address = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

TEST_CASE("ip_text_addresses_alone_and_in_lists") {
  CHECK(parsed("192.0.2.1") == Prefixes{four});
  CHECK(parsed("2001:db8::1") == Prefixes{six});
  for (const char* text :
       {"192.0.2.1 2001:db8::1", "192.0.2.1,2001:db8::1", "  192.0.2.1 ,\t2001:db8::1, "})
    CHECK(parsed(text) == Prefixes{four, six});
}

TEST_CASE("ip_text_prefixes") {
  CHECK(parsed("192.0.2.1/32") == Prefixes{four});
  CHECK(parsed("192.0.2.0/31")[0].bits == 31);
  CHECK(parsed("0.0.0.0/0") == Prefixes{AddressPrefix{}});
  CHECK(parsed("2001:db8::1/128") == Prefixes{six});
  CHECK(parsed("::/0") == Prefixes{AddressPrefix{.ipv6 = true}});
  CHECK(parsed("fe80::/10")[0].bits == 10);
}

TEST_CASE("ip_text_what_cannot_be_is_named") {
  for (const std::string word :
       {"192.0.2", "192.0.2.256", "example.org", "2001:db8::1::", "192.0.2.1/33", "2001:db8::/129",
        "192.0.2.1/", "192.0.2.1/-1", "192.0.2.1/24x", "/24",
        // An address of a network is not all of it.
        "192.0.2.1/24", "192.0.2.1/31", "2001:db8::1/64", "fe80::/8", "192.0.2.0/255.255.255.0",
        "192.0.2.1;"}) {
    CHECK(why_not("192.0.2.7 " + word) ==
          "must be addresses like \"192.0.2.1 2001:db8::1\" or prefixes like \"192.0.2.0/28\", not "
          "\"" +
              word + "\"");
  }
  CHECK(why_not("") == "must be an address, not \"\"");
  CHECK(why_not(" , ") == "must be an address, not \" , \"");
}

TEST_CASE("ip_text_64_addresses_and_no_more") {
  std::string text;
  for (int i = 0; i < 64; ++i) text += "192.0.2." + std::to_string(i) + " ";
  CHECK(parsed(text).size() == 64);
  CHECK(why_not(text + "192.0.2.64") == "must be at most 64 addresses");
}

}  // namespace
}  // namespace netback
