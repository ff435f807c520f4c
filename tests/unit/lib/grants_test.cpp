// Mappings, and the plan of a turn's copies: bounds, cuts, and what a failed call means.
#include "lib/xen/grants.hpp"

#include <sys/mman.h>
#include <catch2/catch.hpp>

#include <algorithm>

#include "lib/netif/netif.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Direction = CopyPlan::Direction;

// Four local pages in a row.
struct Local {
  Page pages[4];
  uint8_t* at(size_t offset) { return pages[0].bytes + offset; }
};

}  // namespace

TEST_CASE("grants: a mapped page is unmapped once") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  Page page;
  xen.grant(7, 100, page.bytes);
  auto grants = Grants::open().value();
  {
    MappedPage mapped = std::move(grants->map(7, 100)).value();
    CHECK(mapped.data() == page.bytes);
    CHECK(xen.grants.at({7, 100}).mapped == 1);
    MappedPage moved = std::move(mapped);
    CHECK(mapped.data() == nullptr);
    MappedPage assigned;
    assigned = std::move(moved);
    CHECK(xen.grants.at({7, 100}).mapped == 1);
  }
  CHECK(xen.grants.at({7, 100}).mapped == 0);
}

TEST_CASE("grants: a page is mapped as it is asked for, to be read and written unless told") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  Page page;
  xen.grant(7, 100, page.bytes);
  auto grants = Grants::open().value();
  CHECK(grants->map(7, 100).ok());
  CHECK(grants->map(7, 100, Grants::Access::read_write).ok());
  CHECK(grants->map(7, 100, Grants::Access::read_only).ok());
  constexpr int both = PROT_READ | PROT_WRITE;
  CHECK(xen.grants.at({7, 100}).maps == std::vector<int>{both, both, PROT_READ});
  CHECK(xen.mapped(7) == 0);
}

TEST_CASE("grants: a page that the guest lets us read alone is mapped read-only or not at all") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  Page page;
  xen.grant(7, 100, page.bytes, true);
  auto grants = Grants::open().value();
  const auto writable = grants->map(7, 100);
  REQUIRE_FALSE(writable.ok());
  CHECK(writable.error().message == "cannot map grant 100 of domain 7: Invalid argument");
  CHECK(xen.mapped(7) == 0);
  MappedPage mapped = std::move(grants->map(7, 100, Grants::Access::read_only)).value();
  CHECK(mapped.data() == page.bytes);
  CHECK(xen.mapped(7) == 1);
}

TEST_CASE("grants: errors name domain and reference") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  auto grants = Grants::open().value();
  const auto absent = grants->map(7, 99);
  REQUIRE_FALSE(absent.ok());
  CHECK(absent.error().message == "cannot map grant 99 of domain 7: Invalid argument");
  xen.open_fails = true;
  const auto closed = Grants::open();
  xen.open_fails = false;
  REQUIRE_FALSE(closed.ok());
  CHECK(closed.error().message == "cannot open /dev/xen/gntdev: No such file or directory");
  CHECK_FALSE(closed.error().fix.empty());
}

TEST_CASE("copy plan: from a guest the guest's page is the source") {  // FBT 22
  Local local;
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(77);  // no reserved domain: FBT's DOMID_SELF made its assertions vacuous
  REQUIRE(plan.add(1234, 17, local.at(5), 100));
  REQUIRE(plan.count() == 1);
  const auto& segment = plan.segments()[0];
  CHECK(segment.flags == GNTCOPY_source_gref);
  CHECK(segment.source.foreign.ref == 1234);
  CHECK(segment.source.foreign.offset == 17);
  CHECK(segment.source.foreign.domid == 77);
  CHECK(segment.dest.virt == local.at(5));
  CHECK(segment.len == 100);
  CHECK(segment.status == GNTST_general_error);  // until the hypervisor says otherwise
}

