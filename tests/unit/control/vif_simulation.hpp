// A vif's backend as its control runtime drives it: facts in, steps applied one by one, and every
// step checked against what protocol.md 2.1 and 2.8 allow.
#pragma once

#include <catch2/catch.hpp>

#include <string>

#include "control/vif.hpp"

namespace netback::test {

// "-" for nothing, else of a step: c(onnect) d(isconnect) o(ffer), the state written, f(orget).
inline std::string shown(const VifStep& step) {
  std::string text;
  if (step.connect) text += 'c';
  if (step.disconnect) text += 'd';
  if (step.offer) text += 'o';
  if (step.write) text += static_cast<char>('0' + static_cast<int>(*step.write));
  if (step.forget) text += 'f';
  return text.empty() ? "-" : text;
}

inline bool has_rings(XenbusState own) {
  return own == XenbusState::connected || own == XenbusState::reconfigured;
}

class Simulation {
 public:
  VifFacts facts = {.own = XenbusState::initialising, .frontend = XenbusState::initialising};
  bool forgotten = false;
  bool connect_fails = false;
  std::string steps = {};  // shown() of each, with blanks between
  std::string fault = {};  // the first rule that was broken

  // Applies steps until there is nothing to do.
  void settle() {
    for (int count = 0; count < steps_max; ++count) {
      const VifStep step = next(facts);
      if (step.nothing()) return;
      apply(step);
      if (!fault.empty() || forgotten) return;
    }
    fail("does not settle");
  }

  void frontend_writes(XenbusState state) {
    facts.frontend = state;
    forgotten = false;  // the directory may still be there and be found again
    settle();
  }

  // As libxl: both keys in one transaction.
  void toolstack_unplugs() {
    facts.online = false;
    facts.own = XenbusState::closing;
    settle();
  }

  void apply(const VifStep& step) {
    check(step);
    steps += (steps.empty() ? "" : " ") + shown(step);
    if (step.disconnect) facts.connected = false;
    if (step.offer) facts.quarantined = false;
    std::optional<XenbusState> state = step.write;
    if (step.connect && connect_fails) {
      facts.refused = true;
      state = XenbusState::closing;
    } else if (step.connect) {
      facts.connected = true;
    }
    if (state) facts.own = *state;
    if (step.forget) forgotten = true;
  }

 private:
  static constexpr int steps_max = 6;  // the longest way: Reconfigured, 5, 6, 2, 4 and one to spare

  void fail(const std::string& what) {
    if (fault.empty()) fault = what + " after: " + steps + ", then " + shown(next(facts));
  }

  void check(const VifStep& step) {
    if (step.connect && (facts.connected || step.disconnect)) fail("connects twice");
    if (step.disconnect && !facts.connected) fail("disconnects nothing");
    if (step.offer != (step.write == XenbusState::init_wait)) fail("InitWait and offer are one");
    if (step.offer && !(facts.online && facts.may_offer && !facts.refused)) fail("must not offer");
    if (step.forget && (facts.connected || step.write)) fail("forgets what it holds");
    if (step.connect && facts.refused) fail("connects though refused");
    if (step.connect && facts.frontend != XenbusState::connected &&
        facts.frontend != XenbusState::reconfiguring) {
      fail("connects to nobody");
    }
    if (step.write) check_write(*step.write);
  }

  void check_write(XenbusState to) {
    // From each own state: where 2.1 and 2.8 lead. 2.8 point 3 adds 1 to 5; 3 and 7 are not ours.
    static const char* const edges[] = {"", "256", "45", "5", "58", "6", "25", "5", "45"};
    const std::string allowed = edges[static_cast<int>(facts.own)];
    if (allowed.find(static_cast<char>('0' + static_cast<int>(to))) == allowed.npos) {
      fail("writes a state that no edge leads to");
    }
    if (to == XenbusState::reconfigured && facts.frontend != XenbusState::reconfiguring) {
      fail("writes 8 without a 7");
    }
  }
};

// After libxl has made the directories: our InitWait.
inline Simulation created(Hotplug hotplug = Hotplug::connected) {
  Simulation vif;
  vif.facts.hotplug = hotplug;
  vif.settle();
  REQUIRE(vif.facts.own == XenbusState::init_wait);
  return vif;
}

inline Simulation in_use() {
  Simulation vif = created();
  vif.frontend_writes(XenbusState::connected);
  REQUIRE(vif.facts.own == XenbusState::connected);
  REQUIRE(vif.facts.connected);
  vif.steps.clear();
  return vif;
}

}  // namespace netback::test
