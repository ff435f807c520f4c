#include "control/handshake.hpp"

#include <catch2/catch.hpp>

#include <map>
#include <string>

using netback::agree;
using netback::Agreement;

namespace {

using Keys = std::map<std::string, std::string>;

netback::Result<Agreement> agree_with(const Keys& keys, uint32_t queues_max = 8) {
  const auto read = [&](std::string_view key) -> std::optional<std::string> {
    const auto found = keys.find(std::string(key));
    if (found == keys.end()) return std::nullopt;
    return found->second;
  };
  return agree(read, queues_max);
}

// What Linux writes to a backend that offers split event channels.
Keys linux_guest() {
  return {{"tx-ring-ref", "768"},     {"rx-ring-ref", "769"},
          {"event-channel-tx", "15"}, {"event-channel-rx", "16"},
          {"request-rx-copy", "1"},   {"feature-rx-notify", "1"},
          {"feature-sg", "1"},        {"feature-ipv6-csum-offload", "1"}};
}

Keys single_channel_guest() {
  return {
      {"tx-ring-ref", "8"}, {"rx-ring-ref", "9"}, {"event-channel", "1"}, {"request-rx-copy", "1"}};
}

std::string refusal(Keys keys, const std::string& key, const std::string& value) {
  keys[key] = value;
  const auto agreed = agree_with(keys);
  return agreed ? "agreed" : agreed.error().message;
}

std::string refusal_without(Keys keys, const std::string& key) {
  keys.erase(key);
  const auto agreed = agree_with(keys);
  return agreed ? "agreed" : agreed.error().message;
}

}  // namespace

TEST_CASE("features_offered_are_exactly_those_that_are_built") {
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"feature-rx-copy", "1"},
      {"feature-rx-flip", "0"},
      {"feature-sg", "1"},
      {"feature-ipv6-csum-offload", "1"},
      {"feature-gso-tcpv4", "1"},
      {"feature-gso-tcpv6", "1"},
      {"feature-split-event-channels", "1"},
      {"feature-ctrl-ring", "1"},
      {"feature-multicast-control", "1"},
      {"feature-dynamic-multicast-control", "1"},
      {"feature-xdp-headroom", "1"}};
  CHECK(netback::offered_features() == expected);
}

TEST_CASE("a_linux_guest_with_split_channels_is_understood") {
  auto agreed = agree_with(linux_guest());
  REQUIRE(agreed);
  const Agreement& agreement = agreed.value();
  CHECK(agreement.queues[0].from_guest_reference == 768);
  CHECK(agreement.queues[0].to_guest_reference == 769);
  CHECK(agreement.queues[0].from_guest_channel == 15);
  CHECK(agreement.queues[0].to_guest_channel == 16);
  CHECK(agreement.takes_chains);
  CHECK(agreement.takes_blank_ipv4);
  CHECK(agreement.takes_blank_ipv6);
  CHECK(agreement.notifies_of_buffers);
}

TEST_CASE("a_guest_that_says_little_gets_the_protocol_defaults") {
  auto agreed = agree_with(single_channel_guest());
  REQUIRE(agreed);
  const Agreement& agreement = agreed.value();
  CHECK(agreement.queues[0].from_guest_reference == 8);
  CHECK(agreement.queues[0].to_guest_reference == 9);
  CHECK(agreement.queues[0].from_guest_channel == 1);
  CHECK(agreement.queues[0].to_guest_channel == 1);
  CHECK_FALSE(agreement.takes_chains);
  CHECK(agreement.takes_blank_ipv4);
  CHECK_FALSE(agreement.takes_blank_ipv6);
  CHECK_FALSE(agreement.notifies_of_buffers);
}

TEST_CASE("each_feature_key_sets_its_own_field") {
  const auto with = [](const char* key, const char* value) {
    Keys keys = single_channel_guest();
    keys[key] = value;
    auto agreed = agree_with(keys);
    REQUIRE(agreed);
    return agreed.value();
  };
  CHECK(with("feature-sg", "1").takes_chains);
  CHECK_FALSE(with("feature-sg", "1").notifies_of_buffers);
  CHECK_FALSE(with("feature-sg", "0").takes_chains);
  CHECK(with("feature-rx-notify", "1").notifies_of_buffers);
  CHECK_FALSE(with("feature-rx-notify", "1").takes_chains);
  CHECK_FALSE(with("feature-no-csum-offload", "1").takes_blank_ipv4);
  CHECK(with("feature-no-csum-offload", "0").takes_blank_ipv4);
  CHECK(with("feature-ipv6-csum-offload", "1").takes_blank_ipv6);
  CHECK_FALSE(with("feature-ipv6-csum-offload", "0").takes_blank_ipv6);
}

