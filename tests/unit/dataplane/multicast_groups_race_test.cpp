// Two queues of a vif amend its groups while forwarding asks: under the thread sanitizer.
#include <catch2/catch.hpp>

#include <cstring>
#include <thread>

#include "dataplane/multicast_groups.hpp"

using namespace netback;

TEST_CASE("groups_a_group_that_stays_is_found_whatever_others_join_and_leave_meanwhile") {
  MulticastGroups groups;
  groups.apply(true);
  const rte_ether_addr stays{{0x01, 0, 0x5e, 0, 0, 1}};
  uint64_t head = 0;
  std::memcpy(&head, &stays, sizeof stays);
  REQUIRE(groups.join(stays));
  std::atomic<bool> stop = false;
  const auto churn = [&](uint8_t first) {
    for (uint32_t i = 0; !stop; ++i) {
      const rte_ether_addr other{{0x01, 0, 0x5e, first, 0, static_cast<uint8_t>(i % 50)}};
      groups.join(other);
      groups.join({{0x01, 0, 0x5e, 9, 9, 9}});  // both join this one
      groups.leave({{0x01, 0, 0x5e, 9, 9, 9}});
      groups.leave(other);
    }
  };
  std::thread one(churn, 1), two(churn, 2);
  uint32_t missed = 0;
  for (int i = 0; i < 50'000; ++i) missed += !groups.takes(head);
  stop = true;
  one.join();
  two.join();
  CHECK(missed == 0);
  CHECK(groups.joined().size() == 1);
  for (int i = 2; i < 66; ++i)  // no bucket was left counted too low
    groups.join({{0x01, 0, 0x5e, 0, 0, static_cast<uint8_t>(i)}});
  CHECK(groups.joined().size() == 64);
  groups.leave(stays);
  CHECK_FALSE(groups.takes(head));
}
