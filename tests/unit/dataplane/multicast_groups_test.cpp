#include "dataplane/multicast_groups.hpp"

#include <catch2/catch.hpp>

#include <cstring>
#include <utility>

#include "tests/unit/support/groups.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr rte_ether_addr one_address{{0, 0x16, 0x3e, 0, 0, 1}};

// As forwarding has it: the head of a frame.
uint64_t head_of(const rte_ether_addr& address) {
  uint64_t bytes = 0;
  std::memcpy(&bytes, &address, sizeof address);
  return bytes;
}

uint32_t count_taken(const MulticastGroups& groups, uint32_t numbers) {
  uint32_t taken = 0;
  for (uint32_t i = 0; i < numbers; ++i) taken += groups.takes(head_of(numbered_group(i)));
  return taken;
}

}  // namespace

TEST_CASE("groups: a guest gets all of them until its list is applied, and again after that") {
  MulticastGroups groups;
  CHECK_FALSE(groups.applied());
  CHECK(groups.join(numbered_group(7)));
  CHECK(count_taken(groups, 100) == 100);
  groups.apply(true);
  CHECK(groups.applied());
  CHECK(count_taken(groups, 100) == 1);
  CHECK(groups.takes(head_of(numbered_group(7))));
  groups.apply(false);
  CHECK(count_taken(groups, 100) == 100);
}

TEST_CASE("groups: what is for all, or for one, is no group's") {
  MulticastGroups groups;
  groups.apply(true);
  CHECK(groups.takes(head_of({{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}})));
  CHECK(groups.takes(head_of(one_address)));
  CHECK_FALSE(groups.takes(head_of({{0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}})) == true);
  CHECK_FALSE(groups.takes(head_of({{0xfd, 0xff, 0xff, 0xff, 0xff, 0xff}})));
  CHECK_FALSE(groups.takes(head_of({{0x01, 0, 0, 0, 0, 0}})));
}

TEST_CASE("groups: every byte of an address counts") {
  for (int byte = 0; byte < 6; ++byte) {
    MulticastGroups groups;
    groups.apply(true);
    groups.join(numbered_group(7));
    rte_ether_addr other = numbered_group(7);
    other.addr_bytes[byte] ^= 0x80;
    CHECK_FALSE(groups.takes(head_of(other)));
    CHECK(groups.takes(head_of(numbered_group(7))));
  }
}

TEST_CASE("groups: 64 and no more, each once, and as many again as have left") {
  MulticastGroups groups;
  groups.apply(true);
  for (uint32_t i = 0; i < 64; ++i) {
    REQUIRE(groups.join(numbered_group(i)));
    REQUIRE(groups.join(numbered_group(i)));
  }
  CHECK(groups.joined().size() == 64);
  CHECK_FALSE(groups.join(numbered_group(64)));
  CHECK(count_taken(groups, 1000) == 64);
  for (uint32_t i = 0; i < 64; ++i) CHECK(groups.join(numbered_group(i)));  // full, and no news
  groups.leave(numbered_group(10));
  groups.leave(numbered_group(10));
  groups.leave(numbered_group(700));
  CHECK(count_taken(groups, 1000) == 63);
  CHECK(groups.join(numbered_group(64)));
  CHECK_FALSE(groups.join(numbered_group(10)));
  CHECK(count_taken(groups, 1000) == 64);
  for (uint32_t i = 0; i < 1000; ++i) groups.leave(numbered_group(i));
  CHECK(groups.joined().empty());
  CHECK(count_taken(groups, 1000) == 0);
  for (uint32_t i = 500; i < 564; ++i) CHECK(groups.join(numbered_group(i)));
  CHECK(count_taken(groups, 1000) == 64);
}

TEST_CASE("groups: an address that is no group's is refused, and leaving it takes nothing away") {
  MulticastGroups groups;
  CHECK_FALSE(groups.join(one_address));
  CHECK_FALSE(groups.join({{0, 0, 0, 0, 0, 0}}));
  CHECK_FALSE(groups.join({{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}}));
  CHECK(groups.joined().empty());
  groups.leave(one_address);
  groups.leave({{0, 0, 0, 0, 0, 0}});  // the mark of a free entry
  CHECK(groups.joined().empty());
  CHECK(groups.join(numbered_group(1)));
  groups.apply(true);
  CHECK(groups.takes(head_of(numbered_group(1))));
  CHECK(groups.join({{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}));  // which it gets anyway
}

TEST_CASE("groups: those that are there are found however often others come, go, are refused") {
  for (const bool full : {false, true}) {
    MulticastGroups groups;
    groups.apply(true);
    const uint32_t there = full ? 64 : 63;
    for (uint32_t i = 0; i < there; ++i) groups.join(numbered_group(i));
    uint32_t missed = 0;
    for (uint32_t other = 64; other < 80; ++other)
      for (uint32_t times = 0; times < 300; ++times) {
        CHECK(groups.join(numbered_group(other)) != full);
        groups.leave(numbered_group(other));
        missed += there - count_taken(groups, 64);
      }
    CHECK(missed == 0);
  }
}

TEST_CASE("groups: each change of the list, or of whether it is applied, makes another version") {
  MulticastGroups groups;
  uint32_t last = groups.version();
  const auto changed = [&] { return std::exchange(last, groups.version()) != last; };
  CHECK(last != 0);  // what is read first is always news
  groups.join(numbered_group(1));
  CHECK(changed());
  groups.join(numbered_group(1));
  groups.join(one_address);
  groups.leave(numbered_group(2));
  groups.apply(false);
  CHECK_FALSE(changed());
  groups.leave(numbered_group(1));
  CHECK(changed());
  groups.apply(true);
  CHECK(changed());
  groups.apply(true);
  CHECK_FALSE(changed());
  groups.apply(false);
  CHECK(changed());
}

TEST_CASE("groups: what control reads is what was joined") {
  MulticastGroups groups;
  groups.join(numbered_group(0x1234));
  const auto all = groups.joined();
  REQUIRE(all.size() == 1);
  const rte_ether_addr expected = numbered_group(0x1234);
  CHECK(rte_is_same_ether_addr(&all[0], &expected));
}
