// Ports with a queue pair for each worker: opened, lent, counted, closed, and opened again.
#include <rte_ethdev.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "control/port.hpp"
#include "control/stats.hpp"
#include "tests/unit/support/fake_nic.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// A net_ring: what a pair sends comes back by it.
struct PairsPort {
  std::unique_ptr<FramePool> pool = make_pool();
  std::unique_ptr<Port> port;

  explicit PairsPort(uint16_t workers, std::optional<uint32_t> asked = {},
                     const std::string& name = "net_ring8") {
    const PortConfig config{.name = "p", .device = name, .bridge = "", .queue_pairs = asked};
    auto device = check_device(config, {}, workers);
    REQUIRE(device);
    auto opened = Port::open(config, device.value(), *pool);
    if (opened)
      port = std::move(opened).value();
    else
      error = opened.error().message + " / " + opened.error().fix;
  }
  std::string error;
};

}  // namespace

TEST_CASE("port_pairs_are_a_queue_each_of_one_device_and_all_run_or_none") {
  PairsPort o(3);
  REQUIRE(o.port);
  const auto& pairs = o.port->pairs();
  REQUIRE(pairs.size() == 3);
  rte_eth_dev_info info{};
  REQUIRE(rte_eth_dev_info_get(o.port->queue().device, &info) == 0);
  CHECK(info.nb_rx_queues == 3);
  CHECK(info.nb_tx_queues == 3);
  for (uint16_t i = 0; i < 3; ++i) {
    CHECK(pairs[i]->queue == i);
    CHECK(pairs[i]->port == pairs[0]->port);
    CHECK(pairs[i]->device == pairs[0]->device);
    CHECK(pairs[i]->can.chains);
    CHECK(pairs[i]->can.frame_bytes_max == 1514);
    CHECK(pairs[i]->running);
    rte_mbuf* frame = make_mbuf(*o.pool, Bytes(60));
    CHECK(rte_eth_tx_burst(pairs[i]->device, i, &frame, 1) == 1);
    for (uint16_t other : {0, 1, 2}) {
      rte_mbuf* back = nullptr;
      CHECK(rte_eth_rx_burst(pairs[i]->device, other, &back, 1) == (other == i ? 1 : 0));
      if (other == i) rte_pktmbuf_free(back);
    }
  }
  o.port->suspend();
  for (const auto& pair : pairs) CHECK_FALSE(pair->running);
  o.port->let_go();
  REQUIRE(o.port->come_back(*o.pool));
  CHECK(o.port->pairs().size() == 3);
  for (const auto& pair : o.port->pairs()) CHECK(pair->running);
  o.port->close();
  CHECK(o.pool->free_buffers() == o.pool->buffers());
}

TEST_CASE("port_pairs_are_lent_by_turns_from_the_port_s_own_worker_on") {
  PairsPort o(3);
  REQUIRE(o.port);
  o.port->lend_to(2, 3);
  const auto& pairs = o.port->pairs();
  CHECK(pairs[0]->worker == 2);
  CHECK(pairs[1]->worker == 0);
  CHECK(pairs[2]->worker == 1);
  for (const auto& pair : pairs)
    CHECK(pair->by_worker == std::vector{pairs[1].get(), pairs[2].get(), pairs[0].get()});
  pairs[0]->counters.add(PortCounter::port_sent_frames, 3);
  pairs[2]->counters.add(PortCounter::port_sent_frames, 4);
  pairs[1]->counters.add(PortCounter::port_received_frames, 5);
  CHECK(o.port->count(PortCounter::port_sent_frames) == 7);
  CHECK(o.port->count(PortCounter::port_received_frames) == 5);
  const auto shown = port_details(*o.port)["queue_pairs"];
  REQUIRE(shown.size() == 3);
  CHECK(shown[0].dump() == R"({"queue":0,"worker":2,"received_frames":0,"sent_frames":3})");
  CHECK(shown[1].dump() == R"({"queue":1,"worker":0,"received_frames":5,"sent_frames":0})");
  const std::vector<VifSession*> vifs;
  const std::vector<unsigned> cpus;
  std::vector<std::unique_ptr<Port>> ports;
  ports.push_back(std::move(o.port));
  const auto stats = stats_json({vifs, ports, {}, cpus})["ports"][0];
  CHECK(stats["port_sent_frames"] == 7);
  CHECK(stats["port_received_frames"] == 5);
  CHECK(stats["port_drop_short_frames"] == 0);
}

