// Xenstore through the product's own Store, over a store of the test's.
#include "lib/xen/store.hpp"

#include <catch2/catch.hpp>

#include <cerrno>

#include "tests/unit/support/fake_store.hpp"

using namespace netback;
using netback::test::FakeStore;

namespace {

using Events = std::vector<std::pair<std::string, std::string>>;

struct Stores {
  FakeStore& xen = FakeStore::instance();
  std::unique_ptr<Store> store;

  Stores() {
    xen.reset();
    store = std::move(Store::open()).value();
  }
  ~Stores() {
    CHECK(xen.transactions.empty());
    store.reset();
    CHECK(xen.open_handles == 0);
  }
  Events drain() {
    Events seen;
    CHECK(store->drain_watches(
        [&](std::string_view path, std::string_view token) { seen.emplace_back(path, token); }));
    return seen;
  }
};

std::string error_of(const Status& status) {
  return status ? "" : status.error().message;
}

}  // namespace

TEST_CASE("store_without_xenstored_says_what_to_do") {
  FakeStore::instance().reset();
  FakeStore::instance().open_error = ENOENT;
  const auto none = Store::open();
  REQUIRE_FALSE(none.ok());
  CHECK(none.error().message == "cannot reach xenstored: No such file or directory");
  CHECK(none.error().fix == "run in a Xen domain, with xenstored started");
}

TEST_CASE("store_an_absent_node_is_nothing_an_empty_one_is_empty") {
  Stores s;
  s.xen.write("/a", "");
  s.xen.write("/b", std::string("x\0y", 3));
  s.xen.write("/c", "secret");
  s.xen.forbidden = "/c";
  CHECK_FALSE(s.store->read("/none"));
  CHECK(s.store->read("/a") == "");
  CHECK(s.store->read("/b") == std::string("x\0y", 3));
  CHECK_FALSE(s.store->read("/c"));
}

TEST_CASE("store_writes_and_removes_what_is_absent_is_fine") {
  Stores s;
  CHECK(s.store->write("/a/b", "1"));
  CHECK(s.store->write("/a/b/c", "2"));
  CHECK(s.store->mkdir("/a/d"));
  CHECK(s.xen.nodes == FakeStore::Nodes{{"/a/b", "1"}, {"/a/b/c", "2"}, {"/a/d", ""}});
  CHECK(s.store->remove("/a/b"));
  CHECK(s.store->remove("/a/b"));
  CHECK(s.xen.nodes == FakeStore::Nodes{{"/a/d", ""}});
}

TEST_CASE("store_what_may_not_be_changed_is_named") {
  Stores s;
  s.xen.forbidden = "/a";
  CHECK(error_of(s.store->write("/a", "1")) == "cannot write xenstore /a: Permission denied");
  CHECK(error_of(s.store->remove("/a")) == "cannot remove xenstore /a: Permission denied");
  CHECK(error_of(s.store->mkdir("/a")) == "cannot make xenstore directory /a: Permission denied");
}

TEST_CASE("store_lists_the_children_of_a_node") {
  Stores s;
  for (const char* path : {"/vif/1/0/state", "/vif/1/0/mac", "/vif/12/0", "/vif/2", "/vifs"})
    s.xen.write(path, "");
  CHECK(s.store->directory("/vif") == std::vector<std::string>{"1", "12", "2"});
  CHECK(s.store->directory("/vif/2").empty());
  CHECK(s.store->directory("/none").empty());
}

TEST_CASE("store_knows_a_domain_s_path_and_whether_it_is_there") {
  Stores s;
  s.xen.write("/local/domain/7", "");
  CHECK(s.store->domain_path(7) == "/local/domain/7");
  CHECK(s.store->is_introduced(7));
  CHECK_FALSE(s.store->is_introduced(8));
  s.xen.gone = true;
  CHECK(s.store->domain_path(7).empty());
}

TEST_CASE("store_a_transaction_appears_at_once") {
  Stores s;
  s.xen.write("/state", "1");
  s.xen.write("/old", "x");
  int runs = 0;
  CHECK(s.store->transact([&](StoreTransaction& transaction) -> Status {
    ++runs;
    CHECK(transaction.read("/state") == "1");
    CHECK_FALSE(transaction.read("/none"));
    CHECK(transaction.write("/feature", "1"));
    CHECK(transaction.write("/state", "2"));
    CHECK(transaction.remove("/old"));
    CHECK(transaction.remove("/none"));
    CHECK(transaction.read("/state") == "2");
    CHECK(s.store->read("/state") == "1");  // nobody else sees it yet
    return Done{};
  }));
  CHECK(runs == 1);
  CHECK(s.xen.nodes == FakeStore::Nodes{{"/feature", "1"}, {"/state", "2"}});
  CHECK(s.xen.committed == 1);
}

