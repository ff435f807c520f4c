// Hashing on the control ring: what a guest sets is the worker's when it has its answer, what it
// may not set changes nothing (H20), and however much it asks costs others little (H21).
#include <filesystem>
#include <nlohmann/json.hpp>

#include "control/control_ring.hpp"
#include "control/stats.hpp"
#include "tests/unit/control/control_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint16_t get_hash_types = XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS;
constexpr uint16_t set_hash_types = XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS;
constexpr uint16_t set_hash_key = XEN_NETIF_CTRL_TYPE_SET_HASH_KEY;
constexpr uint16_t get_hash_mapping_size = XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE;
constexpr uint16_t set_hash_mapping_size = XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE;
constexpr uint16_t set_hash_mapping = XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING;
constexpr uint16_t set_hash_algorithm = XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM;
constexpr uint32_t too_large = XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW;
constexpr uint32_t hash_page = ControlGuest::first_page;

struct HashingGuest : ControlHost {
  ControlGuest guest{*this};
  HashingGuest() {
    guest.connect();
    guest.pages(1);
  }
  // A request may wait for the worker: its answer goes to a page of the guest's, which goes first.
  ~HashingGuest() {
    worker_runs = true;
    watcher->drain([] {});
    settle();
  }
  std::string file() const { return state_files.path_of("hashing-" + guest.id.text()); }
  const Hashing* used() { return vif(guest.id).connection()->queue().hashing; }
  const HashSettings& settings() { return guest.ours()->hash_settings(); }
  uint32_t status(uint16_t type, Data data = {}) { return guest.ask(type, data).status; }
  void put_page(const std::vector<uint32_t>& words) {
    std::memcpy(guest.page(hash_page), words.data(), words.size() * 4);
  }
  nlohmann::ordered_json shown() { return vif_details(vif(guest.id))["connection"]; }
};

}  // namespace

TEST_CASE("control_ring_hash_all_that_a_guest_sets_is_the_worker_s_when_it_is_answered") {
  HashingGuest host;
  CHECK(host.used() == nullptr);
  CHECK(host.shown()["hash_types"].empty());
  CHECK(host.shown()["hash_mapping_entries"] == 0);
  CHECK(host.guest.ask(get_hash_mapping_size).data == 128);
  CHECK(host.status(set_hash_algorithm, {1}) == success);
  CHECK(host.used() == nullptr);  // no types yet
  CHECK(host.guest.ask(get_hash_types).data == 15);
  CHECK(host.status(set_hash_types, {15}) == success);
  REQUIRE(host.used() != nullptr);
  for (uint8_t i = 0; i < 60; ++i) host.guest.page(hash_page)[i] = i;
  const Hashing* before = host.used();
  CHECK(host.status(set_hash_key, {hash_page, 40}) == success);
  CHECK(host.used() != before);
  CHECK(host.settings().key[39] == 39);
  CHECK(host.status(set_hash_key, {hash_page, 3}) == success);
  CHECK(host.settings().key[2] == 2);
  CHECK(host.settings().key[3] == 0);
  CHECK(host.status(set_hash_key, {0, 0}) == success);  // of no bytes: any reference, no key
  CHECK(host.settings().key[2] == 0);
  CHECK(host.status(set_hash_mapping_size, {4}) == success);
  host.put_page({0, 0, 0, 0});
  CHECK(host.status(set_hash_mapping, {hash_page, 4, 0}) == success);
  CHECK(host.status(set_hash_mapping, {0, 0, 4}) == success);  // nothing to copy
  CHECK(host.shown()["hash_types"] == nlohmann::json{"ipv4", "ipv4-tcp", "ipv6", "ipv6-tcp"});
  CHECK(host.shown()["hash_mapping_entries"] == 4);
  CHECK(host.status(set_hash_types, {6}) == success);
  CHECK(host.shown()["hash_types"] == nlohmann::json{"ipv4-tcp", "ipv6"});
  CHECK(host.status(set_hash_algorithm, {0}) == success);
  CHECK(host.used() == nullptr);
  CHECK(host.shown()["hash_types"].empty());
  CHECK(host.guest.mapped() == 0);
}

