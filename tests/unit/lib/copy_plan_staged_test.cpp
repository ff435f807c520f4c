// A plan's copies from and to pages of the guest that are mapped: no library call, and no
// difference else.
#include <catch2/catch.hpp>

#include <algorithm>

#include "lib/xen/grants.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Direction = CopyPlan::Direction;

constexpr uint16_t domain = 7;
constexpr uint32_t writable = 100, read_only = 101, not_staged = 102, reserved = 5;

// A guest of three pages, the first two staged, and local pages in a row. Each byte of the guest's
// is its own; the local ones are 0.
struct Sides {
  Page guest[3];
  Page local[4];
  std::unique_ptr<Grants> grants;
  // That of a reserved reference, which control makes of no guest's, is there to be found as well.
  const StagingTable table{std::vector<StagingTable::Page>{
      {.bytes = guest[0].bytes, .reference = writable, .writable = true},
      {.bytes = guest[1].bytes, .reference = read_only, .writable = false},
      {.bytes = guest[2].bytes, .reference = reserved, .writable = true}}};

  Sides() {
    FakeXen::instance().reset();
    grants = Grants::open().value();
    for (uint32_t i = 0; i < 3; ++i) {
      for (uint32_t at = 0; at < 4096; ++at) guest[i].bytes[at] = static_cast<uint8_t>(at * 7 + i);
      FakeXen::instance().grant(domain, writable + i, guest[i].bytes, i == 1);
    }
  }
  uint8_t* at(size_t offset) { return local[0].bytes + offset; }
  Bytes here(size_t offset, size_t bytes) { return {at(offset), at(offset) + bytes}; }
  Bytes there(uint32_t page, size_t offset, size_t bytes) const {
    return {guest[page].bytes + offset, guest[page].bytes + offset + bytes};
  }
};

}  // namespace

TEST_CASE("staged: bytes of the guest are copied when the plan runs, not before, by no call") {
  Sides sides;
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(domain, &sides.table);
  REQUIRE(plan.add(writable, 17, sides.at(5), 100));
  REQUIRE(plan.add(read_only, 3000, sides.at(200), 1096));  // to the last byte of its page
  CHECK(plan.staged() == 2);
  CHECK(plan.count() == 0);
  CHECK(plan.room() == 8);
  CHECK(sides.here(0, 2000) == Bytes(2000));
  CHECK(plan.run(*sides.grants) == 0);
  CHECK(xen().copy_calls == 0);
  CHECK(plan.ok(0, 0));
  CHECK(sides.here(5, 100) == sides.there(0, 17, 100));
  CHECK(sides.here(200, 1096) == sides.there(1, 3000, 1096));
  CHECK(sides.here(0, 5) == Bytes(5));
  CHECK(sides.here(105, 95) == Bytes(95));
  CHECK(sides.here(1296, 100) == Bytes(100));
}

TEST_CASE("staged: bytes for the guest are copied when the plan runs, not before, by no call") {
  Sides sides;
  std::fill_n(sides.at(0), 200, uint8_t{0xab});
  const Bytes before = sides.there(0, 0, 4096);
  CopyPlan plan(Direction::to_guest, 8);
  plan.begin_vif(domain, &sides.table);
  REQUIRE(plan.add(writable, 4000, sides.at(50), 96));
  CHECK(plan.staged() == 1);
  CHECK(sides.there(0, 0, 4096) == before);
  CHECK(plan.run(*sides.grants) == 0);
  CHECK(xen().copy_calls == 0);
  Bytes after = before;
  std::fill_n(after.begin() + 4000, 96, uint8_t{0xab});
  CHECK(sides.there(0, 0, 4096) == after);
}

TEST_CASE("staged: our page's end cuts no copy") {
  Sides sides;
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(domain, &sides.table);
  REQUIRE(plan.add(writable, 50, sides.at(4000), 1000));
  CHECK(plan.staged() == 1);
  plan.run(*sides.grants);
  CHECK(sides.here(4000, 1000) == sides.there(0, 50, 1000));
}

TEST_CASE("staged: what is not there is copied by the hypervisor in the same run") {
  for (const auto direction : {Direction::from_guest, Direction::to_guest}) {
    Sides sides;
    for (uint32_t i = 0; i < 4096; ++i) *sides.at(i) = static_cast<uint8_t>(i * 3 + 1);
    CopyPlan plan(direction, 8);
    plan.begin_vif(domain, &sides.table);
    REQUIRE(plan.add(not_staged, 10, sides.at(0), 20));
    REQUIRE(plan.add(writable, 20, sides.at(100), 30));
    REQUIRE(plan.add(not_staged, 500, sides.at(200), 40));
    CHECK(plan.staged() == 1);
    REQUIRE(plan.count() == 2);
    CHECK(plan.segments()[1].len == 40);
    CHECK(plan.run(*sides.grants) == 1);
    CHECK(xen().operations_per_call == std::vector<uint32_t>{2});
    CHECK(plan.ok(0, 2));
    CHECK(sides.here(0, 20) == sides.there(2, 10, 20));
    CHECK(sides.here(100, 30) == sides.there(0, 20, 30));
    CHECK(sides.here(200, 40) == sides.there(2, 500, 40));
  }
}

