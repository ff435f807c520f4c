// A control ring in the life of its vif: it comes, goes, waits for the worker, outlives a restart.
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "control/control_ring.hpp"
#include "control/stats.hpp"
#include "tests/unit/control/control_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

std::string text_of(const std::string& file) {
  std::ostringstream all;
  all << std::ifstream(file).rdbuf();
  return all.str();
}

}  // namespace

TEST_CASE("control_ring_is_there_when_the_guest_has_one") {
  ControlHost host;
  const VifId without = host.add_connected_vif(6);
  CHECK(host.vif(without).control_ring() == nullptr);
  CHECK(xen().bound.size() == 2);
  ControlGuest guest(host);
  guest.connect();
  REQUIRE(guest.ours() != nullptr);
  CHECK(guest.ours()->staged_pages() == 0);
  for (const VifId& id : {without, guest.id})
    CHECK(vif_details(host.vif(id))["connection"]["staged_pages"] == 0);
  CHECK(xen().bound.size() == 5);
  CHECK(xen().mapped(5) == 3);
  CHECK(guest.port() != 0);
  CHECK(xen().notifications.empty());
  CHECK(host.vif(guest.id).connection()->queue().staging == nullptr);
}

TEST_CASE("control_ring_requests_of_before_we_connected_are_served") {
  ControlHost host;
  ControlGuest guest(host);
  const uint16_t first = guest.put(get_size);
  guest.put(add_pages, guest.put_list(guest.pages(1)));
  guest.ring.push();
  guest.connect();
  const auto answer = guest.answer();
  CHECK(answer.id == first);
  CHECK(answer.data == 1024);
  CHECK(guest.answer().status == success);
  CHECK(guest.mapped() == 1);
}

TEST_CASE("control_ring_a_ring_or_channel_that_cannot_be_had_refuses_the_vif_nothing_stays") {
  ControlHost host;
  ControlGuest guest(host);
  const auto refusal = [&] {
    host.connect(guest.id);
    host.settle();
    CHECK(xen().mapped(guest.id.domain) == 0);
    CHECK(xen().bound.empty());
    CHECK(host.next_command() == nullptr);
    return host.nodes.read(ControlHost::backend(guest.id) + "/error").value_or("none");
  };
  SECTION("no such reference") {
    host.nodes.set(ControlHost::frontend(guest.id) + "/ctrl-ring-ref", "999");
    CHECK(refusal() == "cannot map grant 999 of domain 5: Invalid argument");
  }
  SECTION("no channel") {
    host.nodes.remove(ControlHost::frontend(guest.id) + "/event-channel-ctrl");
    CHECK(refusal() == "event-channel-ctrl is absent");
  }
  SECTION("an impossible ring") {  // H03
    guest.ring.req_prod() = netif::control_ring_slots + 1;
    CHECK(refusal() == "ctrl-ring-ref: the guest's ring claims more requests than it holds");
  }
  CHECK(host.vif(guest.id).state() == "refused");
  CHECK(host.vif(guest.id).control_ring() == nullptr);
}

TEST_CASE("control_ring_all_is_unmapped_unbound_and_forgotten_when_the_guest_goes") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  REQUIRE(guest.ask(add_pages, guest.pages(3)).status == success);
  CHECK(text_of(guest.file()) == "1000 0\n1001 0\n1002 0\n");
  const uint32_t port = guest.port();
  host.set_frontend(guest.id, 5);
  host.settle();
  CHECK(xen().mapped(guest.id.domain) == 0);
  CHECK(xen().bound.empty());
  CHECK(guest.ours() == nullptr);
  CHECK_FALSE(std::filesystem::exists(guest.file()));
  // A kick that was on its way, and the pause that was under way, are of nobody.
  xen().kick(port);
  guest.ring.req_prod() = 500;
  CHECK(guest.stays_unanswered());
}

TEST_CASE("control_ring_a_domain_that_dies_leaves_nothing_mapped_and_no_file") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  REQUIRE(guest.ask(add_pages, guest.pages(3)).status == success);
  host.nodes.release(guest.id.domain);
  host.settle();
  CHECK(xen().mapped(guest.id.domain) == 0);
  CHECK_FALSE(std::filesystem::exists(guest.file()));
}

TEST_CASE("control_ring_pages_stay_mapped_until_the_worker_has_let_the_queue_go") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  REQUIRE(guest.ask(add_pages, guest.pages(2)).status == success);
  host.worker_runs = false;
  host.set_frontend(guest.id, 5);
  host.settle();
  host.ack();  // the table without it
  host.settle();
  REQUIRE(host.next_command() != nullptr);
  CHECK(std::holds_alternative<DetachQueue>(host.next_command()->what));
  CHECK(guest.mapped() == 2);
  CHECK(host.vif(guest.id).connection()->queue().staging->find(1000, true) == guest.page(1000));
  host.ack();
  host.settle();
  CHECK(xen().mapped(guest.id.domain) == 0);
}

