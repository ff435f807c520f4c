// A guest's requests on its control ring, and our answers. What becomes of the ring in the life of
// a vif: control_ring_life_test.cpp.
#include "control/control_ring.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "control/stats.hpp"

#include "tests/unit/control/control_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

List joined(List list, const List& more) {
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

}  // namespace

TEST_CASE("control_ring_says_how_many_pages_of_its_one_queue_stay_mapped") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const auto size = guest.ask(get_size);
  CHECK(size.status == success);
  CHECK(size.data == 1024);
  CHECK(guest.ask(get_size, {1, 0, 0}).status == invalid);
  CHECK(guest.ask(get_size, {UINT32_MAX, 0, 0}).status == invalid);
  CHECK(guest.ask(get_size, {1, 0, 0}).data == 0);
}

TEST_CASE("control_ring_what_we_do_not_know_is_answered_so_with_id_and_type") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  List list = guest.pages(1);
  for (const uint16_t type : {0, 11, 12, 65535}) {
    const auto answer = guest.ask(type, list);
    CHECK(answer.status == not_supported);
    CHECK(answer.data == 0);
  }
  CHECK(guest.mapped() == 0);
}

TEST_CASE("control_ring_pages_are_mapped_and_answered_for_once_the_worker_has_them") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const List list = joined(guest.pages(1), guest.pages(1, read_only));
  host.worker_runs = false;
  guest.put(add_pages, guest.put_list(list));
  guest.push();
  REQUIRE(host.soon([&] { return guest.use_staging() != nullptr; }));
  const UseStaging use = *guest.use_staging();
  CHECK(use.queue == &host.vif(guest.id).connection()->queue());
  CHECK(use.table->find(list[0].ref, true) == guest.page(list[0].ref));
  CHECK(use.table->find(list[1].ref, false) == guest.page(list[1].ref));
  CHECK(use.table->find(list[1].ref, true) == nullptr);
  CHECK(guest.mapped() == 2);
  CHECK(std::filesystem::exists(guest.file()));
  CHECK(guest.stays_unanswered());
  host.ack();
  CHECK(guest.answer().status == success);
  CHECK(guest.ours()->staged_pages() == 2);
  CHECK(vif_details(host.vif(guest.id))["connection"]["staged_pages"] == 2);
  CHECK(guest.statuses(2) == std::vector<uint32_t>{77, 77});  // of ADD the guest reads none
}

TEST_CASE("control_ring_a_table_before_goes_when_the_worker_has_the_next") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const List list = guest.pages(3);
  for (uint32_t i = 0; i < 3; ++i) {
    CHECK(guest.ask(add_pages, List{list[i]}).status == success);
    const StagingTable* table = host.vif(guest.id).connection()->queue().staging;
    for (uint32_t other = 0; other < 3; ++other)
      CHECK((table->find(list[other].ref, true) != nullptr) == (other <= i));
  }
  CHECK(guest.mapped() == 3);
}

TEST_CASE("control_ring_a_whole_page_of_entries_is_taken_and_as_many_pages_as_we_said") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  CHECK(guest.ask(add_pages, guest.pages(512)).status == success);
  CHECK(guest.mapped() == 512);
  const StagingTable* table = host.vif(guest.id).connection()->queue().staging;
  CHECK(table->find(ControlGuest::first_page + 511, true) != nullptr);
  CHECK(guest.ask(add_pages, guest.pages(512)).status == success);
  CHECK(guest.ours()->staged_pages() == 1024);
  CHECK(guest.ask(add_pages, guest.pages(1)).status == invalid);
  CHECK(guest.mapped() == 1024);
  List first(512);
  for (uint32_t i = 0; i < 512; ++i) first[i].ref = ControlGuest::first_page + i;
  const auto removed = guest.ask(delete_pages, first);
  CHECK(removed.status == success);
  CHECK(removed.data == 512);
  CHECK(guest.statuses(512) == std::vector<uint32_t>(512, success));
}

