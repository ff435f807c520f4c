// next() against the loops of the Windows frontend.
#include <catch2/catch.hpp>

#include "control/vif.hpp"
#include "tests/unit/control/vif_simulation.hpp"

namespace netback {

using test::created;
using test::in_use;
using test::Simulation;
using enum XenbusState;

namespace {

// win-xenvif frontend.c as protocol.md 2.6 has it. Each of the loops gives up after 120 s of
// burning a cpu; here after `turns`.
class WindowsFrontend {
 public:
  explicit WindowsFrontend(Simulation& vif) : vif_(vif) {}

  bool prepare() {
    for (int turn = 0; turn < turns && !asserted; ++turn) {
      switch (backend()) {
        case init_wait:
          return true;
        case connected:
          vif_.frontend_writes(closing);
          break;
        case closing:
          vif_.frontend_writes(closed);
          break;
        case closed:
          vif_.frontend_writes(initialising);
          break;
        default:
          break;
      }
    }
    return false;
  }

  bool connect() {
    for (int turn = 0; turn < turns && !asserted; ++turn) {
      switch (backend()) {
        case connected:
          return true;
        case init_wait:
          vif_.frontend_writes(connected);
          break;
        case closing:
          vif_.frontend_writes(closed);
          break;
        default:
          break;
      }
    }
    return false;
  }

  bool close() {
    for (int turn = 0; turn < turns && !asserted; ++turn) {
      switch (backend()) {
        case closed:
          return true;
        case connected:
        case init_wait:
          vif_.frontend_writes(closing);
          break;
        case closing:
          vif_.frontend_writes(closed);
          break;
        default:
          break;
      }
    }
    return false;
  }

  bool asserted = false;

 private:
  static constexpr int turns = 8;

  XenbusState backend() {
    const XenbusState own = vif_.facts.own;
    asserted |= own == initialised || own == reconfiguring || own == reconfigured;
    return own;
  }

  Simulation& vif_;
};

}  // namespace

TEST_CASE("windows_boots_closes_and_comes_back") {
  Simulation vif = created();
  WindowsFrontend windows(vif);
  for (int boot = 0; boot < 3; ++boot) {
    REQUIRE(windows.prepare());
    REQUIRE(windows.connect());
    CHECK(vif.facts.connected);
    REQUIRE(windows.close());
    CHECK_FALSE(vif.facts.connected);
  }
  CHECK_FALSE(windows.asserted);
  CHECK(vif.fault == "");
}

TEST_CASE("windows_closes_before_it_ever_connects") {
  for (const Hotplug hotplug : {Hotplug::pending, Hotplug::connected}) {
    Simulation vif = created(hotplug);
    WindowsFrontend windows(vif);
    REQUIRE(windows.close());
    REQUIRE(windows.prepare());
    CHECK(vif.steps == "o2 5 6 o2");
  }
}

TEST_CASE("windows_waits_for_hotplug_and_then_connects") {
  Simulation vif = created(Hotplug::pending);
  WindowsFrontend windows(vif);
  REQUIRE(windows.prepare());
  CHECK_FALSE(windows.connect());
  vif.facts.hotplug = Hotplug::connected;
  vif.settle();
  CHECK(windows.connect());
}

TEST_CASE("windows_finds_the_vif_connected_by_its_boot_loader") {
  Simulation vif = in_use();
  WindowsFrontend windows(vif);
  REQUIRE(windows.prepare());
  REQUIRE(windows.connect());
  CHECK(vif.steps == "d5 6 o2 c4");
}

}  // namespace netback
