// A control ring without a vif: how it opens, stops and goes. And whose the events are.
#include <filesystem>
#include <fstream>

#include "control/control_ring.hpp"
#include "tests/unit/control/control_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

// A control ring of no vif, with its queue: the worker knows of none.
struct Alone {
  ControlHost host;
  TestGuest guest{0, 5};
  Page page;
  ControlFrontRing ring{page.bytes};
  Agreement agreement{.control_reference = 300, .control_channel = 9};
  std::string file = host.state_files.path_of("staging-alone");
  std::vector<uint32_t> broken;  // slots

  Alone() { xen().grant(5, 300, page.bytes); }
  Result<std::unique_ptr<ControlRing>> open(bool resume = false) {
    return ControlRing::open({.grants = *host.grants,
                              .events = *host.control_events,
                              .worker = *host.link,
                              .queue = *guest.queue,
                              .file = file,
                              .broken = [this](uint32_t slot) { broken.push_back(slot); }},
                             agreement, resume);
  }
  uint32_t port() const { return xen().bound.rbegin()->first; }
  // Some milliseconds, with kicks of this port.
  void pass_time(uint32_t kicks = 0) {
    for (int i = 0; i < 4; ++i) {
      if (kicks != 0) xen().kick(kicks);
      host.loop->run_once(std::chrono::milliseconds(2));
    }
  }
};

}  // namespace

TEST_CASE("control_ring_alone_what_cannot_be_opened_leaves_nothing") {
  Alone alone;
  SECTION("no such grant") {
    alone.agreement.control_reference = 301;
  }
  SECTION("no such channel") {
    alone.agreement.control_channel = 0;
  }
  SECTION("an impossible ring") {
    alone.ring.req_prod() = UINT32_MAX;
  }
  std::ofstream(alone.file) << "1001 0\n";
  alone.guest.data_page({});
  for (const bool resume : {false, true}) {
    CHECK_FALSE(alone.open(resume).ok());
    CHECK(xen().mapped(5) == 0);
    CHECK(xen().bound.empty());
    CHECK(alone.host.link->unacked() == 0);
    CHECK(xen().notifications.empty());
    CHECK(std::filesystem::exists(alone.file));  // of a guest that was not heard yet
  }
}

TEST_CASE("control_ring_alone_a_lie_is_told_once_with_its_slot_and_ends_the_service") {
  Alone alone;
  auto ring = std::move(alone.open()).value();
  for (uint16_t i = 0; i < 3; ++i) alone.ring.put({.id = i, .type = get_size});
  alone.ring.push();
  REQUIRE(alone.host.soon([&] { return alone.ring.rsp_prod() == 3; }));
  alone.ring.req_prod() = 3 + netif::control_ring_slots + 1;
  REQUIRE(alone.host.soon([&] { return !alone.broken.empty(); }));
  alone.ring.req_prod() = 4;
  alone.pass_time(alone.port());
  CHECK(alone.broken == std::vector<uint32_t>{3});
  CHECK(alone.ring.rsp_prod() == 3);
}

TEST_CASE("control_ring_alone_a_stopped_one_serves_no_more_and_goes_without_a_trace") {
  Alone alone;
  auto ring = std::move(alone.open()).value();
  const uint32_t port = alone.port();
  alone.ring.put({.id = 1, .type = get_size});
  alone.ring.push();
  ring->stop();
  alone.pass_time(port);
  CHECK(alone.ring.rsp_prod() == 0);
  CHECK(xen().unmasked == 0);
  ring.reset();
  CHECK(xen().mapped(5) == 0);
  CHECK(xen().bound.empty());
  xen().kick(port);
  alone.host.settle();
}

TEST_CASE("control_ring_alone_one_that_is_stopped_before_an_ack_does_nothing_after_it") {
  Alone alone;
  const uint32_t page = alone.guest.data_page({});
  std::ofstream(alone.file) << page << " 0\n";
  alone.host.worker_runs = false;
  auto ring = std::move(alone.open(true)).value();
  CHECK(ring->staged_pages() == 1);
  CHECK(xen().mapped(5) == 2);
  ring->stop();
  alone.host.worker_runs = true;
  alone.host.settle();
  CHECK(alone.host.link->unacked() == 0);
  alone.pass_time();
  CHECK(xen().unmasked == 0);
  CHECK(alone.host.next_command() == nullptr);
}

TEST_CASE("control_ring_alone_one_that_goes_leaves_no_timer_behind") {
  Alone alone;
  alone.open().value().reset();
  alone.pass_time();
  CHECK(xen().mapped(5) == 0);
  CHECK(xen().unmasked == 0);
}

TEST_CASE("control_ring_alone_forgets_when_told_and_keeps_when_it_just_goes") {
  Alone alone;
  const uint32_t page = alone.guest.data_page({});
  std::ofstream(alone.file) << page << " 0\n";
  for (const bool forgets : {false, true}) {
    alone.guest.queue->staging = nullptr;  // a queue goes with its ring
    auto ring = std::move(alone.open(true)).value();
    alone.host.settle();
    CHECK(xen().mapped(5) == 2);
    ring->stop();
    if (forgets) ring->forget();
    CHECK(xen().mapped(5) == (forgets ? 1 : 2));
    ring.reset();
    CHECK(xen().mapped(5) == 0);
    CHECK(std::filesystem::exists(alone.file) == !forgets);
  }
}

TEST_CASE("control_events_a_few_are_taken_at_once_and_those_of_no_ring_left_masked") {
  ControlHost host;
  const uint32_t before = xen().event_reads;
  for (int i = 0; i < 100; ++i) xen().kick(7);
  host.loop->run_once(Loop::Clock::duration::zero());
  CHECK(xen().event_reads - before == 64);
  host.loop->run_once(Loop::Clock::duration::zero());
  CHECK(xen().event_reads - before == 101);
  CHECK(xen().unmasked == 0);
}

TEST_CASE("control_events_none_are_taken_after_the_stop") {
  ControlHost host;
  host.control_events->stop();
  host.control_events->stop();  // harmless
  xen().kick(7);
  host.settle();
  CHECK(xen().event_reads == 0);
  REQUIRE(host.control_events->start());
  host.settle();
  CHECK(xen().event_reads == 2);
}