TEST_CASE("store_a_transaction_runs_again_from_the_start_when_another_writer_came_between") {
  Stores s;
  s.xen.write("/n", "0");
  int others = 0;
  s.xen.at_end = [&] {
    if (others < 3) s.xen.write("/n", std::to_string(10 * ++others));
  };
  std::vector<std::string> seen;
  CHECK(s.store->transact([&](StoreTransaction& transaction) {
    seen.push_back(transaction.read("/n").value());
    return transaction.write("/n", seen.back() + "+1");
  }));
  CHECK(seen == std::vector<std::string>{"0", "10", "20", "30"});
  CHECK(s.xen.read("/n") == "30+1");
  CHECK(s.xen.conflicts == 3);
  CHECK(s.xen.committed == 1);
}

TEST_CASE("store_a_transaction_that_always_conflicts_is_given_up") {
  Stores s;
  int others = 0;
  s.xen.at_end = [&] { s.xen.write("/n", std::to_string(++others)); };
  const Status given_up = s.store->transact(
      [&](StoreTransaction& transaction) { return transaction.write("/n", "x"); });
  CHECK(error_of(given_up) == "xenstore transaction: another writer came between each time");
  CHECK(others >= 10);
  CHECK(s.xen.read("/n") == std::to_string(others));
}

TEST_CASE("store_a_transaction_whose_body_fails_writes_nothing_and_says_why") {
  Stores s;
  s.xen.write("/a", "1");
  int runs = 0;
  const Status failed = s.store->transact([&](StoreTransaction& transaction) -> Status {
    ++runs;
    CHECK(transaction.write("/a", "2"));
    return Error{"the guest has no ring"};
  });
  CHECK(error_of(failed) == "the guest has no ring");
  CHECK(runs == 1);
  CHECK(s.xen.read("/a") == "1");
  CHECK(s.xen.aborted == 1);
  CHECK(s.xen.committed == 0);
}

TEST_CASE("store_a_transaction_is_not_repeated_for_any_other_reason") {
  Stores s;
  int runs = 0;
  const auto body = [&](StoreTransaction& transaction) {
    ++runs;
    return transaction.write("/a", "1");
  };
  s.xen.end_error = ENOSPC;
  CHECK(error_of(s.store->transact(body)) ==
        "cannot end a xenstore transaction: No space left on device");
  CHECK(runs == 1);
  s.xen.start_error = EBUSY;
  CHECK(error_of(s.store->transact(body)) ==
        "cannot start a xenstore transaction: Device or resource busy");
  CHECK(runs == 1);
}

TEST_CASE("store_a_watch_fires_once_by_itself_then_for_each_change_at_or_below") {
  Stores s;
  CHECK(s.store->watch("/vif", "vifs"));
  CHECK(s.drain() == Events{{"/vif", "vifs"}});
  CHECK(s.drain().empty());
  s.xen.write("/vif", "");
  s.xen.write("/vif/1/0/state", "1");
  s.xen.write("/vifs", "");
  s.xen.remove("/vif/1");
  CHECK(s.drain() == Events{{"/vif", "vifs"}, {"/vif/1/0/state", "vifs"}, {"/vif/1", "vifs"}});
}

TEST_CASE("store_every_waiting_event_is_taken_at_once_also_those_that_come_meanwhile") {
  Stores s;
  CHECK(s.store->watch("/n", "t"));
  for (int i = 0; i < 10'000; ++i) s.xen.write("/n", std::to_string(i));
  uint32_t seen = 0;
  CHECK(s.store->drain_watches([&](std::string_view, std::string_view) {
    if (++seen == 100) s.xen.write("/n", "late");
  }));
  CHECK(seen == 10'002);
  CHECK(s.xen.events.empty());
}

TEST_CASE("store_what_is_unwatched_is_heard_of_no_more_again_is_harmless") {
  Stores s;
  CHECK(s.store->watch("/a", "1"));
  CHECK(s.store->watch("/a", "2"));
  s.drain();
  s.store->unwatch("/a", "1");
  s.store->unwatch("/a", "1");
  s.xen.write("/a/x", "");
  CHECK(s.drain() == Events{{"/a/x", "2"}});
}

TEST_CASE("store_a_watch_beyond_the_quota_says_so") {
  Stores s;
  for (const int error : {E2BIG, ENOSPC, EACCES}) {
    s.xen.watch_error = error;
    const Status refused = s.store->watch("/a", "t");
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().message.starts_with("cannot watch xenstore /a: "));
    CHECK(refused.error().fix.empty() == (error == EACCES));
  }
}

TEST_CASE("store_xenstored_that_ends_is_noticed") {
  Stores s;
  CHECK(s.store->watch("/a", "t"));
  s.xen.gone = true;
  const Status gone = s.store->drain_watches([](std::string_view, std::string_view) {});
  CHECK(error_of(gone) == "xenstored is gone: Input/output error");
}
