// A vif's limits as its queue has them, and xenstore's rate that changes.
#include "control/vif_session.hpp"

#include <rte_cycles.h>

#include <cmath>

#include "tests/unit/support/control_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

struct RateSession : ControlHost {
  VifId id;

  // A connected vif of that rate in xenstore and of this file.
  explicit RateSession(const std::string& rate = "", const std::string& file = "") {
    if (!file.empty()) files.write("vif.d/g5.toml", "domain = \"g5\"\ndevid = 0\n" + file);
    id = add_vif(5);
    if (!rate.empty()) nodes.set(backend(id) + "/rate", rate);
    settle();
    connect(id);
    settle();
    REQUIRE(state(id) == 4);
  }
  void change(const std::string& rate) {
    nodes.write(backend(id) + "/rate", rate);
    settle();
  }
  const GuestQueue& queue() { return vif(id).connection()->queue(); }
  const Origin<RateLimit>& shown() { return vif(id).plan()->settings.rate; }
  const std::vector<std::string>& warnings() { return vif(id).plan()->settings.warnings; }
};

// Bytes that may pass at once; 0: unlimited.
double at_once(const std::atomic<RateBudget*>& place) {
  const RateBudget* budget = place.load();
  return budget == nullptr ? 0 : std::round(budget->credit(static_cast<int64_t>(rte_rdtsc())));
}

}  // namespace

TEST_CASE("vif_rate_without_one_the_queue_has_no_limits") {
  RateSession host;
  CHECK(host.queue().from_guest_rate == nullptr);
  CHECK(host.queue().to_guest_rate == nullptr);
}

TEST_CASE("vif_rate_xenstore_s_and_the_file_s_are_the_queue_s_from_the_beginning") {
  {
    RateSession host("5000,10000", "rate-to-guest = \"1MB/s@20ms\"\n");
    CHECK(at_once(host.queue().from_guest_rate) == 5'000);
    CHECK(at_once(host.queue().to_guest_rate) == 20'000);
  }
  RateSession host("", "rate = \"1MB/s@7ms\"\n");
  CHECK(at_once(host.queue().from_guest_rate) == 7'000);
  CHECK(host.queue().to_guest_rate == nullptr);
}

TEST_CASE("vif_rate_changes_while_the_vif_is_connected") {
  RateSession host;
  host.change("5000,10000");
  CHECK(at_once(host.queue().from_guest_rate) == 5'000);
  CHECK(host.shown().value == RateLimit{.bytes = 5'000, .interval_us = 10'000});
  CHECK(host.shown().from == "xenstore");
  host.change("6000,10000");
  CHECK(at_once(host.queue().from_guest_rate) == 6'000);
  host.change("");
  CHECK(host.queue().from_guest_rate == nullptr);
  host.change("7000,10000");
  CHECK(at_once(host.queue().from_guest_rate) == 7'000);
  host.nodes.remove(ControlHost::backend(host.id) + "/rate");
  host.settle();
  CHECK(host.queue().from_guest_rate == nullptr);
  CHECK(host.shown().from == "built in");
  CHECK(host.states(host.id) == std::vector{2, 4});
}

TEST_CASE("vif_rate_the_same_again_does_not_forget_what_is_owed") {
  RateSession host("5000,10000");
  host.queue().from_guest_rate.load()->spend(5'000'000, static_cast<int64_t>(rte_rdtsc()));
  host.change("5000,10000");
  CHECK(at_once(host.queue().from_guest_rate) < 0);
}

TEST_CASE("vif_rate_that_cannot_be_understood_changes_nothing_and_is_shown") {
  RateSession host("5000,10000");
  for (int i = 0; i < 3; ++i) host.change("fast" + std::to_string(i));
  CHECK(at_once(host.queue().from_guest_rate) == 5'000);
  REQUIRE(host.warnings().size() == 1);
  CHECK(host.warnings()[0] ==
        "xenstore rate: must be bytes and microseconds, like \"62500,50000\", not \"fast2\"; it "
        "stays 4Mb/s@10ms");
  CHECK(host.vif(host.id).state() == "connected");
  host.change("6000,10000");
  CHECK(host.warnings().empty());
  CHECK(at_once(host.queue().from_guest_rate) == 6'000);
}

TEST_CASE("vif_rate_of_the_file_holds_whatever_xenstore_says_later") {
  RateSession host("", "rate = \"1MB/s@7ms\"\n");
  host.change("5000,10000");
  host.change("nonsense");
  CHECK(at_once(host.queue().from_guest_rate) == 7'000);
  CHECK(host.shown().from == "vif file");
  CHECK(host.warnings().empty());
}

TEST_CASE("vif_rate_that_changes_while_nobody_is_connected_holds_for_who_connects") {
  ControlHost host;
  const VifId id = host.add_vif(5);
  host.settle();
  host.nodes.write(ControlHost::backend(id) + "/rate", "5000,10000");
  host.settle();
  host.connect(id);
  host.settle();
  CHECK(at_once(host.vif(id).connection()->queue().from_guest_rate) == 5'000);
}

TEST_CASE("H29_a_storm_of_rates_is_one_look_at_the_last") {
  RateSession host;
  const uint64_t reads = host.nodes.reads;
  for (int i = 1; i <= 1000; ++i)
    host.nodes.write(ControlHost::backend(host.id) + "/rate", std::to_string(i) + ",2000");
  host.settle();
  CHECK(host.nodes.reads < reads + 20);
  CHECK(at_once(host.queue().from_guest_rate) == 1'000);
}

TEST_CASE("vif_rate_is_one_budget_of_all_queues") {  // H44
  ControlHost host;
  host.files.write(
      "vif.d/g5.toml",
      "domain = \"g5\"\ndevid = 0\nrate = \"1MB/s@7ms\"\nrate-to-guest = \"1MB/s@7ms\"\n");
  const VifId id = host.add_vif(5);
  host.settle();
  host.connect(id, 2);
  host.settle();
  const Connection& connection = *host.vif(id).connection();
  REQUIRE(connection.queues().size() == 2);
  for (const auto place : {&GuestQueue::from_guest_rate, &GuestQueue::to_guest_rate}) {
    CHECK(at_once(connection.queue(0).*place) == 7'000);
    CHECK((connection.queue(0).*place).load() == (connection.queue(1).*place).load());
  }
  CHECK(connection.queue(0).from_guest_rate.load() != connection.queue(0).to_guest_rate.load());
}
