// next() and shown_state() fact by fact: every own state against every state of the frontend.
#include <catch2/catch.hpp>

#include <sstream>
#include <string>

#include "control/vif.hpp"
#include "tests/unit/control/vif_simulation.hpp"

namespace netback {

using test::has_rings;
using test::shown;

namespace {

XenbusState state(int number) {
  return static_cast<XenbusState>(number);
}

std::string step_for(VifFacts facts, int own, int frontend) {
  facts.own = state(own);
  facts.frontend = state(frontend);
  return shown(next(facts));
}

enum class Rings { as_own_state, none, always };

// One row for each own state, "OWN: step for frontend 0, 1, .. 8".
void check_table(VifFacts facts, Rings rings, const std::string& table) {
  std::istringstream rows(table);
  int own = 0;
  char colon = 0;
  int row_count = 0;
  while (rows >> own >> colon) {
    ++row_count;
    facts.connected =
        rings == Rings::always || (rings == Rings::as_own_state && has_rings(state(own)));
    for (int frontend = 0; frontend <= 8; ++frontend) {
      std::string expected;
      rows >> expected;
      INFO("own " << own << ", frontend " << frontend);
      CHECK(step_for(facts, own, frontend) == expected);
    }
  }
  CHECK(row_count > 0);
}

// Nothing out of the ordinary: the script is done, the vif is wanted.
const VifFacts usual = {.hotplug = Hotplug::connected};

VifFacts with(auto change) {
  VifFacts facts = usual;
  change(facts);
  return facts;
}

}  // namespace

TEST_CASE("table_in_ordinary_life") {
  check_table(usual, Rings::as_own_state,
              "0: f  f  f  f  f  f  f  f  f "
              "1: 6  o2 o2 o2 o2 5  6  o2 o2 "
              "2: 5  -  -  -  c4 5  5  -  - "
              "3: 5  5  5  5  5  5  5  5  5 "
              "4: d5 d5 -  -  -  d5 d5 8  - "
              "5: 6  6  -  -  -  -  6  -  - "
              "6: f  o2 -  -  o2 5  -  -  - "
              "7: 5  5  5  5  5  5  5  5  5 "
              "8: d5 d5 -  -  4  d5 d5 -  - ");
}

TEST_CASE("table_while_the_hotplug_script_runs_only_withholds_connected") {
  check_table(with([](VifFacts& facts) { facts.hotplug = Hotplug::pending; }), Rings::as_own_state,
              "0: f  f  f  f  f  f  f  f  f "
              "1: 6  o2 o2 o2 o2 5  6  o2 o2 "
              "2: 5  -  -  -  -  5  5  -  - "
              "4: d5 d5 -  -  -  d5 d5 8  - "
              "5: 6  6  -  -  -  -  6  -  - "
              "6: f  o2 -  -  o2 5  -  -  - "
              "8: d5 d5 -  -  4  d5 d5 -  - ");
}

TEST_CASE("table_after_a_hotplug_error_closes_and_offers_nothing") {
  check_table(with([](VifFacts& facts) { facts.hotplug = Hotplug::error; }), Rings::as_own_state,
              "0: f  f  f  f  f  f  f  f  f "
              "1: 6  -  -  -  -  5  6  -  - "
              "2: 5  5  5  5  5  5  5  5  5 "
              "4: d5 d5 d5 d5 d5 d5 d5 d5 d5 "
              "5: 6  6  -  -  -  -  6  -  - "
              "6: f  -  -  -  -  5  -  -  - "
              "8: d5 d5 d5 d5 d5 d5 d5 d5 d5 ");
}

TEST_CASE("table_of_an_unplugged_vif_goes_to_closed_and_is_forgotten") {
  check_table(with([](VifFacts& facts) { facts.online = false; }), Rings::as_own_state,
              "0: f  f  f  f  f  f  f  f  f "
              "1: 6  6  6  6  6  5  6  6  6 "
              "2: 5  5  5  5  5  5  5  5  5 "
              "3: 5  5  5  5  5  5  5  5  5 "
              "4: d5 d5 -  -  -  d5 d5 8  - "
              "5: 6  6  6  6  -  -  6  -  6 "
              "6: f  f  f  f  f  f  f  f  f "
              "7: 5  5  5  5  5  5  5  5  5 "
              "8: d5 d5 -  -  4  d5 d5 -  - ");
}

TEST_CASE("table_of_a_refused_vif_has_no_init_wait_and_answers_closes") {
  check_table(with([](VifFacts& facts) { facts.refused = true; }), Rings::as_own_state,
              "1: 6  -  -  -  -  5  6  -  - "
              "2: 5  -  -  -  5  5  5  -  - "
              "4: d5 d5 -  -  -  d5 d5 8  - "
              "5: 6  6  -  -  -  -  6  -  - "
              "6: f  -  -  -  -  5  -  -  - "
              "8: d5 d5 -  -  4  d5 d5 -  - ");
}

TEST_CASE("table_before_the_re_arm_time_withholds_only_the_offer") {
  check_table(with([](VifFacts& facts) { facts.may_offer = false; }), Rings::as_own_state,
              "1: 6  -  -  -  -  5  6  -  - "
              "2: 5  -  -  -  c4 5  5  -  - "
              "4: d5 d5 -  -  -  d5 d5 8  - "
              "5: 6  6  -  -  -  -  6  -  - "
              "6: f  -  -  -  -  5  -  -  - ");
}

TEST_CASE("table_of_a_quarantined_vif_leaves_service_whatever_the_guest_says") {
  const VifFacts quarantined = with([](VifFacts& facts) { facts.quarantined = true; });
  const std::string elsewhere =
      "0: f  f  f  f  f  f  f  f  f "
      "1: 6  o2 o2 o2 o2 5  6  o2 o2 "
      "2: 5  -  -  -  c4 5  5  -  - "
      "5: 6  6  -  -  -  -  6  -  - "
      "6: f  o2 -  -  o2 5  -  -  - ";
  check_table(quarantined, Rings::as_own_state,
              elsewhere + "4: d5 d5 d5 d5 d5 d5 d5 d5 d5 8: d5 d5 d5 d5 d5 d5 d5 d5 d5 ");
  check_table(quarantined, Rings::none, elsewhere + "4: 5 5 5 5 5 5 5 5 5 8: 5 5 5 5 5 5 5 5 5 ");
}

TEST_CASE("table_after_a_planned_restart_connects_without_a_write") {
  check_table(usual, Rings::none,
              "4: 5  5  -  -  c  5  5  c  - "
              "8: 5  5  -  -  c  5  5  c  - ");
  check_table(with([](VifFacts& facts) { facts.hotplug = Hotplug::pending; }), Rings::none,
              "4: 5  5  -  -  c  5  5  c  - ");
  check_table(with([](VifFacts& facts) { facts.online = false; }), Rings::none,
              "4: 5  5  -  -  c  5  5  c  - ");
}

TEST_CASE("table_after_a_restart_with_bad_settings_leaves_the_guest_as_it_is") {
  check_table(with([](VifFacts& facts) { facts.refused = true; }), Rings::none,
              "4: 5  5  -  -  -  5  5  -  - "
              "8: 5  5  -  -  -  5  5  -  - ");
}

TEST_CASE("table_with_rings_that_the_own_state_does_not_allow_gives_them_back_first") {
  const std::string given_back =
      "0: d  d  d  d  d  d  d  d  d "
      "1: d  d  d  d  d  d  d  d  d "
      "3: d  d  d  d  d  d  d  d  d "
      "5: d  d  d  d  d  d  d  d  d "
      "6: d  d  d  d  d  d  d  d  d "
      "7: d  d  d  d  d  d  d  d  d ";
  // At InitWait with the frontend connected it is our own write of Connected that was lost.
  check_table(usual, Rings::always, given_back + "2: d5 d d d 4 d5 d5 d d ");
  check_table(with([](VifFacts& facts) { facts.online = false; }), Rings::always,
              given_back + "2: d5 d5 d5 d5 d5 d5 d5 d5 d5 ");
  check_table(with([](VifFacts& facts) { facts.quarantined = true; }), Rings::always,
              given_back + "2: d5 d d d d5 d5 d5 d d ");
  check_table(with([](VifFacts& facts) { facts.refused = true; }), Rings::always,
              given_back + "2: d5 d d d d5 d5 d5 d d ");
  check_table(with([](VifFacts& facts) { facts.hotplug = Hotplug::error; }), Rings::always,
              given_back + "2: d5 d5 d5 d5 d5 d5 d5 d5 d5 ");
}

TEST_CASE("a_step_is_nothing_only_when_it_asks_for_nothing") {
  CHECK(VifStep{}.nothing());
  VifStep step;
  step.connect = true;
  CHECK_FALSE(step.nothing());
  step = {};
  step.disconnect = true;
  CHECK_FALSE(step.nothing());
  step = {};
  step.offer = true;
  CHECK_FALSE(step.nothing());
  step = {};
  step.write = XenbusState::unknown;
  CHECK_FALSE(step.nothing());
  step = {};
  step.forget = true;
  CHECK_FALSE(step.nothing());
}

TEST_CASE("states_are_shown_in_words_for_people") {
  const auto shown_for = [](int own, bool connected) {
    return shown_state({.own = state(own), .connected = connected}, false);
  };
  CHECK(shown_for(0, false) == "closed");
  CHECK(shown_for(1, false) == "waiting");
  CHECK(shown_for(2, false) == "waiting");
  CHECK(shown_for(4, false) == "waiting");
  CHECK(shown_for(4, true) == "connected");
  CHECK(shown_for(8, true) == "connected");
  CHECK(shown_for(5, false) == "closing");
  CHECK(shown_for(5, true) == "closing");
  CHECK(shown_for(6, false) == "closed");
}

TEST_CASE("stalled_is_shown_only_of_a_connected_vif") {
  VifFacts facts = {.own = XenbusState::connected, .connected = true};
  CHECK(shown_state(facts, true) == "stalled");
  facts.connected = false;
  CHECK(shown_state(facts, true) == "waiting");
  facts.own = XenbusState::closing;
  CHECK(shown_state(facts, true) == "closing");
}

TEST_CASE("what_an_operator_must_act_on_is_shown_first") {
  for (const int own : {0, 1, 2, 4, 5, 6, 8}) {
    VifFacts facts = {.own = state(own), .quarantined = true};
    CHECK(shown_state(facts, true) == "quarantined");
    facts.refused = true;
    CHECK(shown_state(facts, true) == "refused");
    facts.quarantined = false;
    CHECK(shown_state(facts, true) == "refused");
  }
}

}  // namespace netback