TEST_CASE("control_ring_a_bad_request_is_refused_and_leaves_all_as_it_was") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const List kept = guest.pages(1);
  REQUIRE(guest.ask(add_pages, kept).status == success);
  host.worker_runs = false;  // which need not hear of these
  const List more = guest.pages(2);
  const uint32_t list = ControlGuest::list_reference;
  for (const uint16_t type : {add_pages, delete_pages}) {
    guest.put_list(type == add_pages ? more : kept);
    for (const Data& data :
         {Data{0, list, 0}, Data{0, list, 513}, Data{0, list, UINT32_MAX}, Data{1, list, 1},
          Data{UINT32_MAX, list, 1}, Data{0, 999, 1}, Data{0, 0, 1}, Data{0, 7, 1}}) {
      INFO(type << " " << data[0] << " " << data[1] << " " << data[2]);
      const auto answer = guest.ask(type, data);
      CHECK(answer.status == invalid);
      CHECK(answer.data == 0);
    }
  }
  for (const auto& bad :
       {netif::StaticGrant{.ref = 999}, netif::StaticGrant{.ref = 7},
        netif::StaticGrant{.ref = more[0].ref, .flags = 2}, netif::StaticGrant{.ref = 0}})
    CHECK(guest.ask(add_pages, joined(more, {bad})).status == invalid);
  CHECK(guest.mapped() == 1);
  CHECK(guest.ours()->staged_pages() == 1);
  CHECK(host.next_command() == nullptr);
}

TEST_CASE("control_ring_pages_are_unmapped_before_the_guest_is_told_and_after_the_worker_is") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const List list = guest.pages(4);
  REQUIRE(guest.ask(add_pages, list).status == success);
  host.worker_runs = false;
  // Twice the same, one that never was, one that is reserved.
  const List unwanted = {list[1], {.ref = 999}, list[3], list[1], {.ref = 0}};
  guest.put(delete_pages, guest.put_list(unwanted));
  guest.push();
  REQUIRE(host.soon([&] { return guest.use_staging() != nullptr; }));
  const StagingTable* table = guest.use_staging()->table;
  REQUIRE(table != nullptr);
  for (uint32_t i = 0; i < 4; ++i)
    CHECK((table->find(list[i].ref, true) != nullptr) == (i % 2 == 0));
  CHECK(guest.stays_unanswered());
  CHECK(guest.mapped() == 4);
  CHECK(guest.statuses(5) == std::vector<uint32_t>{77, 0, 77, 77, 0});
  uint32_t mapped_when_told = 99;
  xen().during_copy = [&] { mapped_when_told = guest.mapped(); };
  host.ack();
  const auto answer = guest.answer();
  xen().during_copy = nullptr;
  CHECK(mapped_when_told == 2);
  CHECK(answer.status == success);
  CHECK(answer.data == 2);
  CHECK(guest.statuses(5) == std::vector<uint32_t>{success, invalid, success, invalid, invalid});
  CHECK(guest.ours()->staged_pages() == 2);
}

TEST_CASE("control_ring_after_the_last_page_the_worker_has_no_table") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const List list = guest.pages(2);
  REQUIRE(guest.ask(add_pages, list).status == success);
  CHECK(guest.ask(delete_pages, list).data == 2);
  CHECK(host.vif(guest.id).connection()->queue().staging == nullptr);
  CHECK(guest.mapped() == 0);
  const auto again = guest.ask(delete_pages, list);
  CHECK(again.status == success);
  CHECK(again.data == 0);
  CHECK(guest.statuses(2) == std::vector<uint32_t>{invalid, invalid});
}

TEST_CASE("control_ring_statuses_that_cannot_be_told_are_an_error_the_pages_are_unmapped") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const List list = guest.pages(2);
  REQUIRE(guest.ask(add_pages, list).status == success);
  xen().grants.at({guest.id.domain, ControlGuest::list_reference}).read_only = true;
  const auto answer = guest.ask(delete_pages, list);
  CHECK(answer.status == invalid);
  CHECK(answer.data == 2);
  CHECK(guest.mapped() == 0);
  CHECK(guest.statuses(2) == std::vector<uint32_t>{77, 77});
}

