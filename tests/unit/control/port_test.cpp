// Ports of DPDK's drivers that need no device.
#include "control/port.hpp"

#include <rte_ethdev.h>

#include <nlohmann/json.hpp>

#include "control/stats.hpp"
#include "tests/unit/support/control_host.hpp"

using namespace netback;
using namespace netback::test;

TEST_CASE("seed_S07_a_tap_that_its_driver_did_not_make_is_not_passed_over") {
  const auto pool = make_pool();
  const DriverQuirks quirks{.driver = "net_null", .kernel_tap = true};
  const PortDevice device{
      .quirks = &quirks, .name = "net_null8", .arguments = "no-rx=1", .iface = "nb-none"};
  for (const char* bridge : {"br0", ""}) {
    const auto port =
        Port::open({.name = "p", .device = "net_null8", .bridge = bridge}, device, *pool);
    REQUIRE_FALSE(port);
    CHECK(port.error().message == "port 'p': the driver made no tap nb-none");
    uint16_t number;
    CHECK(rte_eth_dev_get_port_by_name("net_null8", &number) != 0);  // it was closed again
  }
}