TEST_CASE("control_ring_a_guest_that_comes_again_begins_with_nothing_mapped") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  REQUIRE(guest.ask(add_pages, guest.pages(3)).status == success);
  for (const int state : {5, 6, 1}) {
    host.set_frontend(guest.id, state);
    host.settle();
  }
  guest.connect();
  CHECK(guest.mapped() == 0);
  CHECK(guest.ours()->staged_pages() == 0);
  guest.ask(add_pages, guest.pages(1));
  CHECK(guest.mapped() == 1);
}

TEST_CASE("control_ring_what_a_file_says_is_not_of_a_guest_that_begins") {
  ControlHost host;
  ControlGuest guest(host);
  guest.pages(1);
  std::ofstream(guest.file()) << "1000 0\n";
  guest.connect();
  CHECK(guest.mapped() == 0);
  CHECK_FALSE(std::filesystem::exists(guest.file()));
}

TEST_CASE("control_ring_without_a_directory_of_state_no_file_is_written") {
  ControlHost host;
  host.world->state_directory = "";
  ControlGuest guest(host);
  const std::string in_no_directory = "/staging-" + guest.id.text();
  const bool was_there = std::filesystem::exists(in_no_directory);
  guest.connect();
  CHECK(guest.ask(add_pages, guest.pages(1)).status == success);
  CHECK(std::filesystem::is_empty(host.state_files.path()));
  CHECK(std::filesystem::exists(in_no_directory) == was_there);
}

TEST_CASE("control_ring_a_vif_that_goes_while_a_request_waits_for_the_worker") {
  for (const uint16_t type : {add_pages, delete_pages}) {
    ControlHost host;
    ControlGuest guest(host);
    guest.connect();
    const List list = guest.pages(2);
    if (type == delete_pages) REQUIRE(guest.ask(add_pages, list).status == success);
    host.worker_runs = false;
    guest.put(type, guest.put_list(list));
    guest.put(add_pages, guest.put_list(list));  // it would be next
    guest.push();
    REQUIRE(host.soon([&] { return guest.use_staging() != nullptr; }));
    GuestQueue* const queue = guest.use_staging()->queue;
    host.set_frontend(guest.id, 5);
    host.settle();
    bool detached = false;
    uint32_t uses = 0;
    for (int i = 0; i < 20 && guest.ours() != nullptr; ++i) {
      REQUIRE(host.soon([&] { return host.next_command() != nullptr; }));
      if (const auto* detach = std::get_if<DetachQueue>(&host.next_command()->what))
        detached = detach->queue == queue;
      if (guest.use_staging() != nullptr) {
        CHECK_FALSE(detached);
        ++uses;
      }
      guest.kick();
      host.ack();
      host.settle();
      CHECK(guest.stays_unanswered() == (uses == 0 || guest.ring.rsp_prod() == 0));
    }
    CHECK(detached);
    CHECK(uses == 1);
    CHECK(xen().mapped(guest.id.domain) == 0);
    CHECK(host.next_command() == nullptr);
    CHECK_FALSE(std::filesystem::exists(guest.file()));
  }
}

TEST_CASE("control_ring_after_a_restart_the_same_pages_are_mapped_and_the_worker_has_them") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const List list = guest.pages(3);
  REQUIRE(guest.ask(add_pages, list).status == success);
  guest.ask(delete_pages, List{list[1]});
  guest.ask(add_pages, guest.pages(1, read_only));
  const std::string kept = text_of(guest.file());
  CHECK(kept == "1000 0\n1002 0\n1003 1\n");
  const uint32_t port_before = guest.port();
  const uint32_t answered = guest.ring.rsp_prod();

  bool drained = false;
  host.watcher->drain([&] { drained = true; });
  host.settle();
  REQUIRE(drained);
  CHECK(xen().mapped(guest.id.domain) == 0);
  CHECK(xen().bound.empty());
  CHECK(text_of(guest.file()) == kept);
  const uint16_t between = guest.put(get_size);  // while nobody is there
  guest.ring.push();

  host.worker_runs = false;
  host.watcher = std::make_unique<VifWatcher>(*host.world);
  REQUIRE(host.watcher->start());
  REQUIRE(host.soon([&] { return guest.use_staging() != nullptr; }));
  CHECK(guest.mapped() == 3);
  const StagingTable* table = guest.use_staging()->table;
  CHECK(table->find(1000, true) == guest.page(1000));
  CHECK(table->find(1001, true) == nullptr);
  CHECK(table->find(1002, true) == guest.page(1002));
  CHECK(table->find(1003, false) == guest.page(1003));
  CHECK(table->find(1003, true) == nullptr);
  CHECK(guest.port() != port_before);
  CHECK(xen().notifications[guest.port()] == 1);  // answers may have been lost
  CHECK(guest.stays_unanswered());
  host.worker_runs = true;
  CHECK(guest.answer().id == between);
  CHECK(guest.ring.rsp_prod() == answered + 1);
  CHECK(host.states(guest.id) == std::vector{2, 4});
  CHECK(guest.ours()->staged_pages() == 3);
  // And it goes on as before.
  CHECK(guest.ask(delete_pages, List{list[0]}).data == 1);
  CHECK(guest.mapped() == 2);
  host.set_frontend(guest.id, 5);
  host.settle();
  CHECK(xen().mapped(guest.id.domain) == 0);
  CHECK_FALSE(std::filesystem::exists(guest.file()));
}

