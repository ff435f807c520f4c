#include "control/connection.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "control/ring_recovery.hpp"
#include "tests/unit/support/fake_xen.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Request = netif::FromGuestRequest;

Request request(uint16_t id, uint16_t flags = 0) {
  Request made{};
  made.gref = 100;
  made.id = id;
  made.flags = flags;
  made.size = 60;
  return made;
}

Request extra(bool more) {
  netif::ExtraInfo info{};
  info.type = XEN_NETIF_EXTRA_TYPE_GSO;
  info.flags = more ? XEN_NETIF_EXTRA_FLAG_MORE : 0;
  Request slot{};
  std::memcpy(&slot, &info, sizeof info);
  return slot;
}

std::vector<int> statuses(const std::vector<Request>& requests) {
  std::vector<int> result;
  for (const auto& answer : recovery_answers(requests)) result.push_back(answer.status);
  return result;
}

constexpr int error = NETIF_RSP_ERROR, null = NETIF_RSP_NULL;

// A guest's two ring pages as a guest makes them, granted.
struct Rings {
  static constexpr uint16_t domain = 5;
  struct Page {
    uint32_t req_prod = 0, req_event = 1, rsp_prod = 0, rsp_event = 1;
    uint8_t pad[48] = {};
    std::array<uint8_t, 4032> slots = {};
  };
  struct alignas(4096) Pages {
    Page from_guest, to_guest;
  };
  std::unique_ptr<Pages> pages = std::make_unique<Pages>();
  std::unique_ptr<Grants> grants;
  std::unique_ptr<EventChannels> events;
  Agreement agreement{.queues = {{.from_guest_reference = 20,
                                  .to_guest_reference = 21,
                                  .from_guest_channel = 3,
                                  .to_guest_channel = 4}}};

  Rings() {
    FakeXen::instance().reset();
    grants = std::move(Grants::open()).value();
    events = std::move(EventChannels::open()).value();
    FakeXen::instance().grant(domain, 20, reinterpret_cast<uint8_t*>(&pages->from_guest));
    FakeXen::instance().grant(domain, 21, reinterpret_cast<uint8_t*>(&pages->to_guest));
  }
  void put(uint32_t position, const Request& slot) {
    std::memcpy(&pages->from_guest.slots[position % 256 * 12], &slot, sizeof slot);
  }
  netif::FromGuestResponse answer(uint32_t position) const {
    netif::FromGuestResponse response;
    std::memcpy(&response, &pages->from_guest.slots[position % 256 * 12], sizeof response);
    return response;
  }
  Result<std::unique_ptr<Connection>> open(bool resume = false) {
    return Connection::open(*grants, *events, {.index = 9, .domain = domain, .settings = {}},
                            agreement, resume);
  }
  static uint32_t mapped() {
    uint32_t count = 0;
    for (const auto& [key, grant] : FakeXen::instance().grants) count += grant.mapped;
    return count;
  }
  static size_t bound() { return FakeXen::instance().bound.size(); }
};

}  // namespace

TEST_CASE("recovery_requests_are_answered_error_with_their_ids") {
  const auto answers = recovery_answers(std::vector{request(7), request(9)});
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].id == 7);
  CHECK(answers[1].id == 9);
  CHECK(answers[0].status == NETIF_RSP_ERROR);
  CHECK(answers[1].status == NETIF_RSP_ERROR);
}

TEST_CASE("recovery_nothing_left_over_needs_no_answer") {
  CHECK(recovery_answers({}).empty());
}

TEST_CASE("recovery_extra_info_is_answered_null_the_frame_after_it_error") {
  CHECK(statuses({request(1, NETTXF_extra_info), extra(false), request(2)}) ==
        std::vector{error, null, error});
  CHECK(statuses({request(1, NETTXF_extra_info), extra(true), extra(false), request(2)}) ==
        std::vector{error, null, null, error});
}

TEST_CASE("recovery_extra_info_lies_between_the_first_slot_and_the_others") {
  CHECK(statuses({request(1, NETTXF_extra_info | NETTXF_more_data), extra(false),
                  request(2, NETTXF_more_data), request(3), request(4)}) ==
        std::vector{error, null, error, error, error});
}

TEST_CASE("recovery_a_later_slot_of_a_frame_announces_no_extra_info") {
  CHECK(statuses({request(1, NETTXF_more_data), request(2, NETTXF_extra_info), request(3)}) ==
        std::vector{error, error, error});
}

TEST_CASE("recovery_the_slot_after_a_whole_chain_starts_a_frame") {
  CHECK(statuses({request(1, NETTXF_more_data), request(2), request(3, NETTXF_extra_info),
                  extra(false), request(4)}) == std::vector{error, error, error, null, error});
}