TEST_CASE("port_pairs_one_alone_is_its_worker_s_and_the_others_reach_it_by_crossing") {
  PairsPort o(3, 1);
  REQUIRE(o.port);
  o.port->lend_to(2, 3);
  REQUIRE(o.port->pairs().size() == 1);
  CHECK(o.port->queue().worker == 2);
  CHECK(o.port->queue().by_worker.empty());
}

TEST_CASE("port_pairs_of_a_driver_with_fewer_are_one_or_an_error_if_they_were_asked_for") {
  FakeNic nic;
  for (uint16_t* most : {&nic.receive_queues_max, &nic.transmit_queues_max}) {
    *most = 2;
    PairsPort fewer(3);
    REQUIRE(fewer.port);
    CHECK(fewer.port->pairs().size() == 1);
    fewer.port->close();
    nic.receive_queues_max = 3;
  }
  CHECK(PairsPort(2).port->pairs().size() == 2);
  const PairsPort asked(3, 3);
  CHECK_FALSE(asked.port);
  CHECK(asked.error == "port 'p': device 'net_ring8' has 2 of 3 queue pairs / queue-pairs = 1");
  CHECK(asked.pool->free_buffers() == asked.pool->buffers());
}

TEST_CASE("port_pairs_a_device_that_comes_back_with_fewer_is_not_taken") {
  FakeNic nic;
  PairsPort o(2);
  REQUIRE(o.port);
  o.port->suspend();
  o.port->let_go();
  nic.receive_queues_max = 1;
  const Status refused = o.port->come_back(*o.pool);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message == "port 'p': device 'net_ring8' has 1 of 2 queue pairs");
  CHECK(o.port->pairs().size() == 2);
  nic.receive_queues_max = 2;
  CHECK(o.port->come_back(*o.pool));
}

TEST_CASE("port_pairs_share_a_port_s_descriptors_as_far_as_bursts_need_them") {
  using Slots = std::vector<uint16_t>;
  FakeNic nic;
  const auto slots = [&](uint16_t workers) {
    nic.receive_slots.clear();
    nic.transmit_slots.clear();
    const PairsPort port(workers);
    CHECK(nic.receive_slots == nic.transmit_slots);
    return nic.receive_slots;
  };
  CHECK(slots(1) == Slots{1024});
  CHECK(slots(2) == Slots{512, 512});
  CHECK(slots(8) == Slots(8, 256));
}

TEST_CASE("port_pairs_each_has_its_own_interrupt_or_none_and_without_a_device_none") {
  FakeNic nic;
  nic.receive_fds = {{0, 70}, {1, 71}, {2, 70}};
  const auto pool = make_pool();
  for (const bool interrupts : {true, false}) {
    const DriverQuirks quirks{.driver = "net_ring", .receive_interrupt = interrupts};
    auto opened = Port::open(
        {.name = "p", .device = "net_ring8"},
        {.quirks = &quirks, .name = "net_ring8", .arguments = "", .iface = "", .queue_pairs = 4},
        *pool);
    REQUIRE(opened);
    Port& port = *opened.value();
    std::vector<int> fds;
    for (const auto& pair : port.pairs()) fds.push_back(pair->receive_fd);
    CHECK(fds == (interrupts ? std::vector{70, 71, -1, -1} : std::vector{-1, -1, -1, -1}));
    port.suspend();
    port.let_go();
    for (const auto& pair : port.pairs()) CHECK(pair->receive_fd == -1);
  }
}

TEST_CASE("port_pairs_keep_large_buffers_each_and_once_however_often_the_device_comes_back") {
  FakeNic nic;
  nic.more_receive_offloads = RTE_ETH_RX_OFFLOAD_TCP_LRO | RTE_ETH_RX_OFFLOAD_SCATTER;
  const auto pool = std::move(FramePool::make("large", 1024, 512)).value();
  const DriverQuirks quirks{.driver = "net_ring", .gives_large = true};
  auto opened = Port::open({.name = "p", .device = "net_ring8"},
                           {.quirks = &quirks,
                            .name = "net_ring8",
                            .arguments = "",
                            .iface = "",
                            .queue_pairs = 2,
                            .large_pairs = 2},
                           *pool);
  REQUIRE(opened);
  CHECK(nic.receive_slots == std::vector<uint16_t>{64, 64});  // of 512 a quarter
  for (const auto& pair : opened.value()->pairs()) CHECK(pair->can.large_buffers);
  CHECK(pool->free_large_buffers_here() == 512 - 128);
  opened.value()->suspend();
  opened.value()->let_go();
  REQUIRE(opened.value()->come_back(*pool));
  CHECK(pool->free_large_buffers_here() == 512 - 128);
}