TEST_CASE("control_ring_after_a_restart_without_pages_the_worker_hears_of_none") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  guest.ask(get_size);
  bool drained = false;
  host.watcher->drain([&] { drained = true; });
  host.settle();
  REQUIRE(drained);
  host.worker_runs = false;
  host.watcher = std::make_unique<VifWatcher>(*host.world);
  REQUIRE(host.watcher->start());
  for (int commands = 0; host.soon([&] { return host.next_command() != nullptr; }); ++commands) {
    CHECK(guest.use_staging() == nullptr);
    host.ack();
    if (host.vif(guest.id).connection() != nullptr && commands > 0) break;
  }
  host.worker_runs = true;
  host.settle();
  CHECK(guest.ask(get_size).status == success);
  CHECK(guest.mapped() == 0);
}

TEST_CASE("control_ring_a_restart_answers_what_the_worker_had_yet_to_ack") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  host.worker_runs = false;
  guest.put(add_pages, guest.put_list(guest.pages(2)));
  guest.push();
  REQUIRE(host.soon([&] { return guest.use_staging() != nullptr; }));
  host.worker_runs = true;
  host.restart();
  CHECK(guest.answer().status == success);
  CHECK(guest.mapped() == 2);
  CHECK(guest.ours()->staged_pages() == 2);
}

TEST_CASE("control_ring_several_restarts_lose_nothing") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  for (uint32_t i = 1; i <= 3; ++i) {
    REQUIRE(guest.ask(add_pages, guest.pages(2)).status == success);
    host.restart();
    CHECK(guest.mapped() == 2 * i);
    CHECK(guest.ours()->staged_pages() == 2 * i);
    CHECK(host.vif(guest.id).connection()->queue().staging->find(1000, true) != nullptr);
  }
}

TEST_CASE("control_ring_a_vif_that_is_quarantined_while_a_request_waits_for_the_worker") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  host.worker_runs = false;
  guest.put(add_pages, guest.put_list(guest.pages(2)));
  guest.push();
  REQUIRE(host.soon([&] { return guest.use_staging() != nullptr; }));
  host.quarantine(guest.id);  // the worker's word: another ring's lie
  host.worker_runs = true;
  REQUIRE(host.soon([&] { return host.vif(guest.id).connection() == nullptr; }));
  CHECK(xen().mapped(guest.id.domain) == 0);
  CHECK(xen().bound.empty());
  CHECK_FALSE(std::filesystem::exists(guest.file()));
}

TEST_CASE("control_ring_any_walk_of_requests_and_restarts_keeps_what_was_answered") {
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const auto below = [&](uint32_t count) { return uint32_t(random() % count); };
    ControlHost host;
    ControlGuest guest(host, 5, UINT32_MAX - 30);
    guest.connect();
    guest.pages(30);
    guest.pages(10, read_only);
    std::map<uint32_t, uint16_t> expected;  // flags of what should be mapped, by reference
    for (int step = 0; step < 60; ++step) {
      List list;
      for (uint32_t i = 0; i <= below(6); ++i) {
        const uint32_t reference = ControlGuest::first_page + below(41);  // the last is not granted
        const bool reads = reference >= ControlGuest::first_page + 30 || below(4) == 0;
        list.push_back({.ref = reference, .flags = reads ? read_only : uint16_t{0}});
      }
      const bool adds = below(3) > 0;
      guest.put(adds ? add_pages : delete_pages, guest.put_list(list));
      host.worker_runs = below(2) == 0;
      const bool restarts = below(8) == 0;
      guest.push();
      if (below(2) == 0) host.settle();
      host.worker_runs = true;
      if (restarts) host.restart();
      const auto answer = guest.answer();

      auto after = expected;
      bool well = true;
      uint32_t removed = 0;
      for (const auto& one : list) {
        if (!adds) {
          removed += uint32_t(after.erase(one.ref));
          continue;
        }
        const auto [at, fresh] = after.emplace(one.ref, one.flags);
        well = well && at->second == one.flags && one.ref < ControlGuest::first_page + 40;
      }
      CHECK(answer.status == (well ? success : invalid));
      CHECK(answer.data == removed);
      if (well) expected = after;
      CHECK(guest.mapped() == expected.size());
      const StagingTable* table = host.vif(guest.id).connection()->queue().staging;
      for (uint32_t i = 0; i < 41; ++i) {
        const auto at = expected.find(ControlGuest::first_page + i);
        const bool there = at != expected.end();
        const bool writable = there && at->second == 0;
        const auto found = [&](bool for_writing) {
          return table != nullptr && table->find(ControlGuest::first_page + i, for_writing);
        };
        if (expected.size() <= 4) REQUIRE(found(false) == there);  // more may fill a bucket
        REQUIRE((!found(false) || there));
        REQUIRE(found(true) == (found(false) && writable));
      }
    }
  }
}
