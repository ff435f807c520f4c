// H22: what a guest may ask of its multicast groups, every value of it, and how it is answered.
#include "tests/unit/support/groups.hpp"
#include "tests/unit/support/stages.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint8_t add = XEN_NETIF_EXTRA_TYPE_MCAST_ADD, del = XEN_NETIF_EXTRA_TYPE_MCAST_DEL;

struct Amending : OneGuest {
  uint16_t next_id = 300;
  explicit Amending(uint32_t start = 0) : OneGuest(start) {
    guest.queue->multicast = &guest.groups;
  }

  // One request; its answer, which has its id, and NULL for each extra slot behind it.
  int ask(const std::vector<std::pair<uint8_t, rte_ether_addr>>& asked) {
    const uint16_t id = next_id++;
    guest.put_slot(id, 0, NETTXF_extra_info);
    for (size_t i = 0; i < asked.size(); ++i)
      guest.put_group(asked[i].first, asked[i].second,
                      i + 1 < asked.size() ? XEN_NETIF_EXTRA_FLAG_MORE : 0);
    send();
    const auto answers = guest.answers();
    REQUIRE(answers.size() == 1 + asked.size());
    CHECK(answers[0].id == id);
    for (size_t i = 1; i < answers.size(); ++i) CHECK(answers[i].status == NETIF_RSP_NULL);
    CHECK(frames.count == 0);
    return answers[0].status;
  }
  size_t joined() const { return guest.groups.joined().size(); }
  uint64_t answered() const { return guest.count(QueueCounter::from_guest_multicast_answered); }
  uint64_t refused() const { return guest.count(QueueCounter::from_guest_multicast_refused); }
};

}  // namespace

TEST_CASE("hostile_h22_the_65th_group_is_refused_a_duplicate_is_no_news") {
  for (const uint32_t start : {0u, UINT32_MAX - 60}) {
    Amending g(start);
    for (uint32_t i = 0; i < 64; ++i) {
      REQUIRE(g.ask({{add, numbered_group(i)}}) == NETIF_RSP_OKAY);
      REQUIRE(g.ask({{add, numbered_group(i)}}) == NETIF_RSP_OKAY);
    }
    CHECK(g.ask({{add, numbered_group(64)}}) == NETIF_RSP_ERROR);
    CHECK(g.joined() == 64);
    CHECK(g.answered() == 128);
    CHECK(g.refused() == 1);
    CHECK(g.ask({{add, numbered_group(63)}}) == NETIF_RSP_OKAY);
    CHECK(g.ask({{del, numbered_group(0)}}) == NETIF_RSP_OKAY);
    CHECK(g.ask({{add, numbered_group(64)}}) == NETIF_RSP_OKAY);
    CHECK_FALSE(g.guest.queue->quarantined);
  }
}

TEST_CASE("hostile_h22_every_first_byte_of_an_address_that_is_no_group_is_refused") {
  Amending g;
  for (uint32_t first = 0; first < 256; ++first) {
    const rte_ether_addr address{{static_cast<uint8_t>(first), 1, 2, 3, 4, 5}};
    const bool is_group = first % 2 == 1;
    CHECK(g.ask({{add, address}}) == (is_group ? NETIF_RSP_OKAY : NETIF_RSP_ERROR));
    CHECK(g.joined() == is_group);
    CHECK(g.ask({{del, address}}) == NETIF_RSP_OKAY);
    CHECK(g.joined() == 0);
  }
  CHECK(g.refused() == 128);
}

TEST_CASE("hostile_h22_leaving_what_was_not_joined_is_fine") {
  Amending g;
  CHECK(g.ask({{del, numbered_group(1)}}) == NETIF_RSP_OKAY);
  CHECK(g.ask({{add, numbered_group(1)}}) == NETIF_RSP_OKAY);
  CHECK(g.ask({{del, numbered_group(2)}}) == NETIF_RSP_OKAY);
  CHECK(g.joined() == 1);
  CHECK(g.ask({{del, numbered_group(1)}}) == NETIF_RSP_OKAY);
  CHECK(g.ask({{del, numbered_group(1)}}) == NETIF_RSP_OKAY);
  CHECK(g.joined() == 0);
}

