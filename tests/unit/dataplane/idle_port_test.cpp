// When a worker that sleeps looks at its ports, or is woken by them.
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "tests/unit/support/idling.hpp"

namespace {
int interrupts_enabled = 0, interrupts_disabled = 0;
}

// Before DPDK's own: the port made of rings has no interrupts.
int rte_eth_dev_rx_intr_enable(uint16_t, uint16_t) {
  ++interrupts_enabled;
  return 0;
}
int rte_eth_dev_rx_intr_disable(uint16_t, uint16_t) {
  ++interrupts_disabled;
  return 0;
}

using namespace netback;
using namespace netback::test;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

TEST_CASE("idle: a port without receive interrupt is looked at every 100 us") {
  Idling i;
  PortQueue port{.port = 0};
  i.ports = {&port};
  i.now += 50 * i.us;
  i.after_turn(false);
  CHECK(i.after_turn(false, 50'000) >= milliseconds(49));  // not running: no reason to look
  port.running = true;
  i.after_turn(false);
  CHECK(i.after_turn(false, 1'000'000) < milliseconds(500));
  port.can.receives = false;
  i.after_turn(false);
  CHECK(i.after_turn(false, 50'000) >= milliseconds(49));
}

TEST_CASE("idle: a port without receive interrupt is looked at ten times less when nothing comes") {
  Idling i;
  PortQueue port{.port = 0};
  port.running = true;
  i.ports = {&port};
  const auto shortest_sleep = [&] {  // of many: whatever else runs here makes them longer
    auto shortest = Clock::duration::max();
    for (int n = 0; n < 30; ++n) {
      i.after_turn(false);
      const auto started = Clock::now();
      i.after_turn(false, 1'000'000);
      shortest = std::min(shortest, Clock::now() - started);
    }
    return shortest;
  };
  i.now += limits::quiet_ms * (rte_get_tsc_hz() / 1000) - 1;
  CHECK(shortest_sleep() < milliseconds(1));
  i.now += 1;
  CHECK(shortest_sleep() >= milliseconds(1));
  i.after_turn(true);
  i.now += 50 * i.us;
  CHECK(shortest_sleep() < milliseconds(1));
}

TEST_CASE("idle: a port's interrupt is armed for the sleep alone") {
  Idling i;
  PortQueue port{.port = 0};
  port.receive_fd = eventfd(0, EFD_NONBLOCK);
  port.running = true;
  i.ports = {&port};
  interrupts_enabled = interrupts_disabled = 0;
  i.now += 50 * i.us;
  i.after_turn(false);
  CHECK(interrupts_enabled == 1);
  CHECK(i.after_turn(false, 20'000) >= milliseconds(19));
  CHECK(interrupts_disabled == 1);
  i.after_turn(false);
  eventfd_write(port.receive_fd, 1);
  CHECK(i.after_turn(false, 1'000'000) < milliseconds(500));
  CHECK(interrupts_disabled == 2);
  i.after_turn(false);
  i.after_turn(true);  // armed, and then there was work
  CHECK(interrupts_enabled == 3);
  CHECK(interrupts_disabled == 3);
  i.after_turn(false);
  i.after_turn(true);
  CHECK(interrupts_disabled == 3);
  close(port.receive_fd);
}