TEST_CASE("recovery_a_frame_with_more_data_and_extras_goes_on_after_them") {
  // Without the memory of more_data the fourth slot would be a first one with extra info.
  CHECK(statuses({request(1, NETTXF_extra_info | NETTXF_more_data), extra(false),
                  request(2, NETTXF_extra_info), request(3)}) ==
        std::vector{error, null, error, error});
}

TEST_CASE("recovery_extra_info_that_never_ends_ends_with_the_requests") {
  std::vector<Request> endless(256, extra(true));
  endless[0] = request(1, NETTXF_extra_info);
  const auto answers = recovery_answers(endless);
  CHECK(answers.size() == 256);
  CHECK(answers.back().status == NETIF_RSP_NULL);
}

TEST_CASE("connection_maps_both_rings_and_binds_both_channels_gives_all_back") {
  Rings rings;
  {
    auto connection = rings.open();
    REQUIRE(connection);
    const GuestQueue& queue = connection.value()->queue();
    CHECK(queue.vif == 9);
    CHECK(queue.domain == Rings::domain);
    CHECK(queue.from_guest_port != queue.to_guest_port);
    CHECK(queue.settings == &connection.value()->settings());
    CHECK(Rings::mapped() == 2);
    CHECK(Rings::bound() == 2);
    CHECK(FakeXen::instance().notifications.empty());
  }
  CHECK(Rings::mapped() == 0);
  CHECK(Rings::bound() == 0);
}

TEST_CASE("connection_one_channel_for_both_directions_is_bound_once") {
  Rings rings;
  rings.agreement.queues[0].to_guest_channel = rings.agreement.queues[0].from_guest_channel;
  auto connection = rings.open();
  REQUIRE(connection);
  CHECK(Rings::bound() == 1);
  CHECK(connection.value()->queue().from_guest_port == connection.value()->queue().to_guest_port);
}

TEST_CASE("connection_a_reference_that_cannot_be_mapped_is_named_nothing_stays") {
  Rings rings;
  rings.agreement.queues[0].to_guest_reference = 22;
  const auto connection = rings.open();
  REQUIRE_FALSE(connection);
  CHECK(connection.error().message.find("22") != std::string::npos);
  CHECK(Rings::mapped() == 0);
  CHECK(Rings::bound() == 0);
}

TEST_CASE("H03_a_ring_that_claims_more_than_it_holds_refuses_the_connect_nothing_stays") {
  for (const bool from_guest : {true, false}) {
    for (const uint32_t claimed : {257u, 0x8000'0000u, 0xffff'ffffu}) {
      Rings rings;
      (from_guest ? rings.pages->from_guest : rings.pages->to_guest).req_prod = claimed;
      const auto connection = rings.open();
      REQUIRE_FALSE(connection);
      CHECK(connection.error().message.starts_with(from_guest ? "tx-ring-ref" : "rx-ring-ref"));
      CHECK(Rings::mapped() == 0);
      CHECK(Rings::bound() == 0);
    }
  }
}

TEST_CASE("connection_what_was_agreed_is_in_the_queue_s_settings") {
  Rings rings;
  rings.agreement.takes_chains = rings.agreement.takes_blank_ipv6 = true;
  rings.agreement.takes_blank_ipv4 = false;
  rings.agreement.takes_gso_tcpv6 = true;
  rings.agreement.notifies_of_buffers = true;
  auto connection = rings.open();
  REQUIRE(connection);
  const VifSettings& settings = connection.value()->settings();
  CHECK(settings.takes_chains);
  CHECK_FALSE(settings.takes_blank_ipv4);
  CHECK(settings.takes_blank_ipv6);
  CHECK_FALSE(settings.takes_gso_tcpv4);
  CHECK(settings.takes_gso_tcpv6);
  CHECK(settings.gso_tcpv4_offered);
  CHECK(settings.gso_tcpv6_offered);
  CHECK(settings.stall_ms == limits::stall_ms);
}

TEST_CASE("connection_a_guest_that_does_not_tell_of_buffers_stalls_soon") {
  Rings rings;
  auto connection = rings.open();
  REQUIRE(connection);
  CHECK(connection.value()->settings().stall_ms == limits::stall_ms_without_rx_notify);
}

TEST_CASE("connection_a_first_connect_answers_nothing_by_itself") {
  Rings rings;
  rings.put(0, request(1));
  rings.pages->from_guest.req_prod = 1;
  auto connection = rings.open();
  REQUIRE(connection);
  CHECK(rings.pages->from_guest.rsp_prod == 0);
  CHECK(connection.value()->queue().from_guest.available() == 1);
}