TEST_CASE("control_ring_hash_the_answer_comes_after_the_worker_s_ack_and_the_file") {
  HashingGuest host;
  REQUIRE(host.status(set_hash_algorithm, {1}) == success);
  host.worker_runs = false;
  host.guest.put(set_hash_types, {1});
  host.guest.push();
  REQUIRE(host.soon([&] { return host.next_command() != nullptr; }));
  const auto* use = std::get_if<UseHashing>(&host.next_command()->what);
  REQUIRE(use != nullptr);
  CHECK(use->queue == &host.vif(host.guest.id).connection()->queue());
  CHECK(use->hashing != nullptr);
  CHECK(std::filesystem::exists(host.file()));
  CHECK(host.guest.stays_unanswered());
  host.ack();
  CHECK(host.guest.answer().status == success);
}

TEST_CASE("hostile_h20_what_may_not_be_set_is_answered_so_and_changes_nothing") {
  HashingGuest host;
  REQUIRE(host.status(set_hash_algorithm, {1}) == success);
  REQUIRE(host.status(set_hash_types, {5}) == success);
  host.put_page({0x04030201});
  REQUIRE(host.status(set_hash_key, {hash_page, 4}) == success);
  REQUIRE(host.status(set_hash_mapping_size, {128}) == success);
  const HashSettings before = host.settings();
  const Hashing* used = host.used();
  host.worker_runs = false;  // which need not hear of these
  xen().grant(host.guest.id.domain, 7, host.guest.page(hash_page));
  const struct {
    uint16_t type;
    Data data;
    uint32_t status;
  } bad[] = {
      {set_hash_mapping, {hash_page, 2, 0xffff'ffff}, invalid},  // XSA-270
      {set_hash_mapping, {hash_page, 2, 127}, invalid},
      {set_hash_mapping, {hash_page, 1, 128}, invalid},
      {set_hash_mapping, {hash_page, 128, 1}, invalid},
      {set_hash_mapping, {hash_page, 129, 0}, too_large},
      {set_hash_mapping, {hash_page, 0x4000'0001, 0}, too_large},  // bytes that wrap
      {set_hash_mapping, {hash_page, 0xffff'ffff, 1}, too_large},
      {set_hash_mapping, {hash_page, 1, 0}, invalid},  // its entry is no queue, see below
      {set_hash_mapping, {999, 1, 0}, invalid},        // bad references: nothing, reserved
      {set_hash_mapping, {7, 1, 0}, invalid},
      {set_hash_mapping, {0, 1, 0}, invalid},
      {set_hash_mapping_size, {129}, invalid},
      {set_hash_mapping_size, {0xffff'ffff}, invalid},
      {set_hash_key, {hash_page, 41}, invalid},
      {set_hash_key, {hash_page, 4097}, invalid},
      {set_hash_key, {hash_page, 0xffff'ffff}, invalid},
      {set_hash_key, {999, 40}, invalid},
      {set_hash_key, {7, 40}, invalid},
      {set_hash_types, {16}, invalid},
      {set_hash_types, {0xffff'ffff}, invalid},
      {set_hash_algorithm, {2}, invalid},
      {set_hash_algorithm, {0xffff'ffff}, invalid},
      {0, {1, 1, 1}, not_supported},
      {11, {1, 1, 1}, not_supported},
      {0xffff, {1, 1, 1}, not_supported},
  };
  for (const uint32_t queue : {1u, 2u, 0x8000'0000u, 0xffff'ffffu}) {  // the vif has queue 0 alone
    host.put_page({queue});
    for (const auto& request : bad) {
      INFO(request.type << " " << request.data[0] << " " << request.data[1] << " "
                        << request.data[2]);
      const auto answer = host.guest.ask(request.type, request.data);
      CHECK(answer.status == request.status);
      CHECK(answer.data == 0);
    }
  }
  CHECK(host.next_command() == nullptr);
  CHECK(host.used() == used);
  CHECK(host.settings().types == before.types);
  CHECK(host.settings().algorithm == before.algorithm);
  CHECK(host.settings().key == before.key);
  CHECK(host.settings().mapping == before.mapping);
  CHECK(host.settings().mapping_entries == 128);
  CHECK(host.vif(host.guest.id).state() == "connected");
}

TEST_CASE("hostile_h20_one_bad_entry_of_many_and_nothing_of_the_mapping_changes") {
  HashingGuest host;
  REQUIRE(host.status(set_hash_mapping_size, {128}) == success);
  for (const uint32_t at : {0u, 64u, 127u}) {
    std::vector<uint32_t> entries(128, 0);
    entries[at] = 1;
    host.put_page(entries);
    CHECK(host.status(set_hash_mapping, {hash_page, 128, 0}) == invalid);
    CHECK(host.settings().mapping[at] == 0);
  }
}

TEST_CASE("hostile_h20_without_an_algorithm_there_are_no_types_to_read_or_set") {
  HashingGuest host;
  const auto answer = host.guest.ask(get_hash_types);
  CHECK(answer.status == not_supported);
  CHECK(answer.data == 0);
  CHECK(host.status(set_hash_types, {1}) == invalid);
  CHECK(host.settings().types == 0);
  CHECK(host.guest.ask(get_hash_mapping_size).data == 128);
}

TEST_CASE("hostile_h21_a_ring_full_of_requests_of_every_type_is_a_bounded_few_at_once") {
  for (const uint32_t start : {0u, UINT32_MAX - 20}) {
    ControlHost host;
    ControlGuest guest(host, 5, start);
    guest.connect().rest();
    for (uint32_t i = 0; i < netif::control_ring_slots; ++i)
      guest.put(static_cast<uint16_t>(i % 13), {1, 1, 1});
    guest.push();
    uint32_t answered = 0, most = 0;
    for (int rounds = 0; rounds < 5000 && answered < netif::control_ring_slots; ++rounds) {
      while (host.next_command() != nullptr) host.ack();
      const uint32_t before = guest.ring.rsp_prod();
      host.loop->run_once(std::chrono::milliseconds(1));
      most = std::max(most, guest.ring.rsp_prod() - before);
      while (guest.ring.get()) ++answered;
    }
    CHECK(answered == netif::control_ring_slots);
    CHECK(most <= 17);  // 16 of a turn, and one that waited for the worker
    CHECK(guest.ring.rsp_prod() == start + netif::control_ring_slots);
  }
}

TEST_CASE("hostile_h21_a_flood_that_does_not_end_leaves_the_loop_to_others") {
  HashingGuest host;
  uint32_t turns_of_others = 0, answered = 0;
  const auto until = Loop::Clock::now() + std::chrono::milliseconds(60);
  Loop::TimerId timer{};
  std::function<void()> others = [&] {
    ++turns_of_others;
    timer = host.loop->at(Loop::Clock::now() + std::chrono::milliseconds(1), others);
  };
  others();
  while (Loop::Clock::now() < until) {
    for (uint32_t i = host.guest.ring.free_slots(); i > 0; --i)
      host.guest.put(set_hash_algorithm, {1});
    host.guest.push();
    host.guest.kick();
    while (host.next_command() != nullptr) host.ack();
    host.loop->run_once(Loop::Clock::duration::zero());
    while (host.guest.ring.get()) ++answered;
  }
  host.loop->cancel(timer);  // which is of this test alone
  CHECK(turns_of_others >= 20);
  CHECK(answered > 0);
  CHECK(answered < 60 * 17);
  CHECK(host.vif(host.guest.id).state() == "connected");
}

TEST_CASE("hostile_h21_more_requests_than_the_ring_holds_quarantine_the_vif_and_nothing_is_read") {
  for (const uint32_t claimed :
       {netif::control_ring_slots + 1, netif::control_ring_slots + 2, 0x8000'0000u, 0xffff'ffffu}) {
    HashingGuest host;
    REQUIRE(host.status(set_hash_algorithm, {1}) == success);
    host.guest.rest();
    const uint32_t answered = host.guest.ring.rsp_prod();
    for (uint32_t i = 0; i < netif::control_ring_slots; ++i) host.guest.put(set_hash_types, {1});
    host.guest.ring.req_prod() = answered + claimed;
    host.guest.kick();
    REQUIRE(host.soon([&] { return host.vif(host.guest.id).state() == "quarantined"; }));
    REQUIRE(host.soon([&] { return host.vif(host.guest.id).connection() == nullptr; }));
    CHECK(host.guest.ring.rsp_prod() == answered);
    CHECK(xen().mapped(host.guest.id.domain) == 0);
    CHECK_FALSE(std::filesystem::exists(host.file()));
  }
}

TEST_CASE("control_ring_hash_what_was_set_outlives_a_restart_and_goes_with_the_guest") {
  HashingGuest host;
  REQUIRE(host.status(set_hash_algorithm, {1}) == success);
  REQUIRE(host.status(set_hash_types, {3}) == success);
  REQUIRE(host.status(set_hash_mapping_size, {7}) == success);
  host.restart();
  REQUIRE(host.vif(host.guest.id).connection() != nullptr);
  CHECK(host.used() != nullptr);
  CHECK(host.settings().types == 3);
  CHECK(host.settings().mapping_entries == 7);
  CHECK(host.guest.ask(get_hash_types).data == 15);
  REQUIRE(host.status(set_hash_types, {1}) == success);  // the table of the restart goes
  host.restart();
  CHECK(host.settings().types == 1);
  host.set_frontend(host.guest.id, 5);
  host.settle();
  CHECK_FALSE(std::filesystem::exists(host.file()));
  for (const int state : {6, 1}) {
    host.set_frontend(host.guest.id, state);
    host.settle();
  }
  host.guest.connect();
  CHECK(host.used() == nullptr);
  CHECK_FALSE(host.settings().on());
}

TEST_CASE("control_ring_hash_what_a_file_says_is_not_of_a_guest_that_begins") {
  ControlHost host;
  ControlGuest guest(host);
  std::string key;
  for (int i = 0; i < 40; ++i) key += "9 ";
  std::ofstream(host.state_files.path_of("hashing-" + guest.id.text())) << "1 15\n" + key + "\n0\n";
  guest.connect();
  CHECK(host.vif(guest.id).connection()->queue().hashing == nullptr);
  CHECK_FALSE(guest.ours()->hash_settings().on());
}

TEST_CASE("control_ring_hash_a_vif_that_goes_while_a_request_waits_for_the_worker") {
  HashingGuest host;
  REQUIRE(host.status(set_hash_algorithm, {1}) == success);
  host.worker_runs = false;
  host.guest.put(set_hash_types, {1});
  host.guest.put(set_hash_types, {2});  // it would be next
  host.guest.push();
  REQUIRE(host.soon([&] { return host.next_command() != nullptr; }));
  host.set_frontend(host.guest.id, 5);
  host.settle();
  host.worker_runs = true;
  REQUIRE(host.soon([&] { return host.vif(host.guest.id).connection() == nullptr; }));
  CHECK(host.state(host.guest.id) == 5);
  CHECK_FALSE(std::filesystem::exists(host.file()));
}

TEST_CASE("control_ring_hash_every_queue_of_a_vif_has_it_before_the_answer") {
  ControlHost host;
  TestGuest one(0, 5), two(0, 5);
  GuestQueue* const both[] = {one.queue.get(), two.queue.get()};
  one.queue->siblings = two.queue->siblings = both;
  Page page, list;
  ControlFrontRing ring(page.bytes);
  xen().grant(5, 300, page.bytes);
  xen().grant(5, 301, list.bytes);
  const std::string file = host.state_files.path_of("hashing-two");
  const auto open = [&](bool resume) {
    return std::move(ControlRing::open({.grants = *host.grants,
                                        .events = *host.control_events,
                                        .worker = *host.link,
                                        .queue = *one.queue,
                                        .file = "",
                                        .hash_file = file,
                                        .broken = [](uint32_t) { FAIL(); }},
                                       {.control_reference = 300, .control_channel = 9}, resume))
        .value();
  };
  auto ours = open(false);
  const auto status = [&](uint16_t type, Data data) {
    ring.put({.id = 1, .type = type, .data = {data[0], data[1], data[2]}});
    ring.push();
    REQUIRE(host.soon([&] { return ring.has_response(); }));
    return ring.get()->status;
  };
  REQUIRE(status(set_hash_algorithm, {1}) == success);
  REQUIRE(status(set_hash_mapping_size, {2}) == success);
  const uint32_t last_queue = 1, no_queue = 2;
  std::memcpy(list.bytes + 4, &no_queue, 4);
  CHECK(status(set_hash_mapping, {301, 2, 0}) == invalid);
  std::memcpy(list.bytes + 4, &last_queue, 4);
  CHECK(status(set_hash_mapping, {301, 2, 0}) == success);
  host.worker_runs = false;
  ring.put({.id = 1, .type = set_hash_types, .data = {15, 0, 0}});
  ring.push();
  for (int queue = 0; queue < 2; ++queue) {
    REQUIRE(host.soon([&] { return host.next_command() != nullptr; }));
    CHECK_FALSE(ring.has_response());
    CHECK(both[queue]->hashing == nullptr);
    host.ack();
    CHECK(both[queue]->hashing != nullptr);
    host.settle();
  }
  REQUIRE(host.soon([&] { return ring.has_response(); }));
  CHECK(ring.get()->status == success);
  host.worker_runs = true;
  ours->stop();
  ours.reset();
  for (GuestQueue* queue : both) queue->hashing = nullptr;
  ours = open(true);  // after a restart
  host.settle();
  for (GuestQueue* queue : both) CHECK(queue->hashing != nullptr);
  CHECK(ours->hash_settings().mapping[1] == 1);
  ours->stop();
}
