// The pages that a guest has us keep mapped: which are, how, and what outlives the process.
#include "control/staging.hpp"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <vector>

#include "tests/unit/control/control_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint16_t staging_domain = 5;

netif::StaticGrant entry(uint32_t reference, uint16_t flags = 0) {
  return {.ref = reference, .flags = flags, .status = 77};
}

// Entries of references in a row.
List row(uint32_t first, uint32_t count, uint16_t flags = 0) {
  List list;
  for (uint32_t i = 0; i < count; ++i) list.push_back(entry(first + i, flags));
  return list;
}

// A guest with pages from 100 on, the last two of which it lets us read alone.
struct StagingGuest {
  static constexpr uint32_t first = 100, pages_max = 1100;
  ConfigDirectory directory;
  const std::string file = directory.path_of("staging-5.0");
  std::vector<Page> pages = std::vector<Page>(pages_max);
  std::unique_ptr<Grants> grants;
  std::optional<Staging> staging;

  StagingGuest() {
    xen().reset();
    grants = Grants::open().value();
    for (uint32_t i = 0; i < pages_max; ++i)
      xen().grant(staging_domain, first + i, pages[i].bytes, i + 2 >= pages_max);
    for (const uint32_t reserved :
         {0, 1, 7})  // as the toolstack grants: the store's page, the console's
      xen().grant(staging_domain, reserved, pages[0].bytes);
    staging.emplace(*grants, staging_domain, file);
  }
  static constexpr uint32_t last = first + pages_max - 1;  // of two that are read-only

  // As the next process: what is mapped is not any more, what is kept is there.
  Staging& restart() {
    staging.emplace(*grants, staging_domain, file);
    return *staging;
  }
  uint8_t* page(uint32_t reference) { return pages[reference - first].bytes; }
  uint32_t mapped() const { return xen().mapped(staging_domain); }
  uint32_t mapped(uint32_t reference) const {
    return xen().grants.at({staging_domain, reference}).mapped;
  }
  void write(const std::string& text) const { std::ofstream(file) << text; }
  std::string text() const {
    std::ostringstream all;
    all << std::ifstream(file).rdbuf();
    return all.str();
  }
  bool has_file() const { return std::filesystem::exists(file); }
};

// What is logged while this lives.
class StagingLog {
 public:
  StagingLog() {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_st>(stream_);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("", sink));
  }
  ~StagingLog() { spdlog::set_default_logger(before_); }
  std::string text() const { return stream_.str(); }

 private:
  std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  std::ostringstream stream_;
};

}  // namespace

TEST_CASE("staging_begins_with_nothing_mapped_and_no_table") {
  StagingGuest guest;
  CHECK(guest.staging->count() == 0);
  CHECK(guest.staging->table() == nullptr);
  CHECK_FALSE(guest.has_file());
}

TEST_CASE("staging_maps_what_it_is_told_as_it_is_told_and_has_a_table_of_it") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(
      List{entry(100), entry(200, read_only), entry(StagingGuest::last, read_only)}));
  CHECK(guest.staging->count() == 3);
  CHECK(guest.mapped() == 3);
  CHECK(xen().grants.at({staging_domain, 100}).maps == std::vector{PROT_READ | PROT_WRITE});
  CHECK(xen().grants.at({staging_domain, 200}).maps == std::vector{PROT_READ});
  const auto table = guest.staging->table();
  REQUIRE(table != nullptr);
  CHECK(table->find(100, true) == guest.page(100));
  CHECK(table->find(200, true) == nullptr);
  CHECK(table->find(200, false) == guest.page(200));
  CHECK(table->find(StagingGuest::last, false) == guest.page(StagingGuest::last));
  CHECK(table->find(101, false) == nullptr);
}

TEST_CASE("staging_a_table_stays_as_it_was_when_more_is_mapped") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(row(100, 1)));
  const auto before = guest.staging->table();
  REQUIRE(guest.staging->add(row(200, 2)));
  CHECK(before->find(200, false) == nullptr);
  for (const uint32_t reference : {100u, 200u, 201u})
    CHECK(guest.staging->table()->find(reference, true) == guest.page(reference));
}