TEST_CASE("copy plan: to a guest the guest's page is the destination") {  // FBT 36
  Local local;
  CopyPlan plan(Direction::to_guest, 8);
  plan.begin_vif(78);
  REQUIRE(plan.add(1235, 0, local.at(9), 60));
  const auto& segment = plan.segments()[0];
  CHECK(segment.flags == GNTCOPY_dest_gref);
  CHECK(segment.dest.foreign.ref == 1235);
  CHECK(segment.dest.foreign.offset == 0);
  CHECK(segment.dest.foreign.domid == 78);
  CHECK(segment.source.virt == local.at(9));
  CHECK(segment.len == 60);
}

TEST_CASE("copy plan: between two guests both pages are theirs, within their bounds") {
  CopyPlan plan(Direction::to_guest, 2);
  plan.begin_vif(78);
  REQUIRE(plan.add_between({.domain = 77, .reference = 1234, .offset = 17}, 1235, 9, 4079));
  REQUIRE(plan.count() == 1);
  const auto& segment = plan.segments()[0];
  CHECK(segment.flags == (GNTCOPY_source_gref | GNTCOPY_dest_gref));
  CHECK(segment.source.foreign.ref == 1234);
  CHECK(segment.source.foreign.offset == 17);
  CHECK(segment.source.foreign.domid == 77);
  CHECK(segment.dest.foreign.ref == 1235);
  CHECK(segment.dest.foreign.offset == 9);
  CHECK(segment.dest.foreign.domid == 78);
  CHECK(segment.len == 4079);
  CHECK(segment.status == GNTST_general_error);
  CHECK_FALSE(plan.add_between({77, 1234, 17}, 1235, 9, 4080));  // beyond the source
  CHECK_FALSE(plan.add_between({77, 1234, 9}, 1235, 17, 4080));  // beyond the destination
  CHECK_FALSE(plan.add_between({77, 1234, 4097}, 1235, 0, 0));
  CHECK_FALSE(plan.add_between({77, 1234, 0}, 1235, 4097, 0));
  CHECK_FALSE(plan.add_between({77, 7, 0}, 1235, 0, 1));  // reserved
  CHECK_FALSE(plan.add_between({77, 1234, 0}, 7, 0, 1));
  CHECK(plan.count() == 1);
  CHECK(plan.add_between({77, 8, 0}, 8, 0, 4096));
  CHECK_FALSE(plan.add_between({77, 8, 0}, 8, 0, 1));  // full
  CHECK(plan.count() == 2);
}

TEST_CASE("copy plan: refuses what lies beyond the guest's page") {  // H11, H19
  Local local;
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(7);
  CHECK(plan.add(100, 0, local.at(0), 4096));
  CHECK(plan.add(100, 4095, local.at(0), 1));
  CHECK(plan.add(100, 4096, local.at(0), 0));
  CHECK(plan.count() == 2);
  CHECK_FALSE(plan.add(100, 0, local.at(0), 4097));
  CHECK_FALSE(plan.add(100, 4095, local.at(0), 2));
  CHECK_FALSE(plan.add(100, 4096, local.at(0), 1));
  CHECK_FALSE(plan.add(100, 4097, local.at(0), 0));
  CHECK_FALSE(plan.add(100, 1, local.at(0), UINT32_MAX));
  CHECK(plan.count() == 2);
}

TEST_CASE("copy plan: refuses reserved references") {
  Local local;
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(7);
  CHECK_FALSE(plan.add(0, 0, local.at(0), 10));
  CHECK_FALSE(plan.add(7, 0, local.at(0), 10));
  CHECK(plan.count() == 0);
  CHECK(plan.add(8, 0, local.at(0), 10));
}

TEST_CASE("copy plan: cuts where a local page ends") {  // FBT 23, 24, 37
  Local local;
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(7);
  REQUIRE(plan.add(100, 50, local.at(4000), 96));  // to the last byte of the page
  CHECK(plan.count() == 1);
  REQUIRE(plan.add(100, 50, local.at(4000), 1000));
  REQUIRE(plan.count() == 3);
  CHECK(plan.segments()[1].len == 96);
  CHECK(plan.segments()[1].source.foreign.offset == 50);
  CHECK(plan.segments()[2].len == 904);
  CHECK(plan.segments()[2].source.foreign.offset == 146);
  CHECK(plan.segments()[2].dest.virt == local.at(4096));
  REQUIRE(plan.add(100, 0, local.at(4095), 4096));
  REQUIRE(plan.count() == 5);
  CHECK(plan.segments()[3].len == 1);
  CHECK(plan.segments()[4].len == 4095);
}