TEST_CASE("hostile_h22_several_in_one_request_are_done_in_their_order") {
  Amending g;
  CHECK(g.ask({{add, numbered_group(1)}, {del, numbered_group(1)}}) == NETIF_RSP_OKAY);
  CHECK(g.joined() == 0);
  CHECK(g.ask({{del, numbered_group(1)}, {add, numbered_group(1)}}) == NETIF_RSP_OKAY);
  CHECK(g.joined() == 1);
  CHECK(g.ask({{add, numbered_group(2)},
               {add, numbered_group(3)},
               {del, numbered_group(1)},
               {add, numbered_group(4)}}) == NETIF_RSP_OKAY);
  CHECK(g.joined() == 3);
  // One that is refused has the request refused; what else it asks is done.
  CHECK(g.ask({{add, {{2, 0, 0, 0, 0, 1}}}, {add, numbered_group(5)}, {del, numbered_group(2)}}) ==
        NETIF_RSP_ERROR);
  CHECK(g.joined() == 3);
  CHECK(g.ask({{add, numbered_group(6)}, {add, {{2, 0, 0, 0, 0, 1}}}}) == NETIF_RSP_ERROR);
  CHECK(g.joined() == 4);
  // As many as one request may have.
  std::vector<std::pair<uint8_t, rte_ether_addr>> eight;
  for (uint32_t i = 10; i < 18; ++i) eight.push_back({add, numbered_group(i)});
  CHECK(g.ask(eight) == NETIF_RSP_OKAY);
  CHECK(g.joined() == 12);
}

TEST_CASE("hostile_h22_without_a_request_for_control_groups_are_kept_and_not_applied") {
  Amending g;
  REQUIRE_FALSE(g.guest.groups.applied());
  CHECK(g.ask({{add, numbered_group(1)}}) == NETIF_RSP_OKAY);
  CHECK(g.joined() == 1);
  CHECK_FALSE(g.guest.groups.applied());
}

TEST_CASE("hostile_h22_a_request_between_frames_they_are_forwarded_it_is_not") {
  for (const uint8_t type : {add, del}) {
    Amending g;
    const Bytes one = plain_frame(60, 1), two = plain_frame(70, 2);
    g.guest.put_frame(one, 1);
    // With bytes, and with a frame's further slot announced, which is a frame of its own then.
    g.guest.put_slot(2, 60, NETTXF_extra_info | NETTXF_more_data);
    g.guest.put_group(type, numbered_group(1));
    g.guest.put_frame(two, 3);
    g.send();
    CHECK(g.take_frames() == std::vector<Bytes>{one, two});
    CHECK(g.statuses() ==
          std::vector<int>{NETIF_RSP_OKAY, NETIF_RSP_OKAY, NETIF_RSP_NULL, NETIF_RSP_OKAY});
    CHECK(g.joined() == (type == add ? 1 : 0));
    CHECK(g.guest.count(QueueCounter::from_guest_frames) == 2);
  }
}

TEST_CASE("hostile_h22_a_request_that_is_not_whole_yet_is_done_once_it_is") {
  Amending g;
  g.leave_buffers(0);  // a frame before it waits for a buffer, and so does it
  g.guest.put_frame(plain_frame(60), 1);
  g.guest.put_slot(2, 0, NETTXF_extra_info);
  g.guest.put_group(add, numbered_group(1));
  g.send();
  CHECK(g.guest.answers().empty());
  CHECK(g.joined() == 0);
  g.give_buffers_back();
  g.send();
  CHECK(g.guest.answers().size() == 3);
  CHECK(g.joined() == 1);
  CHECK(g.answered() == 1);
}