TEST_CASE("segmentation_is_taken_with_what_it_needs_alone") {
  for (const bool ipv6 : {false, true}) {
    const char* const own = ipv6 ? "feature-gso-tcpv6" : "feature-gso-tcpv4";
    const auto takes = [&](Keys keys) {
      auto agreed = agree_with(keys);
      REQUIRE(agreed);
      const Agreement& agreement = agreed.value();
      CHECK_FALSE((ipv6 ? agreement.takes_gso_tcpv4 : agreement.takes_gso_tcpv6));
      return ipv6 ? agreement.takes_gso_tcpv6 : agreement.takes_gso_tcpv4;
    };
    Keys keys = linux_guest();
    CHECK_FALSE(takes(keys));
    keys[own] = "1";
    CHECK(takes(keys));
    for (const auto& [key, value] : {std::pair{"feature-sg", "0"}, std::pair{own, "0"},
                                     ipv6 ? std::pair{"feature-ipv6-csum-offload", "0"}
                                          : std::pair{"feature-no-csum-offload", "1"}}) {
      INFO(key);
      Keys without = keys;
      without[key] = value;
      CHECK_FALSE(takes(without));
      without.erase(key);  // absent: as the protocol has it
      CHECK(takes(without) == (std::string(key) == "feature-no-csum-offload"));
    }
    CHECK(refusal(linux_guest(), own, "2") == std::string(own) + " is neither 0 nor 1: \"2\"");
  }
}

TEST_CASE("H38_a_guest_without_rx_copy_is_refused") {
  CHECK(refusal_without(linux_guest(), "request-rx-copy") == "request-rx-copy is absent");
  for (const std::string value : {"0", "2", "", "1 "}) {
    CHECK(refusal(linux_guest(), "request-rx-copy", value) ==
          "request-rx-copy is not 1: \"" + value + "\" (page flipping is not supported)");
  }
}

TEST_CASE("a_value_of_a_megabyte_makes_a_short_message") {
  const std::string message =
      refusal(linux_guest(), "multi-queue-num-queues", std::string(1 << 20, '9'));
  CHECK(message ==
        "multi-queue-num-queues is not a number from 1 to 8: \"" + std::string(40, '9') + "...\"");
  CHECK(refusal(linux_guest(), "tx-ring-ref", std::string(40, '9')) ==
        "tx-ring-ref is not a number: \"" + std::string(40, '9') + "\"");
}

TEST_CASE("a_value_cannot_break_the_line_or_move_the_cursor") {
  CHECK(refusal(linux_guest(), "feature-sg", "a\n\x1b[2J\x7f\xff~ ") ==
        "feature-sg is neither 0 nor 1: \"a??[2J??~ \"");
}

TEST_CASE("H25_rings_must_be_there_unreserved_and_two") {
  CHECK(refusal_without(linux_guest(), "tx-ring-ref") == "tx-ring-ref is absent");
  CHECK(refusal_without(linux_guest(), "rx-ring-ref") == "rx-ring-ref is absent");
  for (const std::string key : {"tx-ring-ref", "rx-ring-ref"}) {
    for (const std::string value : {"", "-1", "0x10", "4294967296", "1e3"}) {
      CHECK(refusal(linux_guest(), key, value) == key + " is not a number: \"" + value + "\"");
    }
    CHECK(refusal(linux_guest(), key, "4294967295") == "agreed");
    CHECK(refusal(linux_guest(), key, "0") == key + " is reserved: 0");
    CHECK(refusal(linux_guest(), key, "7") == key + " is reserved: 7");
    CHECK(refusal(linux_guest(), key, "8") == "agreed");
  }
  CHECK(refusal(linux_guest(), "rx-ring-ref", "768") ==
        "tx-ring-ref and rx-ring-ref are the same: 768");
}

TEST_CASE("split_channels_must_be_there_unreserved_and_two") {
  CHECK(refusal_without(linux_guest(), "event-channel-tx") == "event-channel-tx is absent");
  CHECK(refusal_without(linux_guest(), "event-channel-rx") == "event-channel-rx is absent");
  for (const std::string key : {"event-channel-tx", "event-channel-rx"}) {
    CHECK(refusal(linux_guest(), key, "0") == key + " is reserved: 0");
    CHECK(refusal(linux_guest(), key, "x") == key + " is not a number: \"x\"");
    CHECK(refusal(linux_guest(), key, "1") == "agreed");
  }
  CHECK(refusal(linux_guest(), "event-channel-rx", "15") ==
        "event-channel-tx and event-channel-rx are the same: 15");
}

TEST_CASE("a_single_channel_must_be_there_and_unreserved") {
  const Keys guest = single_channel_guest();
  CHECK(refusal_without(guest, "event-channel") == "event-channel is absent");
  CHECK(refusal(guest, "event-channel", "0") == "event-channel is reserved: 0");
  CHECK(refusal(guest, "event-channel", "") == "event-channel is not a number: \"\"");
}