TEST_CASE("resume_what_was_left_over_is_answered_published_and_notified_of_untouched_by_grants") {
  Rings rings;
  const uint32_t start = UINT32_MAX - 1;  // and the indices wrap
  rings.pages->from_guest.rsp_prod = start;
  rings.put(start, request(1, NETTXF_extra_info));
  rings.put(start + 1, extra(false));
  rings.put(start + 2, request(3));
  rings.pages->from_guest.req_prod = start + 3;
  rings.pages->to_guest.req_prod = 40;
  auto connection = rings.open(true);
  REQUIRE(connection);
  CHECK(rings.pages->from_guest.rsp_prod == start + 3);
  CHECK(rings.answer(start).status == NETIF_RSP_ERROR);
  CHECK(rings.answer(start).id == 1);
  CHECK(rings.answer(start + 1).status == NETIF_RSP_NULL);
  CHECK(rings.answer(start + 2).status == NETIF_RSP_ERROR);
  CHECK(rings.answer(start + 2).id == 3);
  GuestQueue& queue = connection.value()->queue();
  CHECK(queue.from_guest.available() == 0);
  CHECK(queue.to_guest.available() == 40);  // buffers stay
  CHECK(rings.pages->to_guest.rsp_prod == 0);
  CHECK(FakeXen::instance().copy_calls == 0);
  auto& notified = FakeXen::instance().notifications;
  CHECK(notified[queue.from_guest_port] == 1);
  CHECK(notified[queue.to_guest_port] == 1);
}

TEST_CASE("resume_one_channel_is_notified_once_with_nothing_left_over_too") {
  Rings rings;
  rings.agreement.queues[0].to_guest_channel = rings.agreement.queues[0].from_guest_channel;
  auto connection = rings.open(true);
  REQUIRE(connection);
  auto& notified = FakeXen::instance().notifications;
  CHECK(notified.size() == 1);
  CHECK(notified[connection.value()->queue().from_guest_port] == 1);
}

TEST_CASE("connection_shows_the_shared_indices_or_nothing_when_they_are_nonsense") {
  Rings rings;
  auto connection = rings.open();
  REQUIRE(connection);
  rings.pages->from_guest.req_prod = 12;
  rings.pages->to_guest.req_prod = 200;
  CHECK(connection.value()->from_guest_indices()->req_prod == 12);
  CHECK(connection.value()->to_guest_indices()->req_prod == 200);
  rings.pages->from_guest.req_prod = 1000;
  rings.pages->to_guest.req_prod = 1000;
  CHECK_FALSE(connection.value()->from_guest_indices());
  CHECK_FALSE(connection.value()->to_guest_indices());
}

namespace {

// A second queue with rings of its own.
struct TwoRings : Rings {
  std::unique_ptr<Pages> more = std::make_unique<Pages>();

  TwoRings() {
    FakeXen::instance().grant(domain, 22, reinterpret_cast<uint8_t*>(&more->from_guest));
    FakeXen::instance().grant(domain, 23, reinterpret_cast<uint8_t*>(&more->to_guest));
    agreement.queues.push_back({.from_guest_reference = 22,
                                .to_guest_reference = 23,
                                .from_guest_channel = 5,
                                .to_guest_channel = 6});
  }
};

}  // namespace

TEST_CASE("resume_what_was_left_over_on_each_queue_is_answered_there") {
  TwoRings rings;
  rings.pages->from_guest.req_prod = 2;
  rings.more->from_guest.rsp_prod = 40;
  rings.more->from_guest.req_prod = 45;
  auto connection = rings.open(true);
  REQUIRE(connection);
  CHECK(rings.pages->from_guest.rsp_prod == 2);
  CHECK(rings.more->from_guest.rsp_prod == 45);
  auto& notified = FakeXen::instance().notifications;
  CHECK(notified.size() == 4);
  for (const GuestQueue* queue : connection.value()->queues()) {
    CHECK(notified[queue->from_guest_port] == 1);
    CHECK(notified[queue->to_guest_port] == 1);
  }
}

TEST_CASE("connection_shows_the_shared_indices_of_each_queue") {
  TwoRings rings;
  auto connection = rings.open();
  REQUIRE(connection);
  rings.pages->from_guest.req_prod = 1;
  rings.more->from_guest.req_prod = 2;
  rings.pages->to_guest.req_prod = 3;
  rings.more->to_guest.req_prod = 4;
  CHECK(connection.value()->from_guest_indices()->req_prod == 1);
  CHECK(connection.value()->from_guest_indices(1)->req_prod == 2);
  CHECK(connection.value()->to_guest_indices(0)->req_prod == 3);
  CHECK(connection.value()->to_guest_indices(1)->req_prod == 4);
}

TEST_CASE("H25_a_later_queue_s_bad_ring_is_named_nothing_stays") {
  TwoRings rings;
  rings.more->to_guest.req_prod = 257;
  const auto connection = rings.open();
  REQUIRE_FALSE(connection);
  CHECK(connection.error().message.starts_with("queue-1: rx-ring-ref: "));
  CHECK(Rings::mapped() == 0);
  CHECK(Rings::bound() == 0);
}
