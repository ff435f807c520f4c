// The pages of each of a vif's queues: mapped for it alone, all given back together.
#include <filesystem>

#include "control/control_ring.hpp"
#include "control/stats.hpp"
#include "tests/unit/control/control_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint32_t queue_count = 3;

struct QueuesGuest {
  ControlHost host;
  ControlGuest guest{host};

  explicit QueuesGuest(uint32_t queues = queue_count) { guest.connect(queues); }
  GuestQueue& queue(uint32_t number) { return host.vif(guest.id).connection()->queue(number); }
  netif::ControlResponse ask(uint16_t type, uint32_t number, const List& list) {
    Data data = guest.put_list(list);
    data[0] = number;
    return guest.ask(type, data);
  }
  bool has(uint32_t number, uint32_t reference) {
    const StagingTable* table = queue(number).staging;
    return table != nullptr && table->find(reference, true) == guest.page(reference);
  }
  // By queue: whether it has this page.
  std::vector<bool> who_has(uint32_t reference) {
    std::vector<bool> all;
    for (uint32_t number = 0; number < queue_count; ++number) all.push_back(has(number, reference));
    return all;
  }
  std::string file(uint32_t number) const {
    return guest.file() + (number == 0 ? "" : "-" + std::to_string(number));
  }
  uint32_t files() const {
    uint32_t count = 0;
    for (uint32_t number = 0; number < limits::vif_queues_max; ++number)
      count += std::filesystem::exists(file(number));
    return count;
  }
};

using Whose = std::vector<bool>;

}  // namespace

TEST_CASE("control_ring_queues_a_page_is_mapped_for_the_queue_that_is_named_and_no_other") {
  QueuesGuest guest;
  for (uint32_t number = 0; number < queue_count; ++number) {
    const List list = guest.guest.pages(2);
    CHECK(guest.ask(add_pages, number, list).status == success);
    Whose expected(queue_count);
    expected[number] = true;
    for (const auto& one : list) CHECK(guest.who_has(one.ref) == expected);
    CHECK(guest.files() == number + 1);
  }
  CHECK(guest.guest.mapped() == 6);
  CHECK(guest.guest.ours()->staged_pages() == 6);
  CHECK(vif_details(guest.host.vif(guest.guest.id))["connection"]["staged_pages"] == 6);
}

TEST_CASE("control_ring_queues_the_worker_of_the_named_queue_hears_of_it_before_the_answer") {
  for (uint32_t number = 0; number < queue_count; ++number) {
    QueuesGuest guest;
    guest.host.worker_runs = false;
    Data data = guest.guest.put_list(guest.guest.pages(1));
    data[0] = number;
    guest.guest.put(add_pages, data);
    guest.guest.push();
    REQUIRE(guest.host.soon([&] { return guest.guest.use_staging() != nullptr; }));
    CHECK(guest.guest.use_staging()->queue == &guest.queue(number));
    CHECK(guest.guest.stays_unanswered());
    guest.host.ack();
    CHECK(guest.guest.answer().status == success);
    CHECK(guest.host.next_command() == nullptr);
  }
}

TEST_CASE("control_ring_queues_one_page_may_be_of_several_and_goes_from_each_for_itself") {
  QueuesGuest guest;
  const List list = guest.guest.pages(1);
  const uint32_t page = list[0].ref;
  CHECK(guest.ask(add_pages, 0, list).status == success);
  CHECK(guest.ask(add_pages, 2, list).status == success);
  CHECK(guest.who_has(page) == Whose{true, false, true});
  const auto not_its = guest.ask(delete_pages, 1, list);
  CHECK(not_its.status == success);
  CHECK(not_its.data == 0);
  CHECK(guest.guest.statuses(1) == std::vector<uint32_t>{invalid});
  CHECK(guest.who_has(page) == Whose{true, false, true});
  CHECK(guest.ask(delete_pages, 0, list).data == 1);
  CHECK(guest.who_has(page) == Whose{false, false, true});
  CHECK(xen().grants.at({guest.guest.id.domain, page}).mapped == 1);
  CHECK(guest.ask(delete_pages, 2, list).data == 1);
  CHECK(guest.guest.mapped() == 0);
  CHECK(guest.queue(2).staging == nullptr);
}

