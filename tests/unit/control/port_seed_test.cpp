// Ports opened and closed for real, of drivers that need no device.
#include "control/port.hpp"

#include <rte_ethdev.h>
#include <catch2/catch.hpp>

#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr DriverQuirks trusted{.driver = "net_ring", .segments = true, .gives_large = true};

struct Opened {
  std::unique_ptr<FramePool> pool = make_pool();
  std::unique_ptr<Port> port;

  // A port of net_ring, whose driver says that it sends chains and fills in no checksum. That of
  // net_null says that it receives into one buffer.
  Result<std::unique_ptr<Port>> open(const DriverQuirks& quirks = trusted, uint32_t mtu = 1500,
                                     const std::string& name = "net_ring_of_test") {
    return Port::open({.name = "p", .device = name, .mtu = mtu, .bridge = ""},
                      {.quirks = &quirks, .name = name, .arguments = "", .iface = ""}, *pool);
  }
  static bool exists(const std::string& name = "net_ring_of_test") {
    uint16_t number;
    return rte_eth_dev_get_port_by_name(name.c_str(), &number) == 0;
  }
};

uint64_t offloads_of(const Port& port) {
  rte_eth_dev_info info{};
  REQUIRE(rte_eth_dev_info_get(port.queue().port, &info) == 0);
  return info.tx_offload_capa;
}

// What was seen when DPDK let go of the port.
struct Closing {
  const std::atomic<bool>* running;
  int times = 0;
  bool ran = true, was_promiscuous = true;
};
int on_destroyed(uint16_t port, rte_eth_event_type, void* argument, void*) {
  auto& closing = *static_cast<Closing*>(argument);
  ++closing.times;
  closing.ran = closing.running->load();
  closing.was_promiscuous = rte_eth_promiscuous_get(port) != 0;
  return 0;
}

}  // namespace

TEST_CASE("seed_S11_a_port_can_what_its_driver_says_and_no_more") {
  Opened o;
  auto opened = o.open();
  REQUIRE(opened);
  const Port& port = *opened.value();
  const uint64_t offloads = offloads_of(port);
  REQUIRE((offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0);
  REQUIRE((offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) == 0);
  CHECK(port.queue().can.chains);
  CHECK_FALSE(port.queue().can.checksum);
  CHECK_FALSE(port.queue().can.segments);
}

TEST_CASE("seed_S11_a_driver_known_to_lie_is_not_believed") {
  constexpr DriverQuirks liar{
      .driver = "net_ring", .sends_chains = false, .completes_checksums = false};
  Opened o;
  auto opened = o.open(liar);
  REQUIRE(opened);
  CHECK_FALSE(opened.value()->queue().can.chains);
  CHECK_FALSE(opened.value()->queue().can.checksum);
}

TEST_CASE("seed_S12_running_is_set_last_and_cleared_first_the_device_goes_last") {
  Opened o;
  auto opened = o.open();
  REQUIRE(opened);
  Port& port = *opened.value();
  CHECK(port.queue().running);
  CHECK(rte_eth_promiscuous_get(port.queue().port) == 0);
  port.filters().program(
      wanted_filters({{.vif = "1.0", .mac = {{0, 0x16, 0x3e, 0, 0, 1}}, .filtered = false}}));
  CHECK(rte_eth_promiscuous_get(port.queue().port) == 1);
  rte_mbuf* none[1];
  CHECK(rte_eth_rx_burst(port.queue().port, port.queue().queue, none, 1) == 0);

  Closing closing{&port.queue().running};
  REQUIRE(rte_eth_dev_callback_register(RTE_ETH_ALL, RTE_ETH_EVENT_DESTROY, on_destroyed,
                                        &closing) == 0);
  port.close();
  REQUIRE(rte_eth_dev_callback_unregister(RTE_ETH_ALL, RTE_ETH_EVENT_DESTROY, on_destroyed,
                                          &closing) == 0);
  CHECK(closing.times == 1);
  CHECK_FALSE(closing.ran);
  CHECK_FALSE(closing.was_promiscuous);
  CHECK_FALSE(Opened::exists());
}

TEST_CASE("seed_S12_closed_twice_is_harmless_and_the_device_can_be_opened_again") {
  Opened o;
  for (int i = 0; i < 3; ++i) {
    auto opened = o.open();
    REQUIRE(opened);
    opened.value()->close();
    opened.value()->close();
    CHECK_FALSE(Opened::exists());
  }
  CHECK(o.pool->free_buffers() == o.pool->buffers());
}

TEST_CASE("seed_S07_a_port_that_cannot_be_opened_leaves_nothing_behind") {
  Opened o;
  const auto refused = o.open(trusted, 9000, "net_null_of_test");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message ==
        "port 'p': mtu 9000 does not fit a buffer of 2048 bytes and the driver receives into one");
  CHECK(refused.error().fix == "lower the port's mtu");
  CHECK_FALSE(Opened::exists("net_null_of_test"));
  CHECK(o.open(trusted, 1500, "net_null_of_test").ok());

  const auto unknown = o.open(trusted, 1500, "net_rong_of_test");
  REQUIRE_FALSE(unknown.ok());
  CHECK(
      unknown.error().message.starts_with("port 'p': device 'net_rong_of_test': cannot be opened"));
  CHECK_FALSE(Opened::exists("net_rong_of_test"));
  CHECK(o.pool->free_buffers() == o.pool->buffers());
}

TEST_CASE("port_a_mtu_takes_what_a_tag_adds") {
  Opened o;
  auto opened = o.open(trusted, 2030, "net_null_of_test");  // 2,048 with header and tag
  REQUIRE(opened);
  CHECK(opened.value()->queue().can.frame_bytes_max == 2044);
  opened.value()->close();
  CHECK_FALSE(o.open(trusted, 2031, "net_null_of_test").ok());
}

TEST_CASE("port_a_link_counts_as_up_and_changes_are_told_once") {
  Opened o;
  auto opened = o.open();
  REQUIRE(opened);
  Port& port = *opened.value();
  CHECK(port.link_up());
  CHECK_FALSE(port.update_link());
  REQUIRE(rte_eth_dev_set_link_down(port.queue().port) == 0);
  CHECK(port.update_link());
  CHECK_FALSE(port.link_up());
  CHECK_FALSE(port.update_link());
  REQUIRE(rte_eth_dev_set_link_up(port.queue().port) == 0);
  CHECK(port.update_link());
  CHECK(port.link_up());
}
