// The pages that all guests together may have us keep mapped.
#include <fstream>
#include <memory>
#include <vector>

#include "control/staging.hpp"
#include "tests/unit/control/control_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint32_t each = StagingTable::pages_max;
constexpr uint32_t full_guests = Staging::pages_of_process_max / each;
static_assert(full_guests * each == Staging::pages_of_process_max);

// Guests that together have more pages than may be mapped; all but the last have theirs mapped.
struct ManyGuests {
  std::vector<uint8_t> marks = std::vector<uint8_t>((full_guests + 1) * each);  // one for each page
  std::unique_ptr<Grants> grants;
  std::vector<std::unique_ptr<Staging>> stagings;
  ConfigDirectory directory;

  ManyGuests() {
    xen().reset();
    grants = Grants::open().value();
    for (uint32_t i = 0; i < marks.size(); ++i)
      xen().grant(domain_of(i / each), 100 + i % each, &marks[i]);
    for (uint32_t guest = 0; guest <= full_guests; ++guest)
      stagings.push_back(std::make_unique<Staging>(*grants, domain_of(guest), ""));
    for (uint32_t guest = 0; guest < full_guests; ++guest) REQUIRE(add(guest, 0, each));
  }
  static uint16_t domain_of(uint32_t guest) { return static_cast<uint16_t>(guest + 1); }
  static List row(uint32_t first, uint32_t count) {
    List list;
    for (uint32_t i = 0; i < count; ++i) list.push_back({.ref = 100 + first + i});
    return list;
  }
  bool add(uint32_t guest, uint32_t first, uint32_t count) {
    return stagings[guest]->add(row(first, count));
  }
  uint32_t mapped() const {
    uint32_t count = 0;
    for (uint32_t guest = 0; guest <= full_guests; ++guest) count += xen().mapped(domain_of(guest));
    return count;
  }
};

constexpr uint32_t last = full_guests;  // has none mapped

}  // namespace

TEST_CASE("staging_all_guests_together_have_so_many_pages_mapped_and_no_more") {
  ManyGuests guests;
  CHECK(guests.mapped() == Staging::pages_of_process_max);
  CHECK_FALSE(guests.add(last, 0, 1));
  CHECK_FALSE(guests.add(last, 0, 500));
  CHECK(guests.add(0, 0, each));  // is there
  CHECK(guests.mapped() == Staging::pages_of_process_max);
  CHECK(guests.stagings[last]->table() == nullptr);
}

TEST_CASE("staging_what_one_guest_gives_back_another_may_have_mapped") {
  ManyGuests guests;
  SECTION("removed") {
    List list = ManyGuests::row(10, 3);
    guests.stagings[0]->remove(list);
    guests.stagings[0]->remove(list);  // of no use
  }
  SECTION("refused") {
    List list = ManyGuests::row(10, 3);
    guests.stagings[0]->remove(list);
    for (int i = 0; i < 3; ++i) {
      CHECK_FALSE(guests.add(last, 0, 4));
      CHECK_FALSE(guests.stagings[last]->add(List{{.ref = 100}, {.ref = 101}, {.ref = 7}}));
    }
  }
  SECTION("forgotten") {
    guests.stagings[1]->forget();
    guests.stagings[1]->forget();
    REQUIRE(guests.add(1, 0, each - 3));
  }
  SECTION("gone") {
    guests.stagings[2].reset();
    guests.stagings[2] =
        std::make_unique<Staging>(*guests.grants, ManyGuests::domain_of(2), std::string());
    REQUIRE(guests.add(2, 0, each - 3));
  }
  CHECK_FALSE(guests.add(last, 0, 4));
  CHECK(guests.add(last, 0, 3));
  CHECK_FALSE(guests.add(last, 3, 1));
  CHECK(guests.mapped() == Staging::pages_of_process_max);
}

TEST_CASE("staging_a_restart_maps_again_as_many_as_there_may_be_together") {
  ManyGuests guests;
  List list = ManyGuests::row(0, 2);
  guests.stagings[0]->remove(list);
  const std::string file = guests.directory.write("staging", "100 0\n101 0\n102 0\n");
  Staging next(*guests.grants, ManyGuests::domain_of(last), file);
  next.restore();
  CHECK(next.count() == 2);
  CHECK(guests.mapped() == Staging::pages_of_process_max);
}