TEST_CASE("control_ring_while_one_request_waits_for_the_worker_others_do_too") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  host.worker_runs = false;
  const uint16_t first = guest.put(add_pages, guest.put_list(guest.pages(1)));
  const uint16_t second = guest.put(get_size);
  guest.push();
  CHECK(guest.stays_unanswered());
  REQUIRE(guest.use_staging() != nullptr);
  const uint32_t unmasked = xen().unmasked;
  const uint16_t third = guest.put(add_pages, guest.put_list(guest.pages(1)));
  guest.push();
  guest.kick();
  CHECK(guest.stays_unanswered());
  CHECK_FALSE(host.mailbox.has_commands());  // behind the one that waits
  CHECK(xen().unmasked == unmasked);         // no kick that comes meanwhile costs anything
  host.worker_runs = true;
  for (const uint16_t request : {first, second, third}) {
    const auto answer = guest.answer();
    CHECK(answer.id == request);
    CHECK(answer.status == success);
  }
  CHECK(guest.mapped() == 2);
}

TEST_CASE("control_ring_more_requests_than_a_turn_takes_are_all_answered_after_pauses") {
  for (const uint32_t start : {0u, UINT32_MAX - 20}) {
    ControlHost host;
    ControlGuest guest(host, 5, start);
    guest.connect().rest();
    for (uint32_t i = 0; i < netif::control_ring_slots; ++i) guest.put(i % 2 == 0 ? get_size : 99);
    CHECK(guest.push());
    host.loop->run_once(Loop::Clock::duration::zero());
    CHECK(guest.ring.rsp_prod() - start == 16);
    const auto began = Loop::Clock::now();
    for (uint32_t i = 0; i < netif::control_ring_slots; ++i) {
      const auto answer = guest.answer();
      REQUIRE(answer.id == 40 + i);
      REQUIRE(answer.status == (i % 2 == 0 ? success : not_supported));
    }
    CHECK(Loop::Clock::now() - began >= std::chrono::milliseconds(7));
  }
}

TEST_CASE("control_ring_work_that_takes_long_is_followed_by_a_pause_of_nine_times_that") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect().rest();
  xen().during_copy = [] { std::this_thread::sleep_for(std::chrono::milliseconds(3)); };
  const auto began = Loop::Clock::now();
  CHECK(guest.ask(add_pages, {0, 999, 1}).status == invalid);
  CHECK(guest.ask(get_size).status == success);
  CHECK(Loop::Clock::now() - began >= std::chrono::milliseconds(30));
  xen().during_copy = nullptr;
}

TEST_CASE("control_ring_a_pause_that_is_due_is_not_cut_short_by_the_worker_s_ack") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect().rest();
  xen().during_copy = [] { std::this_thread::sleep_for(std::chrono::milliseconds(3)); };
  const auto began = Loop::Clock::now();
  CHECK(guest.ask(add_pages, guest.pages(1)).status == success);
  xen().during_copy = nullptr;
  CHECK(guest.ask(get_size).status == success);
  CHECK(Loop::Clock::now() - began >= std::chrono::milliseconds(30));
}

TEST_CASE("control_ring_work_after_the_worker_s_ack_is_followed_by_such_a_pause") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const List list = guest.pages(1);
  REQUIRE(guest.ask(add_pages, list).status == success);
  guest.rest();
  host.worker_runs = false;
  guest.put(delete_pages, guest.put_list(list));
  guest.push();
  REQUIRE(host.soon([&] { return guest.use_staging() != nullptr; }));
  // What follows the ack: pages are unmapped, and the statuses written.
  xen().during_copy = [] { std::this_thread::sleep_for(std::chrono::milliseconds(3)); };
  host.worker_runs = true;
  const auto began = Loop::Clock::now();
  CHECK(guest.answer().data == 1);
  xen().during_copy = nullptr;
  CHECK(guest.ask(get_size).status == success);
  CHECK(Loop::Clock::now() - began >= std::chrono::milliseconds(30));
}

TEST_CASE("control_ring_whatever_was_answered_we_ask_to_be_kicked_for_the_next_request") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const List list = guest.pages(1);
  for (const uint16_t type : {get_size, add_pages, add_pages, uint16_t{99}, delete_pages}) {
    guest.put(type, guest.put_list(list));
    CHECK(guest.push());
    guest.answer();
    REQUIRE(guest.is_awaited());
  }
  for (uint32_t i = 0; i < 20; ++i) guest.put(get_size);
  CHECK(guest.push());
  for (uint32_t i = 0; i < 20; ++i) guest.answer();
  REQUIRE(guest.is_awaited());
  guest.put(get_size);
  CHECK(guest.push());
  guest.answer();
}

