// Transactions that others come between, and watches.
#include "lib/xen/store.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/support/fake_store.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct Opened {
  FakeStore& nodes = FakeStore::instance();
  std::unique_ptr<Store> store;
  Opened() {
    nodes.reset();
    store = std::move(Store::open()).value();
  }
};

}  // namespace

TEST_CASE("store_without_xenstored_says_the_fix") {
  Opened o;
  o.nodes.open_fails = true;
  const auto store = Store::open();
  REQUIRE_FALSE(store);
  CHECK(store.error().message.starts_with("cannot reach xenstored"));
  CHECK_FALSE(store.error().fix.empty());
}

TEST_CASE("store_a_node_that_is_absent_is_not_an_empty_one") {
  Opened o;
  o.nodes.write("/a/b", "");
  CHECK(o.store->read("/a/b") == "");
  CHECK(o.store->read("/a/c") == std::nullopt);
  CHECK(o.store->directory("/a") == std::vector<std::string>{"b"});
  CHECK(o.store->directory("/x").empty());
}

TEST_CASE("store_a_transaction_is_run_again_when_another_writer_came_between") {
  Opened o;
  o.nodes.write("/a", "1");
  o.nodes.before_end = [&] { o.nodes.write("/a", "2"); };
  std::vector<std::string> seen;
  REQUIRE(o.store->transact([&](StoreTransaction& transaction) {
    seen.push_back(transaction.read("/a").value_or(""));
    return transaction.write("/b", "saw " + seen.back());
  }));
  CHECK(seen == std::vector<std::string>{"1", "2"});
  CHECK(o.nodes.read("/b") == "saw 2");
  CHECK(o.nodes.commits == std::vector<FakeStore::Nodes>{{{"/b", "saw 2"}}});
}

TEST_CASE("store_a_transaction_that_others_always_come_between_is_an_error") {
  Opened o;
  o.nodes.conflicts = 1'000'000;
  int attempts = 0;
  const Status status = o.store->transact([&](StoreTransaction& transaction) {
    ++attempts;
    return transaction.write("/a", "1");
  });
  REQUIRE_FALSE(status);
  CHECK(status.error().message.find("another writer") != std::string::npos);
  CHECK(attempts > 10);
  CHECK(o.nodes.read("/a") == std::nullopt);
}

TEST_CASE("store_the_body_s_error_ends_the_transaction_with_nothing_written") {
  Opened o;
  int attempts = 0;
  const Status status = o.store->transact([&](StoreTransaction& transaction) -> Status {
    ++attempts;
    if (Status written = transaction.write("/a", "1"); !written) return written;
    return Error{"no"};
  });
  REQUIRE_FALSE(status);
  CHECK(status.error().message == "no");
  CHECK(attempts == 1);
  CHECK(o.nodes.read("/a") == std::nullopt);
  CHECK(o.nodes.open_transactions.empty());
}

TEST_CASE("store_what_is_removed_in_a_transaction_is_gone_with_what_is_written") {
  Opened o;
  o.nodes.write("/d/error", "old");
  REQUIRE(o.store->transact([](StoreTransaction& transaction) -> Status {
    if (Status removed = transaction.remove("/d/error"); !removed) return removed;
    if (Status absent = transaction.remove("/d/none"); !absent) return absent;
    return transaction.write("/d/state", "2");
  }));
  CHECK(o.nodes.read("/d/error") == std::nullopt);
  CHECK(o.nodes.read("/d/state") == "2");
}

TEST_CASE("store_all_waiting_events_are_taken_at_once") {
  Opened o;
  REQUIRE(o.store->watch("/a", "token"));
  for (int i = 0; i < 500; ++i) o.nodes.write("/a/b", std::to_string(i));
  o.nodes.write("/other", "1");
  std::vector<std::string> paths;
  const auto note = [&](std::string_view path, std::string_view token) {
    CHECK(token == "token");
    paths.emplace_back(path);
  };
  REQUIRE(o.store->drain_watches(note));
  CHECK(paths.size() == 501);  // the first of the watch itself
  CHECK(paths.front() == "/a");
  CHECK(paths.back() == "/a/b");
  REQUIRE(o.store->drain_watches(note));
  CHECK(paths.size() == 501);
  o.store->unwatch("/a", "token");
  o.nodes.write("/a/b", "after");
  REQUIRE(o.store->drain_watches(note));
  CHECK(paths.size() == 501);
}