TEST_CASE("control_ring_queues_each_has_room_of_its_own_and_a_vif_has_a_limit") {
  const struct {
    uint32_t queues, pages_max;
  } cases[] = {{1, 1024}, {2, 1024}, {4, 1024}, {5, 819}, {7, 585}, {8, 512}};
  for (const auto& c : cases) {
    INFO(c.queues << " queues");
    QueuesGuest guest(c.queues);
    for (uint32_t number = 0; number < c.queues; ++number) {
      const auto room = guest.guest.ask(get_size, {number, 0, 0});
      CHECK(room.status == success);
      CHECK(room.data == c.pages_max);
    }
  }
  QueuesGuest guest(8);
  const List all = guest.guest.pages(513);
  const List most(all.begin(), all.end() - 1), last(all.end() - 1, all.end());
  for (uint32_t number = 0; number < 8; ++number) {
    CHECK(guest.ask(add_pages, number, most).status == success);
    CHECK(guest.ask(add_pages, number, last).status == invalid);
  }
  CHECK(guest.guest.ours()->staged_pages() == Staging::pages_of_vif_max);
  // A page less of one is a page more of it, and of no other.
  CHECK(guest.ask(delete_pages, 3, List{most[7]}).data == 1);
  CHECK(guest.ask(add_pages, 4, last).status == invalid);
  CHECK(guest.ask(add_pages, 3, last).status == success);
}

TEST_CASE("control_ring_queues_of_a_queue_that_is_none_nothing_is_mapped") {
  QueuesGuest guest;
  const List list = guest.guest.pages(1);
  REQUIRE(guest.ask(add_pages, 2, list).status == success);
  guest.host.worker_runs = false;  // which need not hear of these
  for (const uint32_t number : {queue_count, queue_count + 1, 8u, 0x8000'0000u, UINT32_MAX}) {
    INFO(number);
    CHECK(guest.ask(add_pages, number, list).status == invalid);
    CHECK(guest.ask(delete_pages, number, list).status == invalid);
    const auto room = guest.guest.ask(get_size, {number, 0, 0});
    CHECK(room.status == invalid);
    CHECK(room.data == 0);
  }
  CHECK(guest.who_has(list[0].ref) == Whose{false, false, true});
  CHECK(guest.guest.mapped() == 1);
  CHECK(guest.files() == 1);
  CHECK(guest.host.next_command() == nullptr);
}

TEST_CASE("control_ring_queues_all_pages_of_all_go_with_the_vif") {
  QueuesGuest guest;
  for (uint32_t number = 0; number < queue_count; ++number)
    REQUIRE(guest.ask(add_pages, number, guest.guest.pages(2)).status == success);
  guest.host.set_frontend(guest.guest.id, 5);
  guest.host.settle();
  CHECK(xen().mapped(guest.guest.id.domain) == 0);
  CHECK(guest.files() == 0);
  // Who comes again has none of them.
  for (const int state : {6, 1}) {
    guest.host.set_frontend(guest.guest.id, state);
    guest.host.settle();
  }
  guest.guest.connect(queue_count);
  CHECK(guest.guest.mapped() == 0);
  for (uint32_t number = 0; number < queue_count; ++number)
    CHECK(guest.queue(number).staging == nullptr);
}

TEST_CASE("control_ring_queues_a_restart_gives_each_its_own_pages_again") {
  QueuesGuest guest;
  const List first = guest.guest.pages(2), last = guest.guest.pages(3);
  REQUIRE(guest.ask(add_pages, 0, first).status == success);
  REQUIRE(guest.ask(add_pages, 2, last).status == success);
  guest.host.restart();
  CHECK(guest.guest.ours()->staged_pages() == 5);
  CHECK(guest.guest.mapped() == 5);
  CHECK(guest.queue(1).staging == nullptr);
  for (const auto& one : first) CHECK(guest.who_has(one.ref) == Whose{true, false, false});
  for (const auto& one : last) CHECK(guest.who_has(one.ref) == Whose{false, false, true});
  // And each goes on as before.
  CHECK(guest.ask(delete_pages, 2, last).data == 3);
  CHECK(guest.queue(2).staging == nullptr);
  CHECK(guest.who_has(first[1].ref) == Whose{true, false, false});
  CHECK(guest.ask(add_pages, 1, last).status == success);
  CHECK(guest.who_has(last[2].ref) == Whose{false, true, false});
}

TEST_CASE("control_ring_queues_after_a_restart_no_request_is_served_before_all_have_theirs") {
  QueuesGuest guest;
  for (uint32_t number = 0; number < queue_count; ++number)
    REQUIRE(guest.ask(add_pages, number, guest.guest.pages(1)).status == success);
  bool drained = false;
  guest.host.watcher->drain([&] { drained = true; });
  guest.host.settle();
  REQUIRE(drained);
  guest.guest.put(get_size);
  guest.guest.ring.push();
  guest.host.worker_runs = false;
  guest.host.watcher = std::make_unique<VifWatcher>(*guest.host.world);
  REQUIRE(guest.host.watcher->start());
  for (uint32_t number = 0; number < queue_count; ++number) {
    REQUIRE(guest.host.soon([&] { return guest.guest.use_staging() != nullptr; }));
    CHECK(guest.guest.use_staging()->queue == &guest.queue(number));
    CHECK(guest.guest.stays_unanswered());
    guest.host.ack();
  }
  guest.host.worker_runs = true;
  CHECK(guest.guest.answer().data == 1024);
}
