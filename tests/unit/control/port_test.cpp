// Ports of DPDK's drivers that need no device.
#include "control/port.hpp"

#include <rte_ethdev.h>

#include <nlohmann/json.hpp>

#include "control/stats.hpp"
#include "tests/unit/support/control_host.hpp"

using namespace netback;
using namespace netback::test;

// net_ring takes no address besides the port's own.
TEST_CASE("port_is_promiscuous_and_counts_it_while_a_vif_needs_what_its_driver_cannot_filter") {
  ControlHost host;
  const Port& port = *host.ports[0];
  CHECK(rte_eth_promiscuous_get(port.queue().port) == 0);
  CHECK(port_details(port)["promiscuous"] == false);
  const uint64_t calls = port.filters().counts().calls;
  const VifId id = host.add_connected_vif();
  CHECK(rte_eth_promiscuous_get(port.queue().port) == 1);
  CHECK(port_details(port)["promiscuous"] == true);
  CHECK(port_details(port)["promiscuous_for"] ==
        nlohmann::json{"1 more addresses than the NIC takes"});
  CHECK(port_details(port)["promiscuous_fallbacks"] == 1);
  CHECK(port_details(port)["filter_calls"] == calls + 1);
  const Worker worker({}, host.mailbox, *host.grants, *host.events, *host.pool);
  const std::vector<unsigned> cpus{3};
  const auto stats = stats_json({{}, host.ports, {&worker}, cpus});
  CHECK(stats["ports"][0]["promiscuous_fallbacks"] == 1);
  CHECK(stats["workers"][0]["cpu"] == 3);
  host.set_frontend(id, 5);
  host.settle();
  CHECK(rte_eth_promiscuous_get(port.queue().port) == 0);
}

TEST_CASE("port_that_never_hands_out_a_frame_is_known_to_the_worker") {
  const auto pool = make_pool();
  for (const bool receives : {false, true}) {
    const PortConfig config{.name = "p", .device = receives ? "net_null8,no-rx=0" : "net_null8"};
    auto device = check_device(config);
    REQUIRE(device);
    auto port = Port::open(config, device.value(), *pool);
    REQUIRE(port);
    CHECK(port.value()->queue().can.receives == receives);
  }
}

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