TEST_CASE("staging_one_bad_entry_and_nothing_of_its_list_is_mapped") {
  const netif::StaticGrant bad[] = {
      entry(0),
      entry(7),  // reserved
      entry(102, 2),
      entry(102, 3),       // flags that nobody knows
      entry(102, 0x8000),  //
      entry(99),
      entry(UINT32_MAX),          // not granted
      entry(StagingGuest::last),  // granted to be read
      entry(110, read_only),      // mapped already, and to be written
      entry(111),                 // mapped already, and to be read
  };
  for (const auto& last : bad) {
    INFO(last.ref << " " << last.flags);
    StagingGuest guest;
    REQUIRE(guest.staging->add(List{entry(110), entry(111, read_only)}));
    const std::string kept = guest.text();
    CHECK_FALSE(guest.staging->add(List{entry(100), entry(110), entry(101, read_only), last}));
    CHECK(guest.staging->count() == 2);
    CHECK(guest.mapped() == 2);
    CHECK(guest.mapped(110) == 1);  // which the list names, but which was there before
    CHECK(guest.staging->table()->find(100, false) == nullptr);
    CHECK(guest.text() == kept);
    CHECK_FALSE(guest.staging->add(List{last, entry(100)}));
    CHECK(guest.mapped() == 2);
    CHECK(guest.staging->add(List{entry(100), entry(101, read_only)}));
  }
}

TEST_CASE("staging_what_is_mapped_already_in_the_same_way_is_mapped_once") {
  StagingGuest guest;
  const List list{entry(100), entry(101, read_only), entry(100)};
  REQUIRE(guest.staging->add(list));
  REQUIRE(guest.staging->add(list));
  CHECK(guest.staging->count() == 2);
  CHECK(guest.mapped() == 2);
  CHECK(xen().grants.at({staging_domain, 100}).maps.size() == 1);
  CHECK(xen().grants.at({staging_domain, 101}).maps.size() == 1);
}

TEST_CASE("staging_maps_as_many_pages_as_a_table_may_have_and_no_more") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(row(100, StagingTable::pages_max - 1)));
  CHECK_FALSE(guest.staging->add(row(100 + StagingTable::pages_max - 1, 2)));
  CHECK(guest.mapped() == StagingTable::pages_max - 1);
  REQUIRE(guest.staging->add(row(100 + StagingTable::pages_max - 1, 1)));
  CHECK(guest.staging->count() == StagingTable::pages_max);
  CHECK_FALSE(guest.staging->add(row(100 + StagingTable::pages_max, 1)));
  CHECK(guest.staging->add(row(100, 512)));  // these are there
  CHECK(guest.mapped() == StagingTable::pages_max);
  List one = row(100, 1);
  guest.staging->remove(one);
  CHECK(guest.staging->add(row(100 + StagingTable::pages_max, 1)));
}

TEST_CASE("staging_what_is_removed_stays_mapped_until_the_result_goes") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(row(100, 4)));
  List list{entry(103), entry(99), entry(101), entry(103), entry(0)};
  auto removed = guest.staging->remove(list);
  CHECK(removed.size() == 2);
  std::vector<uint32_t> statuses;
  for (const auto& one : list) statuses.push_back(one.status);
  CHECK(statuses == std::vector<uint32_t>{success, invalid, success, invalid, invalid});
  CHECK(guest.staging->count() == 2);
  CHECK(guest.mapped() == 4);
  const auto table = guest.staging->table();
  for (uint32_t reference = 100; reference < 104; ++reference)
    CHECK((table->find(reference, false) != nullptr) == (reference % 2 == 0));
  removed.clear();
  CHECK(guest.mapped() == 2);
  CHECK(guest.mapped(101) == 0);
  CHECK(guest.mapped(103) == 0);
}

