// Event channels over the fake libxenevtchn.
#include "lib/xen/evtchn.hpp"

#include <fcntl.h>
#include <poll.h>
#include <catch2/catch.hpp>

#include <set>

#include "tests/unit/support/fake_xen.hpp"

using namespace netback;
using namespace netback::test;

namespace {

bool readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return poll(&one, 1, 0) == 1;
}

}  // namespace

TEST_CASE("events: a bound port names the guest's end and goes with its owner") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  auto events = EventChannels::open().value();
  {
    BoundPort port(events.get(), events->bind(7, 33).value());
    CHECK(xen.bound.at(port.port()) == std::pair<uint32_t, uint32_t>{7, 33});
    BoundPort moved = std::move(port);
    CHECK(xen.bound.size() == 1);
    CHECK(port.port() == 0);
    moved = BoundPort(events.get(), events->bind(8, 34).value());
    CHECK(xen.bound.contains(moved.port()));
  }
  CHECK(xen.bound.empty());
}

TEST_CASE("events: errors name what could not be had") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  auto events = EventChannels::open().value();
  const auto unbound = events->bind(7, 0);
  REQUIRE_FALSE(unbound.ok());
  CHECK(unbound.error().message == "cannot bind event channel 0 of domain 7: Invalid argument");
  xen.open_fails = true;
  const auto closed = EventChannels::open();
  xen.open_fails = false;
  REQUIRE_FALSE(closed.ok());
  CHECK(closed.error().message == "cannot open /dev/xen/evtchn: No such file or directory");
  CHECK_FALSE(closed.error().fix.empty());
}

TEST_CASE("events: draining takes what waits and unmasks each port") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  auto events = EventChannels::open().value();
  CHECK((fcntl(events->fd(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK(events->drain() == 0);
  xen.kick(5);
  xen.kick(6);
  CHECK(readable(events->fd()));
  CHECK(events->drain() == 2);
  CHECK(xen.unmasked == 2);
  CHECK_FALSE(readable(events->fd()));
}

TEST_CASE("events: the next one is taken with its port, which is unmasked when told") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  auto events = EventChannels::open().value();
  CHECK(events->next() == std::nullopt);
  xen.kick(105);
  xen.kick(106);
  std::set<evtchn_port_t> ports;
  for (int i = 0; i < 2; ++i) {
    CHECK(readable(events->fd()));
    const auto port = events->next();
    REQUIRE(port);
    ports.insert(*port);
  }
  CHECK(ports == std::set<evtchn_port_t>{105, 106});
  CHECK(events->next() == std::nullopt);
  CHECK_FALSE(readable(events->fd()));
  CHECK(xen.unmasked == 0);
  events->unmask(106);
  CHECK(xen.unmasked == 1);
  CHECK(xen.unmasked_last == 106);
}

TEST_CASE("events: a guest that kicks without end does not keep us draining") {  // XSA-332
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  auto events = EventChannels::open().value();
  for (int i = 0; i < 1500; ++i) xen.kick(5);
  CHECK(events->drain() == 1024);
  CHECK(events->drain() == 476);
}

TEST_CASE("events: notify reaches the port") {
  FakeXen& xen = FakeXen::instance();
  xen.reset();
  auto events = EventChannels::open().value();
  events->notify(9);
  CHECK(xen.notifications[9] == 1);
}
