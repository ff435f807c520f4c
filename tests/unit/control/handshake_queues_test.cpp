// What a guest with several queues says of them.
#include "control/handshake.hpp"

#include <fmt/format.h>
#include <catch2/catch.hpp>

#include <map>
#include <set>
#include <string>

using netback::agree;
using netback::Agreement;

namespace {

using Keys = std::map<std::string, std::string>;

// A guest, and which of its keys were looked at.
struct Guest {
  Keys keys{{"request-rx-copy", "1"}};
  std::set<std::string> read;

  // Linux with so many queues: flat keys of one, directories of more.
  explicit Guest(uint32_t queues) {
    if (queues > 1) keys["multi-queue-num-queues"] = std::to_string(queues);
    for (uint32_t i = 0; i < queues; ++i) {
      const std::string prefix = queues > 1 ? fmt::format("queue-{}/", i) : "";
      keys[prefix + "tx-ring-ref"] = std::to_string(100 + 2 * i);
      keys[prefix + "rx-ring-ref"] = std::to_string(101 + 2 * i);
      keys[prefix + "event-channel-tx"] = std::to_string(10 + 2 * i);
      keys[prefix + "event-channel-rx"] = std::to_string(11 + 2 * i);
    }
  }
  netback::Result<Agreement> agrees(uint32_t queues_max = 8) {
    const auto reader = [this](std::string_view key) -> std::optional<std::string> {
      read.emplace(key);
      const auto found = keys.find(std::string(key));
      return found == keys.end() ? std::nullopt : std::optional(found->second);
    };
    return agree(reader, queues_max);
  }
  std::string refusal(uint32_t queues_max = 8) {
    const auto agreed = agrees(queues_max);
    return agreed ? "agreed" : agreed.error().message;
  }
  Guest with(const std::string& key, const std::string& value) const {
    Guest changed = *this;
    changed.keys[key] = value;
    return changed;
  }
  Guest without(const std::string& key) const {
    Guest changed = *this;
    changed.keys.erase(key);
    return changed;
  }
};

}  // namespace

TEST_CASE("queues_each_has_its_own_rings_and_channels") {
  for (const uint32_t count : {2u, 8u}) {
    auto agreed = Guest(count).agrees();
    REQUIRE(agreed);
    const Agreement& agreement = agreed.value();
    REQUIRE(agreement.queues.size() == count);
    for (uint32_t i = 0; i < count; ++i) {
      CHECK(agreement.queues[i].from_guest_reference == 100 + 2 * i);
      CHECK(agreement.queues[i].to_guest_reference == 101 + 2 * i);
      CHECK(agreement.queues[i].from_guest_channel == 10 + 2 * i);
      CHECK(agreement.queues[i].to_guest_channel == 11 + 2 * i);
    }
  }
}

TEST_CASE("queues_one_has_flat_keys_whether_it_is_counted_or_not") {
  for (const Guest& guest : {Guest(1), Guest(1).with("multi-queue-num-queues", "1")}) {
    auto agreed = Guest(guest).agrees();
    REQUIRE(agreed);
    REQUIRE(agreed.value().queues.size() == 1);
    CHECK(agreed.value().queues[0].from_guest_reference == 100);
  }
  CHECK(Guest(2).with("multi-queue-num-queues", "1").refusal() == "tx-ring-ref is absent");
}

TEST_CASE("queues_a_single_channel_serves_both_directions_of_its_queue") {
  Guest guest = Guest(2).without("queue-1/event-channel-tx").without("queue-1/event-channel-rx");
  CHECK(guest.refusal() == "queue-1/event-channel is absent");
  auto agreed = guest.with("queue-1/event-channel", "20").agrees();
  REQUIRE(agreed);
  CHECK(agreed.value().queues[0].to_guest_channel == 11);
  CHECK(agreed.value().queues[1].from_guest_channel == 20);
  CHECK(agreed.value().queues[1].to_guest_channel == 20);
}

TEST_CASE("H24_a_count_that_was_not_offered_is_refused_before_anything_is_made_of_it") {
  for (const std::string count : {"0", "9", "1e9", "", "-1", "+1", " 1", "1 ", "4294967298"}) {
    INFO(count);
    Guest guest = Guest(2).with("multi-queue-num-queues", count);
    CHECK(guest.refusal() ==
          "multi-queue-num-queues is not a number from 1 to 8: \"" + count + "\"");
    CHECK(guest.read == std::set<std::string>{"request-rx-copy", "multi-queue-num-queues"});
  }
  CHECK(Guest(3).refusal(2) == "multi-queue-num-queues is not a number from 1 to 2: \"3\"");
  CHECK(Guest(2).refusal(2) == "agreed");
  CHECK(Guest(2).refusal(1) == "multi-queue-num-queues is not a number from 1 to 1: \"2\"");
}

TEST_CASE("H25_a_queue_that_lacks_something_is_refused_and_named") {
  for (const std::string key : {"tx-ring-ref", "rx-ring-ref"}) {
    CHECK(Guest(2).without("queue-1/" + key).refusal() == "queue-1/" + key + " is absent");
    CHECK(Guest(2).with("queue-1/" + key, "7").refusal() == "queue-1/" + key + " is reserved: 7");
    CHECK(Guest(2).with("queue-0/" + key, "x").refusal() ==
          "queue-0/" + key + " is not a number: \"x\"");
  }
  for (const std::string key : {"event-channel-tx", "event-channel-rx"})
    CHECK(Guest(2).without("queue-1/" + key).refusal() == "queue-1/" + key + " is absent");
  // The keys of one queue say nothing of the other's.
  CHECK(Guest(1).with("multi-queue-num-queues", "2").refusal() == "queue-0/tx-ring-ref is absent");
}

TEST_CASE("H25_a_ring_or_channel_of_two_queues_is_refused") {
  CHECK(Guest(2).with("queue-1/tx-ring-ref", "100").refusal() ==
        "queue-0/tx-ring-ref and queue-1/tx-ring-ref are the same: 100");
  CHECK(Guest(2).with("queue-1/rx-ring-ref", "101").refusal() ==
        "queue-0/rx-ring-ref and queue-1/rx-ring-ref are the same: 101");
  CHECK(Guest(2).with("queue-1/rx-ring-ref", "100").refusal() ==
        "queue-0/tx-ring-ref and queue-1/rx-ring-ref are the same: 100");
  CHECK(Guest(8).with("queue-7/rx-ring-ref", "114").refusal() ==
        "queue-7/tx-ring-ref and queue-7/rx-ring-ref are the same: 114");
  CHECK(Guest(2).with("queue-1/event-channel-rx", "10").refusal() ==
        "queue-0/event-channel-tx and queue-1/event-channel-rx are the same: 10");
  // Rings and channels are numbered each for themselves.
  CHECK(Guest(2).with("queue-1/event-channel-rx", "100").refusal() == "agreed");
}

TEST_CASE("H25_a_control_ring_is_no_ring_of_any_queue") {
  const Guest guest = Guest(2).with("event-channel-ctrl", "30");
  for (const char* reference : {"100", "101", "102", "103"})
    CHECK(guest.with("ctrl-ring-ref", reference).refusal() ==
          std::string("ctrl-ring-ref is another ring's: ") + reference);
  CHECK(guest.with("ctrl-ring-ref", "104").refusal() == "agreed");
}