TEST_CASE("staging_without_pages_any_more_there_is_no_table") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(row(100, 2)));
  List list = row(100, 2);
  guest.staging->remove(list);
  CHECK(guest.staging->table() == nullptr);
  CHECK(guest.mapped() == 0);
}

TEST_CASE("staging_a_page_that_was_removed_can_be_mapped_again_otherwise") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(row(100, 1)));
  List list = row(100, 1);
  guest.staging->remove(list);
  CHECK(guest.staging->add(row(100, 1, read_only)));
  CHECK(guest.staging->table()->find(100, true) == nullptr);
}

TEST_CASE("staging_all_is_unmapped_when_it_goes") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(row(100, 3)));
  guest.staging.reset();
  CHECK(guest.mapped() == 0);
}

TEST_CASE("staging_a_restart_maps_the_same_pages_in_the_same_way") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(
      List{entry(100), entry(101, read_only), entry(StagingGuest::last, read_only)}));
  CHECK(guest.has_file());  // before the guest has its answer
  List list = row(100, 1);
  REQUIRE(guest.staging->add(row(300, 2)));
  guest.staging->remove(list);
  Staging& next = guest.restart();
  CHECK(guest.mapped() == 0);
  next.restore();
  CHECK(next.count() == 4);
  CHECK(guest.mapped() == 4);
  const auto table = next.table();
  CHECK(table->find(100, false) == nullptr);
  CHECK(table->find(101, false) == guest.page(101));
  CHECK(table->find(101, true) == nullptr);
  CHECK(table->find(300, true) == guest.page(300));
  CHECK(xen().grants.at({staging_domain, 101}).maps == std::vector{PROT_READ, PROT_READ});
  CHECK(next.add(row(101, 1, read_only)));
  CHECK_FALSE(next.add(row(101, 1)));
}

TEST_CASE("staging_a_restart_leaves_out_what_cannot_be_mapped_any_more") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(row(100, 5)));
  guest.restart();
  xen().revoke(staging_domain, 100);
  xen().revoke(staging_domain, 102);
  xen().grants.at({staging_domain, 104}).read_only = true;
  guest.staging->restore();
  CHECK(guest.staging->count() == 2);
  CHECK(guest.staging->table()->find(101, true) == guest.page(101));
  CHECK(guest.staging->table()->find(103, true) == guest.page(103));
}

TEST_CASE("staging_a_file_is_trusted_no_more_than_a_guest") {
  const struct {
    const char* text;
    uint32_t mapped;
  } cases[] = {{"", 0},
               {"\n\n", 0},
               {"\xff\xfe nonsense \x01", 0},
               {"100", 0},                    // cut off
               {"100 0\n101", 1},             //
               {"100 0\n101 ", 1},            //
               {"0 0\n7 0\n100 0\n", 1},      // reserved
               {"100 2\n101 1\n", 1},         // unknown flags
               {"100 0\n100 0\n100 1\n", 1},  // twice
               {"100 0\nx 0\n101 0\n", 1},    // nothing of what is behind can be told
               {"100 70000\n101 0\n", 0},     // no flags have so many bits
               {"-1 0\n101 0\n", 1},          // no reference is below 0, nor is one so large
               {"99999999999 0\n101 0\n", 0}};
  for (const auto& c : cases) {
    INFO(c.text);
    StagingGuest guest;
    guest.write(c.text);
    guest.staging->restore();
    CHECK(guest.staging->count() == c.mapped);
    CHECK(guest.mapped() == c.mapped);
    CHECK((guest.staging->table() == nullptr) == (c.mapped == 0));
  }
}

TEST_CASE("staging_a_file_of_more_pages_than_there_may_be_is_mapped_as_far_as_that") {
  StagingGuest guest;
  std::string text;
  for (uint32_t i = 0; i < StagingTable::pages_max + 40; ++i)
    text += std::to_string(100 + i) + " 0\n";
  guest.write(text);
  guest.staging->restore();
  CHECK(guest.staging->count() == StagingTable::pages_max);
  CHECK(guest.mapped(100 + StagingTable::pages_max - 1) == 1);
  CHECK(guest.mapped(100 + StagingTable::pages_max) == 0);
}

