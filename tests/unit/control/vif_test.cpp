// next() as a conversation: with Linux's frontend, the toolstack and hostile guests.
#include "control/vif.hpp"

#include <catch2/catch.hpp>

#include <string>

#include "tests/unit/control/vif_simulation.hpp"

namespace netback {

using test::created;
using test::in_use;
using test::Simulation;
using enum XenbusState;

namespace {

std::string steps_after(Simulation vif, XenbusState frontend) {
  vif.steps.clear();
  vif.frontend_writes(frontend);
  CHECK(vif.fault == "");
  return vif.steps;
}

}  // namespace

TEST_CASE("a_new_vif_is_offered_and_waits") {
  Simulation vif = created(Hotplug::pending);
  CHECK(vif.steps == "o2");
  CHECK_FALSE(vif.facts.connected);
}

TEST_CASE("a_frontend_that_connects_is_connected") {
  CHECK(steps_after(created(), connected) == "c4");
}

// protocol.md 2.1, row by row, from the states in which the frontend may say it.
TEST_CASE("linux_row_initialising_leads_to_init_wait") {
  Simulation vif = created();
  CHECK(steps_after(vif, initialising) == "");
  CHECK(steps_after(in_use(), initialising) == "d5 6 o2");
  vif.frontend_writes(closing);
  CHECK(steps_after(vif, initialising) == "6 o2");
  vif.frontend_writes(closed);
  CHECK(steps_after(vif, initialising) == "o2");
}

TEST_CASE("linux_row_initialised_changes_nothing") {
  Simulation vif = created();
  CHECK(steps_after(vif, initialised) == "");
  CHECK(steps_after(in_use(), initialised) == "");
  vif.frontend_writes(closing);
  CHECK(steps_after(vif, initialised) == "");
  vif.frontend_writes(closed);
  CHECK(steps_after(vif, initialised) == "");
}

TEST_CASE("linux_row_connected_leads_to_connected_also_from_closed") {
  Simulation vif = created();
  CHECK(steps_after(vif, connected) == "c4");
  CHECK(steps_after(in_use(), connected) == "");
  vif.frontend_writes(closed);
  REQUIRE(vif.facts.own == closed);
  CHECK(steps_after(vif, connected) == "o2 c4");
}

TEST_CASE("linux_row_reconfiguring_is_answered_and_ends_in_connected") {
  Simulation vif = in_use();
  vif.frontend_writes(reconfiguring);
  CHECK(vif.steps == "8");
  CHECK(vif.facts.connected);
  vif.frontend_writes(connected);
  CHECK(vif.steps == "8 4");
  vif.frontend_writes(reconfiguring);
  CHECK(vif.steps == "8 4 8");
  vif.frontend_writes(closing);
  CHECK(vif.steps == "8 4 8 d5");
  CHECK(vif.fault == "");
}

TEST_CASE("linux_row_closing_is_answered_with_closing") {
  CHECK(steps_after(in_use(), closing) == "d5");
  CHECK(steps_after(created(), closing) == "5");
  Simulation vif = created();
  vif.frontend_writes(closed);
  REQUIRE(vif.facts.own == closed);
  CHECK(steps_after(vif, closing) == "5");
}

TEST_CASE("linux_row_closed_is_answered_with_closed_and_kept_while_online") {
  CHECK(steps_after(in_use(), closed) == "d5 6");
  CHECK(steps_after(created(), closed) == "5 6");
  Simulation vif = in_use();
  vif.facts.online = false;
  CHECK(steps_after(vif, closed) == "d5 6 f");
}

TEST_CASE("linux_row_unknown_closes_and_forgets") {
  CHECK(steps_after(in_use(), unknown) == "d5 6 f");
  CHECK(steps_after(created(), unknown) == "5 6 f");
  Simulation vif;
  CHECK(steps_after(vif, unknown) == "6 f");
}

TEST_CASE("linux_row_other_is_no_reason_to_end_a_working_vif") {
  for (const XenbusState odd : {init_wait, reconfigured}) {
    CHECK(steps_after(in_use(), odd) == "");
    CHECK(steps_after(created(), odd) == "");
  }
}

TEST_CASE("closing_is_answered_from_init_wait_without_rings") {
  Simulation vif = created(Hotplug::pending);
  vif.frontend_writes(closing);
  vif.frontend_writes(closed);
  vif.frontend_writes(initialising);
  CHECK(vif.steps == "o2 5 6 o2");
  CHECK(vif.fault == "");
}

TEST_CASE("H45_hotplug_withholds_connected_and_never_a_close") {
  Simulation vif = created(Hotplug::pending);
  vif.frontend_writes(connected);
  CHECK(vif.facts.own == init_wait);
  CHECK_FALSE(vif.facts.connected);
  Simulation closing_vif = vif;
  closing_vif.frontend_writes(closing);
  CHECK(closing_vif.facts.own == closing);
  vif.facts.hotplug = Hotplug::connected;
  vif.settle();
  CHECK(vif.steps == "o2 c4");
}

TEST_CASE("a_hotplug_error_ends_the_vif_and_offers_it_no_more") {
  Simulation vif = in_use();
  vif.facts.hotplug = Hotplug::error;
  vif.settle();
  CHECK(vif.steps == "d5");
  vif.frontend_writes(closed);
  vif.frontend_writes(initialising);
  CHECK(vif.steps == "d5 6");
  Simulation waiting = created(Hotplug::pending);
  waiting.facts.hotplug = Hotplug::error;
  waiting.settle();
  CHECK(waiting.steps == "o2 5 6");
}

TEST_CASE("H43_kexec_under_a_connected_vif_walks_to_a_new_init_wait") {
  Simulation vif = in_use();
  vif.frontend_writes(initialising);
  vif.frontend_writes(connected);
  CHECK(vif.steps == "d5 6 o2 c4");
  CHECK(vif.facts.connected);
}

TEST_CASE("linux_module_reload_reconnects") {
  Simulation vif = in_use();
  for (const XenbusState state : {closing, closed, initialising, connected}) {
    vif.frontend_writes(state);
  }
  CHECK(vif.steps == "d5 6 o2 c4");
}

TEST_CASE("quarantine_ends_service_and_still_answers_closes") {
  Simulation vif = in_use();
  vif.facts.quarantined = true;
  vif.facts.may_offer = false;
  vif.settle();
  CHECK(vif.steps == "d5");
  // It still says Connected, as a Linux guest does until it sees our Closing.
  vif.frontend_writes(connected);
  CHECK(vif.facts.own == closing);
  vif.frontend_writes(closing);
  vif.frontend_writes(closed);
  CHECK(vif.facts.own == closed);
  CHECK(vif.facts.quarantined);
}

TEST_CASE("H39_H42_quarantined_guest_comes_back_when_the_delay_is_over") {
  Simulation vif = in_use();
  vif.facts.quarantined = true;
  vif.facts.may_offer = false;
  vif.settle();
  vif.frontend_writes(initialising);
  CHECK(vif.steps == "d5 6");
  vif.facts.may_offer = true;
  vif.settle();
  vif.frontend_writes(connected);
  CHECK(vif.steps == "d5 6 o2 c4");
  CHECK_FALSE(vif.facts.quarantined);
}

TEST_CASE("a_refused_vif_is_not_offered_and_answers_closes") {
  Simulation vif;
  vif.facts.refused = true;
  vif.settle();
  CHECK(vif.facts.own == initialising);
  vif.frontend_writes(closing);
  CHECK(vif.facts.own == closing);
  vif.frontend_writes(closed);
  CHECK(vif.facts.own == closed);
  vif.frontend_writes(initialising);
  CHECK(vif.facts.own == closed);
  vif.facts.refused = false;
  vif.settle();
  CHECK(vif.facts.own == init_wait);
}

TEST_CASE("H03_a_connect_that_fails_is_told_with_closing") {
  Simulation vif = created();
  vif.connect_fails = true;
  vif.frontend_writes(connected);
  CHECK(vif.facts.own == closing);
  CHECK_FALSE(vif.facts.connected);
  vif.settle();
  vif.frontend_writes(closed);
  CHECK(vif.facts.own == closed);
}

TEST_CASE("planned_restart_connects_without_any_write") {
  Simulation vif = in_use();
  vif.facts.connected = false;  // the daemon's new process
  vif.settle();
  CHECK(vif.steps == "c");
  CHECK(vif.facts.connected);
}

TEST_CASE("planned_restart_during_a_reconfiguration_connects_and_then_answers") {
  Simulation vif = in_use();
  vif.facts.connected = false;
  vif.frontend_writes(reconfiguring);
  CHECK(vif.steps == "c 8");
}

TEST_CASE("restart_after_the_guest_left_closes_without_rings") {
  Simulation vif = in_use();
  vif.facts.connected = false;
  vif.frontend_writes(closed);
  CHECK(vif.steps == "5 6");
}

TEST_CASE("toolstack_unplugs_a_live_guest") {
  Simulation vif = in_use();
  vif.toolstack_unplugs();
  CHECK(vif.steps == "d");
  CHECK(vif.facts.own == closing);
  vif.frontend_writes(closing);
  CHECK_FALSE(vif.forgotten);
  vif.frontend_writes(closed);
  CHECK(vif.steps == "d 6 f");
  CHECK(vif.forgotten);
}

TEST_CASE("toolstack_destroys_a_guest_whose_frontend_is_gone_or_never_started") {
  for (const XenbusState inactive : {unknown, initialising, init_wait, initialised, closed}) {
    Simulation vif = created();
    vif.facts.frontend = inactive;
    vif.steps.clear();
    vif.toolstack_unplugs();
    CHECK(vif.steps == "6 f");
  }
}

TEST_CASE("toolstack_destroys_a_running_guest_by_removing_its_frontend") {
  Simulation vif = in_use();
  vif.facts.frontend = unknown;
  vif.toolstack_unplugs();
  CHECK(vif.steps == "d 6 f");
}

TEST_CASE("a_directory_that_was_removed_is_not_written_again") {
  Simulation vif = in_use();
  vif.facts.own = unknown;
  vif.settle();
  CHECK(vif.steps == "d f");
  CHECK(vif.facts.own == unknown);
}

TEST_CASE("online_0_alone_ends_a_vif_that_was_never_connected") {
  Simulation waiting = created();
  waiting.facts.online = false;
  waiting.settle();
  CHECK(waiting.steps == "o2 5 6 f");
  Simulation fresh;
  fresh.facts.online = false;
  fresh.settle();
  CHECK(fresh.steps == "6 f");
}

}  // namespace netback