TEST_CASE("copy plan: a full plan refuses and keeps nothing of the slot") {
  Local local;
  CopyPlan plan(Direction::from_guest, 2);
  plan.begin_vif(7);
  REQUIRE(plan.add(100, 0, local.at(0), 10));
  CHECK(plan.room() == 1);
  CHECK_FALSE(plan.add(100, 0, local.at(4000), 1000));  // would be two
  CHECK(plan.count() == 1);
  CHECK(plan.add(100, 0, local.at(0), 10));
  CHECK(plan.room() == 0);
  CHECK_FALSE(plan.add(100, 0, local.at(0), 1));
}

TEST_CASE("copy plan: an empty plan makes no call") {  // FBT 21, 35
  FakeXen::instance().reset();
  auto grants = Grants::open().value();
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(7);
  CHECK(plan.run(*grants) == 0);
  CHECK(FakeXen::instance().copy_calls == 0);
}

TEST_CASE("copy plan: zero bytes need no operation") {  // H19
  Local local;
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(7);
  CHECK(plan.add(100, 0, local.at(0), 0));
  CHECK(plan.count() == 0);
  CHECK(plan.ok(0, 0));
}

TEST_CASE("copy plan: everything goes in one call, in order, each vif by its domain") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  Page pages[2];
  Local local;
  pages[0].bytes[0] = 0xa1;
  pages[1].bytes[0] = 0xb2;
  xen.grant(7, 100, pages[0].bytes);
  xen.grant(8, 100, pages[1].bytes);  // the same number means another page
  auto grants = Grants::open().value();
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(6);  // plans nothing
  plan.begin_vif(7);
  REQUIRE(plan.add(100, 0, local.at(0), 1));
  plan.begin_vif(8);
  REQUIRE(plan.add(100, 0, local.at(1), 1));
  CHECK(plan.run(*grants) == 1);
  CHECK(xen.operations_per_call == std::vector<uint32_t>{2});
  CHECK(plan.ok(0, 2));
  CHECK(*local.at(0) == 0xa1);
  CHECK(*local.at(1) == 0xb2);
  plan.clear();
  CHECK(plan.count() == 0);
  CHECK(plan.room() == 8);
}

TEST_CASE("copy plan: only the operation that failed is not ok") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  Page page;
  Local local;
  xen.grant(7, 100, page.bytes);
  auto grants = Grants::open().value();
  CopyPlan plan(Direction::from_guest, 8);
  plan.begin_vif(7);
  for (int i = 0; i < 4; ++i) plan.add(i == 2 ? 101 : 100, 0, local.at(0), 4);
  plan.run(*grants);
  CHECK(plan.ok(0, 2));
  CHECK_FALSE(plan.ok(2, 1));
  CHECK_FALSE(plan.ok(0, 4));
  CHECK_FALSE(plan.ok(1, 2));
  CHECK(plan.ok(3, 1));
}

TEST_CASE("copy plan: a failed call drops the vif at fault alone") {  // H18
  FakeXen& xen = FakeXen::instance();
  for (int failing = 7; failing <= 9; ++failing) {
    xen.reset();
    Page page;
    Local local;
    auto grants = Grants::open().value();
    CopyPlan plan(Direction::from_guest, 16);
    for (uint16_t domain = 7; domain <= 9; ++domain) {
      xen.grant(domain, 100, page.bytes);
      plan.begin_vif(domain);
      plan.add(100, 0, local.at(0), 4);
      plan.add(100, 0, local.at(0), 4);
    }
    xen.failing_domain = failing;
    CHECK(plan.run(*grants) == 4);
    for (int domain = 7; domain <= 9; ++domain) {
      const auto first = static_cast<uint32_t>(domain - 7) * 2;
      CHECK(plan.ok(first, 1) == (domain != failing));
      CHECK(plan.ok(first + 1, 1) == (domain != failing));
    }
  }
  xen.reset();
}