TEST_CASE("control_ring_kicks_without_requests_are_answered_nothing_and_cost_little") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect().rest();
  const uint32_t before = xen().unmasked;
  const auto began = Loop::Clock::now();
  while (Loop::Clock::now() - began < std::chrono::milliseconds(20)) {
    guest.kick();
    host.loop->run_once(Loop::Clock::duration::zero());
  }
  host.settle();
  const auto took = Loop::Clock::now() - began;
  CHECK(xen().unmasked > before);
  CHECK(xen().unmasked - before <= took / std::chrono::milliseconds(1) + 1);
  CHECK(xen().unmasked_last == guest.port());
  CHECK(guest.ring.rsp_prod() == 0);
  CHECK(xen().notifications.empty());
}

TEST_CASE("control_ring_the_guest_is_told_of_answers_when_it_asked") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect();
  const uint32_t port = guest.port();
  guest.ask(get_size);  // a new ring asks for the first
  CHECK(xen().notifications[port] == 1);
  guest.ask(get_size);
  guest.ask(add_pages, guest.pages(1));
  CHECK(xen().notifications[port] == 1);
  guest.ring.ask_event(3);
  for (int i = 0; i < 5; ++i) {
    guest.ask(get_size);
    CHECK(xen().notifications[port] == (i < 2 ? 1 : 2));
  }
  guest.ring.ask_event();
  guest.ask(add_pages, guest.pages(1));
  CHECK(xen().notifications[port] == 3);
}

TEST_CASE("control_ring_each_guest_s_kicks_are_for_its_own_ring") {
  ControlHost host;
  ControlGuest a(host, 5), b(host, 6);
  a.connect().rest();
  b.connect().rest();
  a.put(get_size);
  b.put(get_size);
  a.ring.push();
  b.push();
  CHECK(b.answer().status == success);
  CHECK(a.stays_unanswered());
  a.kick();
  CHECK(a.answer().status == success);
  const List list = b.pages(1);
  xen().grant(6, ControlGuest::first_page + 5, b.page(list[0].ref));
  // The list, the pages: each guest's own, whatever their numbers.
  CHECK(a.ask(add_pages, a.put_list({{.ref = ControlGuest::first_page + 5}})).status == invalid);
  CHECK(b.ask(add_pages, list).status == success);
  CHECK(host.vif(a.id).connection()->queue().staging == nullptr);
  CHECK(a.mapped() == 0);
  CHECK(b.mapped() == 1);
}

TEST_CASE("control_ring_more_requests_than_the_ring_holds_quarantine_the_vif") {
  for (const uint32_t lie : {netif::control_ring_slots + 1, UINT32_MAX}) {
    ControlHost host;
    ControlGuest guest(host);
    guest.connect();
    const List list = guest.pages(2);
    REQUIRE(guest.ask(add_pages, list).status == success);
    guest.ask(get_size);
    guest.rest();
    guest.ring.req_prod() = guest.ring.rsp_prod() + lie;
    guest.kick();
    REQUIRE(host.soon([&] { return host.vif(guest.id).state() == "quarantined"; }));
    CHECK(host.nodes.read(ControlHost::backend(guest.id) + "/error") ==
          "the guest broke the protocol at slot 2: claims more requests than the ring holds");
    REQUIRE(host.soon([&] { return host.vif(guest.id).connection() == nullptr; }));
    CHECK(xen().mapped(guest.id.domain) == 0);
    CHECK_FALSE(std::filesystem::exists(guest.file()));
    CHECK(guest.ring.rsp_prod() == 2);
  }
}

TEST_CASE("control_ring_a_lie_is_seen_without_a_kick_when_a_pause_ends") {
  ControlHost host;
  ControlGuest guest(host);
  guest.connect().rest();
  guest.ask(get_size);  // the pause begins
  guest.ring.req_prod() = 1000;
  REQUIRE(host.soon([&] { return host.vif(guest.id).state() == "quarantined"; }));
}
