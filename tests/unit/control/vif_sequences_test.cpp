// next() against everything a guest can write, and everything that can happen meanwhile.
#include <catch2/catch.hpp>

#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "control/vif.hpp"
#include "tests/unit/control/vif_simulation.hpp"

namespace netback {

using test::has_rings;
using test::Simulation;
using enum XenbusState;

namespace {

constexpr int frontend_states = 9;

// What must be true of a vif that has nothing left to do; the first rule that is broken.
std::string fault_at_rest(const Simulation& vif) {
  const VifFacts& facts = vif.facts;
  if (!vif.fault.empty()) return vif.fault;
  if (vif.forgotten) {
    const bool over = facts.frontend == unknown || !facts.online || facts.own == unknown;
    if (!over) return "forgot a vif that is not over";
    if (facts.own != closed && facts.own != unknown) return "forgot without Closed";
    return facts.connected ? "forgot its rings" : "";
  }
  if (facts.frontend == unknown) return "keeps a vif without a frontend";
  if (facts.frontend == closing && facts.own != closing) return "Closing is not answered";
  if (facts.frontend == closed && facts.own != closed) return "Closed is not answered";
  if (!facts.online && facts.own == closed) return "keeps an unplugged vif";
  if (facts.own == init_wait && !facts.online) return "waits for a guest though unplugged";
  const bool may_lack_rings = facts.refused || !(facts.frontend == connected);
  if (facts.connected && !has_rings(facts.own)) return "rings outside of Connected";
  if (has_rings(facts.own) && !facts.connected && !may_lack_rings) return "Connected without rings";
  if (facts.connected && facts.quarantined) return "serves a quarantined guest";
  const bool welcome =
      facts.online && facts.may_offer && !facts.refused && facts.hotplug != Hotplug::error;
  if (facts.frontend == initialising && welcome && facts.own != init_wait) return "no InitWait";
  return "";
}

struct Search {
  std::string fault = {};
  std::string path = {};
  size_t sequences = 0;

  // Every sequence of `left` writes from here.
  void write_all(const Simulation& vif, int left) {
    if (left == 0) {
      ++sequences;
      return;
    }
    for (int state = 0; state < frontend_states && fault.empty(); ++state) {
      Simulation after = vif;
      after.steps.clear();
      after.frontend_writes(static_cast<XenbusState>(state));
      path.push_back(static_cast<char>('0' + state));
      fault = fault_at_rest(after);
      if (after.facts.connected != has_rings(after.facts.own)) fault = "rings and state differ";
      if (!fault.empty()) return;
      write_all(after, left - 1);
      if (fault.empty()) path.pop_back();
    }
  }
};

using Key = std::tuple<XenbusState, XenbusState, Hotplug, bool, bool, bool, bool, bool>;

Key key_of(const VifFacts& facts) {
  return {facts.own,       facts.frontend,    facts.hotplug,   facts.online,
          facts.connected, facts.quarantined, facts.may_offer, facts.refused};
}

// All that may happen to a vif at any moment, between any two of our steps.
std::vector<Simulation> what_may_follow(const Simulation& vif) {
  std::vector<Simulation> follow;
  const auto add = [&](auto change) {
    follow.push_back(vif);
    follow.back().steps.clear();
    change(follow.back());
  };
  add([](Simulation& after) {
    const VifStep step = next(after.facts);
    if (!step.nothing()) after.apply(step);
  });
  add([](Simulation& after) {
    after.connect_fails = true;
    const VifStep step = next(after.facts);
    if (!step.nothing()) after.apply(step);
    after.connect_fails = false;
  });
  for (int state = 0; state < frontend_states; ++state) {
    add([&](Simulation& after) { after.facts.frontend = static_cast<XenbusState>(state); });
  }
  for (const Hotplug hotplug : {Hotplug::pending, Hotplug::connected, Hotplug::error}) {
    add([&](Simulation& after) { after.facts.hotplug = hotplug; });
  }
  add([](Simulation& after) {  // unplugged
    after.facts.online = false;
    after.facts.own = closing;
  });
  add([](Simulation& after) { after.facts.own = unknown; });      // removed by force
  add([](Simulation& after) { after.facts.connected = false; });  // the daemon started anew
  add([](Simulation& after) { after.facts.refused ^= true; });    // settings
  add([](Simulation& after) { after.facts.may_offer = true; });   // the delay is over
  if (vif.facts.connected) {
    add([](Simulation& after) {
      after.facts.quarantined = true;
      after.facts.may_offer = false;
    });
  }
  for (Simulation& after : follow) after.forgotten = false;
  return follow;
}

}  // namespace

TEST_CASE("H30_every_sequence_of_six_frontend_writes_settles_and_is_answered") {
  for (const Hotplug hotplug : {Hotplug::pending, Hotplug::connected}) {
    for (const bool online : {true, false}) {
      Simulation vif;
      vif.facts.hotplug = hotplug;
      vif.facts.online = online;
      vif.settle();
      Search search;
      search.write_all(vif, 6);
      INFO("hotplug " << static_cast<int>(hotplug) << ", online " << online << ", frontend wrote "
                      << search.path);
      CHECK(search.fault == "");
      CHECK(search.sequences == 531441);
    }
  }
}

TEST_CASE("H30_every_pair_of_states_settles_and_is_answered") {
  for (int own = 0; own < frontend_states; ++own) {
    for (int frontend = 0; frontend < frontend_states; ++frontend) {
      Simulation vif;
      vif.facts.hotplug = Hotplug::connected;
      vif.facts.own = static_cast<XenbusState>(own);
      vif.facts.connected = has_rings(vif.facts.own);
      vif.frontend_writes(static_cast<XenbusState>(frontend));
      INFO("own " << own << ", frontend " << frontend);
      CHECK(fault_at_rest(vif) == "");
    }
  }
}

TEST_CASE("H31_whatever_happens_between_two_steps_it_settles_and_is_answered") {
  std::set<Key> seen;
  std::vector<Simulation> open = {Simulation{}};
  std::string fault;
  while (!open.empty() && fault.empty()) {
    const Simulation vif = open.back();
    open.pop_back();
    if (!seen.insert(key_of(vif.facts)).second) continue;
    Simulation at_rest = vif;
    at_rest.settle();
    fault = fault_at_rest(at_rest);
    INFO("own " << static_cast<int>(vif.facts.own) << ", frontend "
                << static_cast<int>(vif.facts.frontend) << ", steps " << at_rest.steps);
    CHECK(fault == "");
    for (Simulation& after : what_may_follow(vif)) {
      if (!seen.contains(key_of(after.facts))) open.push_back(std::move(after));
    }
  }
  CHECK(seen.size() > 1000);
}

}  // namespace netback