TEST_CASE("staging_an_endless_file_of_pages_that_cannot_be_mapped_ends") {
  StagingGuest guest;
  std::string text;
  for (uint32_t i = 0; i < 100'000; ++i) text += "5 0\n";
  guest.write(text + "100 0\n");
  guest.staging->restore();
  CHECK(guest.staging->count() == 1);
}

TEST_CASE("staging_nothing_is_restored_where_there_is_no_file") {
  StagingGuest guest;
  guest.staging->restore();
  CHECK(guest.staging->count() == 0);
}

TEST_CASE("staging_what_is_forgotten_is_unmapped_and_no_later_process_knows_of_it") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(row(100, 3)));
  guest.staging->forget();
  CHECK(guest.mapped() == 0);
  CHECK(guest.staging->count() == 0);
  CHECK_FALSE(guest.has_file());
  guest.staging->forget();  // harmless
  guest.restart().restore();
  CHECK(guest.mapped() == 0);
}

TEST_CASE("staging_the_file_is_whole_or_as_it_was") {
  StagingGuest guest;
  REQUIRE(guest.staging->add(row(100, 1)));
  REQUIRE(guest.staging->add(row(101, 1, read_only)));
  CHECK(guest.text() == "100 0\n101 1\n");
  size_t files = 0;
  for ([[maybe_unused]] const auto& one :
       std::filesystem::directory_iterator(guest.directory.path()))
    ++files;
  CHECK(files == 1);
  // What a process left that died while it wrote.
  guest.directory.write("staging-5.0.new", "100 0\n101 1\n102 0\n103");
  guest.write("the last process' and longer than all that this one writes, which must not stay\n");
  List list = row(100, 1);
  guest.staging->remove(list);
  CHECK(guest.text() == "101 1\n");
  // Nothing is written over it where it lies.
  guest.directory.write("staging-5.0.new/in/the/way", "");
  const StagingLog log;
  REQUIRE(guest.staging->add(row(200, 1)));
  CHECK(guest.text() == "101 1\n");
  CHECK(log.text().find("cannot write") != std::string::npos);
}

TEST_CASE("staging_without_a_file_nothing_is_kept") {
  StagingGuest guest;
  const StagingLog log;
  Staging kept_nowhere(*guest.grants, staging_domain, "");
  REQUIRE(kept_nowhere.add(row(100, 1)));
  List list = row(100, 1);
  kept_nowhere.remove(list);
  kept_nowhere.restore();
  CHECK(kept_nowhere.count() == 0);
  kept_nowhere.forget();
  CHECK(std::filesystem::is_empty(guest.directory.path()));
  CHECK(log.text().empty());
}

TEST_CASE("staging_a_file_that_cannot_be_written_is_a_warning_and_the_pages_are_mapped") {
  StagingGuest guest;
  guest.directory.write("taken/by/others", "");
  // Neither can the one be made, nor the other be replaced.
  for (const char* name : {"absent/staging-5.0", "taken"}) {
    const StagingLog log;
    Staging staging(*guest.grants, staging_domain, guest.directory.path_of(name));
    REQUIRE(staging.add(row(100, 2)));
    CHECK(guest.mapped() == 2);
    CHECK(staging.table()->find(101, true) == guest.page(101));
    CHECK(log.text().find("cannot write " + guest.directory.path_of(name)) != std::string::npos);
  }
  const StagingLog log;
  REQUIRE(guest.staging->add(row(100, 2)));
  CHECK(log.text().empty());
}

TEST_CASE("staging_names_its_own_domain_alone") {
  StagingGuest guest;
  Page other;
  xen().grant(6, 50, other.bytes);
  CHECK_FALSE(guest.staging->add(row(50, 1)));
  CHECK(xen().mapped(6) == 0);
}