TEST_CASE("a_whole_pair_of_channels_wins_over_a_single_one_left_behind") {
  Keys guest = linux_guest();
  guest["event-channel"] = "99";
  auto agreed = agree_with(guest);
  REQUIRE(agreed);
  CHECK(agreed.value().queues[0].from_guest_channel == 15);
  CHECK(agreed.value().queues[0].to_guest_channel == 16);
}

TEST_CASE("a_single_channel_wins_over_half_a_pair") {
  for (const char* half : {"event-channel-tx", "event-channel-rx"}) {
    Keys guest = single_channel_guest();
    guest[half] = "99";
    auto agreed = agree_with(guest);
    REQUIRE(agreed);
    CHECK(agreed.value().queues[0].from_guest_channel == 1);
    CHECK(agreed.value().queues[0].to_guest_channel == 1);
  }
}

TEST_CASE("a_feature_key_is_0_or_1") {
  for (const std::string key : {"feature-sg", "feature-no-csum-offload",
                                "feature-ipv6-csum-offload", "feature-rx-notify"}) {
    for (const std::string value : {"", "2", "yes", "01", "1 "}) {
      CHECK(refusal(linux_guest(), key, value) == key + " is neither 0 nor 1: \"" + value + "\"");
    }
    CHECK(refusal(linux_guest(), key, "0") == "agreed");
    CHECK(refusal(linux_guest(), key, "1") == "agreed");
  }
}

namespace {

Keys control_ring_guest() {
  Keys keys = linux_guest();
  keys["ctrl-ring-ref"] = "770";
  keys["event-channel-ctrl"] = "17";
  return keys;
}

}  // namespace

TEST_CASE("a_guest_without_a_control_ring_has_none") {
  Keys guest = linux_guest();
  guest["event-channel-ctrl"] = "nonsense";  // of no ring: not looked at
  auto agreed = agree_with(guest);
  REQUIRE(agreed);
  CHECK(agreed.value().control_reference == 0);
  CHECK(agreed.value().control_channel == 0);
}

TEST_CASE("a_control_ring_and_its_channel_are_read_beside_all_else") {
  auto agreed = agree_with(control_ring_guest());
  REQUIRE(agreed);
  const Agreement& agreement = agreed.value();
  CHECK(agreement.control_reference == 770);
  CHECK(agreement.control_channel == 17);
  CHECK(agreement.queues[0].from_guest_reference == 768);
  CHECK(agreement.queues[0].to_guest_reference == 769);
  CHECK(agreement.queues[0].from_guest_channel == 15);
  CHECK(agreement.queues[0].to_guest_channel == 16);
  CHECK(agreement.takes_chains);
}

TEST_CASE("a_control_ring_must_be_unreserved_and_no_other_ring") {
  const Keys guest = control_ring_guest();
  for (const std::string value : {"", "-1", "0x10", "4294967296", "1e3"})
    CHECK(refusal(guest, "ctrl-ring-ref", value) ==
          "ctrl-ring-ref is not a number: \"" + value + "\"");
  CHECK(refusal(guest, "ctrl-ring-ref", "0") == "ctrl-ring-ref is reserved: 0");
  CHECK(refusal(guest, "ctrl-ring-ref", "7") == "ctrl-ring-ref is reserved: 7");
  CHECK(refusal(guest, "ctrl-ring-ref", "8") == "agreed");
  CHECK(refusal(guest, "ctrl-ring-ref", "4294967295") == "agreed");
  CHECK(refusal(guest, "ctrl-ring-ref", "768") == "ctrl-ring-ref is another ring's: 768");
  CHECK(refusal(guest, "ctrl-ring-ref", "769") == "ctrl-ring-ref is another ring's: 769");
}

TEST_CASE("a_control_ring_s_channel_must_be_there_and_unreserved") {
  const Keys guest = control_ring_guest();
  CHECK(refusal_without(guest, "event-channel-ctrl") == "event-channel-ctrl is absent");
  CHECK(refusal(guest, "event-channel-ctrl", "0") == "event-channel-ctrl is reserved: 0");
  CHECK(refusal(guest, "event-channel-ctrl", "x") == "event-channel-ctrl is not a number: \"x\"");
  CHECK(refusal(guest, "event-channel-ctrl", "1") == "agreed");
}

TEST_CASE("an_xdp_headroom_is_half_a_page_at_most_and_absent_is_none") {
  CHECK(agree_with(linux_guest()).value().xdp_headroom == 0);
  for (const uint16_t headroom : {0, 1, 256, 2048}) {
    Keys keys = linux_guest();
    keys["xdp-headroom"] = std::to_string(headroom);
    auto agreed = agree_with(keys);
    REQUIRE(agreed);
    CHECK(agreed.value().xdp_headroom == headroom);
  }
  for (const std::string value : {"2049", "4096", "32767", "65536", "-1", "", "x", "256 "})
    CHECK(refusal(linux_guest(), "xdp-headroom", value) ==
          "xdp-headroom is not a number from 0 to 2048: \"" + value + "\"");
}
