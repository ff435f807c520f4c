// Devices that go and come back, with a worker that is slow to say that it has seen it.
#include "control/port_watch.hpp"

#include <rte_ethdev.h>

#include <thread>

#include "control/stats.hpp"
#include "tests/unit/support/control_host.hpp"
#include "tests/unit/support/fake_nic.hpp"

using namespace netback;
using namespace netback::test;
using namespace std::chrono_literals;

namespace {

struct Watched : FakeNic {
  std::unique_ptr<Loop> loop = std::move(Loop::make()).value();
  std::unique_ptr<FramePool> pool = make_pool();
  std::vector<std::unique_ptr<Port>> ports;
  Mailbox mailbox, second;
  WorkerLink link{mailbox}, second_link{second};
  std::vector<bool> news;  // of the link, as it was told
  std::unique_ptr<PortWatch> watch;

  explicit Watched(uint16_t workers = 1) {
    const PortConfig config{.name = "p", .device = "net_null8"};
    const auto device = check_device(config, {}, workers);
    REQUIRE(device);
    auto port = Port::open(config, Result(device).value(), *pool);
    REQUIRE(port);
    ports.push_back(std::move(port).value());
    ports[0]->lend_to(0, workers);
    watch = std::make_unique<PortWatch>(
        *loop, ports, *pool, std::vector{&link, &second_link},
        [this](const Port& changed) { news.push_back(changed.link_up()); });
  }
  ~Watched() {
    watch.reset();
    ports.clear();
  }
  Port& port() { return *ports[0]; }
  void pass(Loop::Clock::duration time) {
    const auto end = Loop::Clock::now() + time;
    while (Loop::Clock::now() < end) loop->run_once(5ms);
  }
  // How many of its commands the worker acked.
  int ack() { return ack(mailbox, link); }
  static int ack(Mailbox& worker, WorkerLink& its_link) {
    Command command;
    int count = 0;
    for (; worker.next_command(command); ++count) worker.report(Acked{command.sequence});
    its_link.handle_reports();
    return count;
  }
  bool device_is_open() {
    uint16_t number;
    return rte_eth_dev_get_port_by_name("net_null8", &number) == 0;
  }
};

}  // namespace

TEST_CASE("port_watch_closes_a_removed_device_once_its_worker_has_seen_that_it_does_not_run") {
  Watched w;
  w.pass(2 * PortWatch::look_interval);
  CHECK(w.news.empty());
  CHECK(port_details(w.port())["link"] == "up");
  w.removed = true;
  w.pass(2 * PortWatch::look_interval);
  CHECK(w.news == std::vector{false});
  CHECK_FALSE(w.port().queue().running.load());
  CHECK(port_details(w.port())["link"] == "gone");
  w.removed = false;
  w.pass(2 * PortWatch::look_interval);
  CHECK(w.device_is_open());  // the worker may be in its driver
  CHECK_FALSE(w.port().queue().running.load());
  CHECK(w.ack() == 1);
  CHECK_FALSE(w.device_is_open());
  CHECK(w.port().mac().empty());
  w.pass(2 * PortWatch::look_interval);
  CHECK(w.device_is_open());
  CHECK(w.port().queue().running.load());
  CHECK(w.news == std::vector{false, true});
  CHECK(w.ack() == 1);  // one that sleeps is to wait for it as well
}

TEST_CASE("port_watch_closes_a_removed_device_once_all_workers_with_a_pair_of_it_have_seen_that") {
  Watched w(2);
  w.removed = true;
  w.pass(PortWatch::look_interval + 50ms);
  w.removed = false;
  CHECK(w.ack() == 1);
  CHECK(w.device_is_open());
  CHECK(w.ack(w.second, w.second_link) == 1);
  CHECK_FALSE(w.device_is_open());
  w.pass(2 * PortWatch::look_interval);
  CHECK(w.device_is_open());
  CHECK(w.ack() == 1);
  CHECK(w.ack(w.second, w.second_link) == 1);
}

TEST_CASE("port_watch_tries_a_device_that_stays_removed_less_and_less_often") {
  Watched w;
  w.removed = true;
  w.pass(PortWatch::look_interval + 50ms);
  CHECK(w.ack() == 1);
  const int asked = w.removed_asked;
  w.pass(8 * PortWatch::look_interval);  // once each attempt: after a look, 2 looks and 4
  CHECK(w.removed_asked - asked >= 2);
  CHECK(w.removed_asked - asked <= 3);
  CHECK(w.news == std::vector{false});
  CHECK_FALSE(w.device_is_open());
  CHECK_FALSE(w.port().queue().running.load());
  CHECK(w.pool->free_buffers() == w.pool->buffers());
}

TEST_CASE("port_watch_does_not_open_again_what_it_is_to_forget") {
  Watched w;
  w.removed = true;
  w.pass(PortWatch::look_interval + 50ms);
  w.watch->forget(w.port());
  w.removed = false;
  CHECK(w.ack() == 1);
  CHECK_FALSE(w.device_is_open());
  w.pass(2 * PortWatch::look_interval);
  CHECK_FALSE(w.device_is_open());
}

TEST_CASE("port_that_has_gone_is_closed_like_any_other") {
  for (const bool acked : {false, true}) {
    Watched w;
    w.removed = true;
    w.pass(PortWatch::look_interval + 50ms);
    if (acked) w.ack();
    w.watch.reset();
    w.ports.clear();
    CHECK_FALSE(w.device_is_open());
  }
}

TEST_CASE(
    "filters_of_a_device_that_comes_back_are_what_is_wanted_then_and_none_go_to_one_that_has_"
    "gone") {
  FakeNic nic;
  constexpr uint16_t no_port = 31;  // the fake is below all of them
  FilterProgrammer programmer("p", no_port);
  nic.refuses["mac_addr_add"] = -EIO;
  programmer.program(wanted_filters({{.vif = "1.0", .mac = mac_a, .groups = Groups{}}}));
  CHECK(nic.state.promiscuous);
  programmer.end();
  CHECK_FALSE(programmer.programmed().promiscuous);
  CHECK(programmer.why_promiscuous().empty());
  nic.calls.clear();
  const FilterNeeds other{.vif = "2.0", .mac = mac_b, .groups = Groups{group_a}};
  programmer.program(wanted_filters({other}));
  programmer.program_groups(wanted_filters({other}));
  CHECK(nic.calls.empty());
  // Another device: it has forgotten everything, and refuses nothing.
  nic.refuses.clear();
  nic.state = {.primary = own_mac};
  programmer.begin(no_port);
  CHECK(texts_of(nic.state.unicast) == Texts{address_text(mac_b)});
  CHECK(nic.state.multicast.size() == 1);
  CHECK_FALSE(nic.state.promiscuous);
  CHECK(programmer.counts().unicast_refused == 1);  // of all devices
}
