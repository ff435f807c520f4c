// The pages of a guest that stay mapped, by reference: what is found and what is not.
#include "lib/xen/staging_table.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <vector>

using namespace netback;

namespace {

using Pages = std::vector<StagingTable::Page>;

// No page is looked into: a byte that stands for each is enough.
std::array<uint8_t, StagingTable::pages_max + 64> marks;

Pages pages_from(uint32_t first, uint32_t count, bool writable = true) {
  Pages pages;
  for (uint32_t i = 0; i < count; ++i)
    pages.push_back({.bytes = &marks[i], .reference = first + i, .writable = writable});
  return pages;
}

// References so far apart lie in one bucket of a table of any size.
constexpr uint32_t far_apart = 4 * StagingTable::pages_max;

}  // namespace

TEST_CASE("staging table: finds every page of references in a row, and none beside them") {
  for (const uint32_t count : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 63u, 64u, 65u, 511u, 512u, 513u,
                               1023u, StagingTable::pages_max}) {
    for (const uint32_t first : {8u, 9u, 767u, 1'000'000u, UINT32_MAX - count}) {
      INFO(count << " from " << first);
      const StagingTable table(pages_from(first, count));
      for (uint32_t i = 0; i < count; ++i) {
        REQUIRE(table.find(first + i, false) == &marks[i]);
        REQUIRE(table.find(first + i, true) == &marks[i]);
      }
      CHECK(table.find(first - 1, false) == nullptr);
      CHECK(table.find(first + count, false) == nullptr);
      CHECK(table.find(first + far_apart, false) == nullptr);
    }
  }
}

TEST_CASE("staging table: without pages it finds nothing") {
  const StagingTable table({});
  for (const uint32_t reference : {0u, 1u, 8u, 1000u, UINT32_MAX})
    for (const bool for_writing : {false, true})
      CHECK(table.find(reference, for_writing) == nullptr);
}

TEST_CASE("staging table: what an empty entry looks like is no page") {
  // All references that there are lie in one bucket of one page: three of its entries are empty.
  const StagingTable one(pages_from(8, 1));
  CHECK(one.find(0, false) == nullptr);
  CHECK(one.find(0, true) == nullptr);
  const StagingTable more(pages_from(8, 9));  // the bucket of reference 0 is empty
  CHECK(more.find(0, false) == nullptr);
  CHECK(more.find(3, false) == nullptr);
}

TEST_CASE("staging table: a read-only page is found for reading alone") {
  auto pages = pages_from(1000, 8);
  for (uint32_t i = 0; i < pages.size(); ++i) pages[i].writable = i % 2 == 0;
  const StagingTable table(pages);
  for (uint32_t i = 0; i < pages.size(); ++i) {
    CHECK(table.find(1000 + i, false) == &marks[i]);
    CHECK(table.find(1000 + i, true) == (i % 2 == 0 ? &marks[i] : nullptr));
  }
}

TEST_CASE("staging table: a bucket takes four pages, others are found as ever") {
  for (const uint32_t others : {4u, 64u, 900u}) {
    Pages pages = pages_from(1004, others);  // all of buckets that it shares with none
    for (uint32_t i = 0; i < 7; ++i)
      pages.push_back({.bytes = &marks[others + i],
                       .reference = 1000 + (i + 1) * far_apart + i % 4,
                       .writable = true});
    const StagingTable table(pages);
    for (uint32_t i = 0; i < others; ++i) REQUIRE(table.find(1004 + i, true) == &marks[i]);
    for (uint32_t i = 0; i < 7; ++i)
      CHECK(table.find(1000 + (i + 1) * far_apart + i % 4, true) ==
            (i < 4 ? &marks[others + i] : nullptr));
    CHECK(table.find(1000, true) == nullptr);  // the full bucket's own
  }
}

TEST_CASE(
    "staging table: as many pages as there may be, all in one bucket, leave all but four out") {
  Pages pages;
  for (uint32_t i = 0; i < StagingTable::pages_max; ++i)
    pages.push_back({.bytes = &marks[i], .reference = 8 + i * far_apart, .writable = false});
  const StagingTable table(pages);
  for (uint32_t i = 0; i < pages.size(); ++i)
    REQUIRE(table.find(8 + i * far_apart, false) == (i < 4 ? &marks[i] : nullptr));
}
