// RSS: whose hashes, of what, and over which queues.
#include "control/port_spread.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <set>

#include "control/port.hpp"
#include "control/stats.hpp"
#include "tests/unit/support/fake_nic.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// net_null says that it has RSS, and keeps what it is told.
struct Spread : FakeNic {
  std::unique_ptr<FramePool> pool = make_pool();
  std::unique_ptr<Port> port;

  void open(uint16_t workers, const char* name = "net_null8") {
    const PortConfig config{.name = "p", .device = name};
    auto device = check_device(config, {}, workers);
    REQUIRE(device);
    auto opened = Port::open(config, device.value(), *pool);
    REQUIRE(opened);
    port = std::move(opened).value();
  }
  std::string shown() const { return port_details(*port)["rss"]; }
  // How often each queue is in the device's table.
  std::map<uint16_t, int> table() const {
    rte_eth_dev_info info{};
    REQUIRE(rte_eth_dev_info_get(port->queue().device, &info) == 0);
    std::vector<rte_eth_rss_reta_entry64> all(info.reta_size / RTE_ETH_RETA_GROUP_SIZE);
    for (auto& group : all) group.mask = UINT64_MAX;
    REQUIRE(rte_eth_dev_rss_reta_query(port->queue().device, all.data(), info.reta_size) == 0);
    std::map<uint16_t, int> counts;
    for (const auto& group : all)
      for (const uint16_t queue : group.reta) ++counts[queue];
    return counts;
  }
};

}  // namespace

TEST_CASE("port_spread_several_pairs_share_the_hashes_of_flows") {
  Spread s;
  s.open(2);
  CHECK(s.shown() == "on");
  CHECK(s.configured.rxmode.mq_mode == RTE_ETH_MQ_RX_RSS);
  const uint64_t types = s.configured.rx_adv_conf.rss_conf.rss_hf;
  CHECK((types & RTE_ETH_RSS_TCP) != 0);
  CHECK((types & RTE_ETH_RSS_IPV4) != 0);
  CHECK((types & RTE_ETH_RSS_UDP) == 0);  // fragments have no ports
  const auto table = s.table();
  REQUIRE(table.size() == 2);
  CHECK(table.at(0) == table.at(1));
}

TEST_CASE("port_spread_one_pair_needs_none") {
  Spread s;
  s.open(1);
  CHECK(s.shown() == "off: one queue pair");
  CHECK(s.configured.rxmode.mq_mode == RTE_ETH_MQ_RX_NONE);
}

TEST_CASE("port_spread_a_driver_that_has_none_or_refuses_it_serves_all_the_same") {
  Spread none;
  none.open(2, "net_ring8");
  CHECK(none.shown() == "absent: the driver has none");
  CHECK(none.configured.rxmode.mq_mode == RTE_ETH_MQ_RX_NONE);
  none.port.reset();
  Spread refuses;
  refuses.refuses["configure_rss"] = -EINVAL;
  refuses.open(2);
  CHECK(refuses.shown() == "absent: the driver refuses it: Invalid argument");
  CHECK(refuses.configured.rxmode.mq_mode == RTE_ETH_MQ_RX_NONE);
  CHECK(refuses.port->pairs().size() == 2);
}

TEST_CASE("port_spread_a_NIC_that_refuses_it_keeps_its_interrupts") {
  Spread s;
  const PortConfig config{.name = "p", .device = "net_null8"};
  auto checked = check_device(config, {}, 2);
  REQUIRE(checked);
  PortDevice device = checked.value();
  DriverQuirks nic = *device.quirks;
  nic.receive_interrupt = true;
  device.quirks = &nic;
  for (const bool refused : {false, true}) {
    if (refused) s.refuses["configure_rss"] = -EINVAL;
    REQUIRE(Port::open(config, device, *s.pool));
    CHECK(s.configured.intr_conf.rxq == 1);
    CHECK((s.configured.rxmode.mq_mode == RTE_ETH_MQ_RX_NONE) == refused);
  }
}

TEST_CASE("port_spread_a_table_that_cannot_be_set_is_the_driver_s_own") {
  Spread s;
  s.refuses["rss_reta_update"] = -ENOTSUP;
  s.open(2);
  CHECK(s.shown() == "on, by a table of the driver's own");
}

TEST_CASE("port_spread_a_tap_s_flows_are_spread_by_the_kernel") {
  rte_eth_dev_info info{};
  info.flow_type_rss_offloads = UINT64_MAX;
  const DriverQuirks tap{.driver = "net_tap", .kernel_tap = true}, nic{.driver = "pci"};
  const auto chosen = [&](const DriverQuirks& quirks, size_t pairs, const char* iface = "t7") {
    return choose_spread(info, {.quirks = &quirks, .name = "", .arguments = "", .iface = iface},
                         pairs);
  };
  CHECK(chosen(tap, 2, "").text == "absent: whoever is behind the socket spreads flows");
  CHECK(chosen(tap, 2).text == "absent: the kernel spreads flows");
  CHECK(chosen(tap, 2).hash_types == 0);
  CHECK(chosen(nic, 2).hash_types == (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP));
  CHECK(chosen(nic, 1).hash_types == 0);
}