TEST_CASE("staged: a page that may only be read is written by the hypervisor, which refuses") {
  Sides sides;
  const Bytes before = sides.there(1, 0, 4096);
  CopyPlan plan(Direction::to_guest, 8);
  plan.begin_vif(domain, &sides.table);
  REQUIRE(plan.add(read_only, 0, sides.at(0), 60));
  CHECK(plan.staged() == 0);
  REQUIRE(plan.count() == 1);
  CHECK(plan.run(*sides.grants) == 1);
  CHECK_FALSE(plan.ok(0, 1));
  CHECK(sides.there(1, 0, 4096) == before);
}

TEST_CASE("staged: what lies beyond the guest's page is refused, mapped or not") {  // H11, H19
  for (const auto direction : {Direction::from_guest, Direction::to_guest}) {
    Sides sides;
    CopyPlan plan(direction, 8);
    plan.begin_vif(domain, &sides.table);
    CHECK_FALSE(plan.add(writable, 0, sides.at(0), 4097));
    CHECK_FALSE(plan.add(writable, 4095, sides.at(0), 2));
    CHECK_FALSE(plan.add(writable, 4096, sides.at(0), 1));
    CHECK_FALSE(plan.add(writable, 4097, sides.at(0), 0));
    CHECK_FALSE(plan.add(writable, 1, sides.at(0), UINT32_MAX));
    CHECK(plan.staged() == 0);
    CHECK(plan.add(writable, 0, sides.at(0), 4096));
    CHECK(plan.add(writable, 4095, sides.at(0), 1));
    CHECK(plan.staged() == 2);
    CHECK(plan.count() == 0);
  }
}

TEST_CASE("staged: a reserved reference is refused, mapped or not") {
  Sides sides;
  CopyPlan plan(Direction::from_guest, 8);
  REQUIRE(sides.table.find(reserved, false) != nullptr);
  plan.begin_vif(domain, &sides.table);
  CHECK_FALSE(plan.add(reserved, 0, sides.at(0), 10));
  CHECK(plan.staged() == 0);
  CHECK(plan.count() == 0);
}

TEST_CASE("staged: a cleared plan has forgotten them") {
  Sides sides;
  CopyPlan plan(Direction::from_guest, 1);
  plan.begin_vif(domain, &sides.table);
  REQUIRE(plan.add(writable, 0, sides.at(0), 10));
  plan.clear();
  CHECK(plan.staged() == 0);
  CHECK(plan.run(*sides.grants) == 0);
  CHECK(sides.here(0, 10) == Bytes(10));
  plan.begin_vif(domain, &sides.table);
  REQUIRE(plan.add(writable, 0, sides.at(20), 10));  // there is room again
  CHECK(plan.staged() == 1);
  plan.run(*sides.grants);
  CHECK(sides.here(0, 10) == Bytes(10));
  CHECK(sides.here(20, 10) == sides.there(0, 0, 10));
}

TEST_CASE("staged: each vif's pages are its own, those of the vif before are not used") {
  Sides sides;
  Page others[2];
  others[0].bytes[0] = 0xa1;
  others[1].bytes[0] = 0xb2;
  const StagingTable other_table{std::vector<StagingTable::Page>{
      {.bytes = others[1].bytes, .reference = writable, .writable = true}}};
  xen().grant(8, writable, others[0].bytes);
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(domain, &sides.table);
  REQUIRE(plan.add(writable, 1, sides.at(0), 1));
  plan.begin_vif(8);
  REQUIRE(plan.add(writable, 0, sides.at(1), 1));
  plan.begin_vif(9, &other_table);
  REQUIRE(plan.add(writable, 0, sides.at(2), 1));
  CHECK(plan.staged() == 2);
  REQUIRE(plan.count() == 1);
  CHECK(plan.segments()[0].source.foreign.domid == 8);
  plan.run(*sides.grants);
  CHECK(sides.here(0, 3) == Bytes{sides.guest[0].bytes[1], 0xa1, 0xb2});
}

TEST_CASE("staged: what exceeds the plan's size is left to the hypervisor, and then refused") {
  Sides sides;
  CopyPlan plan(Direction::from_guest, 2);
  plan.begin_vif(domain, &sides.table);
  for (uint32_t i = 0; i < 4; ++i) REQUIRE(plan.add(writable, i * 10, sides.at(i * 10), 10));
  CHECK(plan.staged() == 2);
  CHECK(plan.count() == 2);
  CHECK(plan.room() == 0);
  CHECK_FALSE(plan.add(writable, 0, sides.at(0), 1));
  CHECK(plan.run(*sides.grants) == 1);
  CHECK(plan.ok(0, 2));
  CHECK(sides.here(0, 40) == sides.there(0, 0, 40));
}

TEST_CASE("staged: a call that fails whole takes none of them along") {  // H18
  Sides sides;
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(domain, &sides.table);
  REQUIRE(plan.add(writable, 0, sides.at(0), 10));
  REQUIRE(plan.add(not_staged, 0, sides.at(10), 10));
  xen().failing_domain = domain;
  CHECK(plan.run(*sides.grants) == 2);
  CHECK_FALSE(plan.ok(0, 1));
  CHECK(sides.here(0, 10) == sides.there(0, 0, 10));
  xen().failing_domain = -1;
}
