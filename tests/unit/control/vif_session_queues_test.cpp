// A vif with several queues, from its offer to its end.
#include <set>

#include "control/stats.hpp"
#include "control/vif_session.hpp"
#include "tests/unit/support/control_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr uint32_t channel = 100;  // ControlHost numbers references and channels from here on

uint32_t pages_mapped() {
  uint32_t count = 0;
  for (const auto& [key, grant] : FakeXen::instance().grants) count += grant.mapped;
  return count;
}

struct QueuesHost : ControlHost {
  const VifId id = add_vif(5);

  explicit QueuesHost(uint32_t queues = 2) {
    settle();
    connect(id, queues);
    settle();
  }
  std::optional<std::string> offered() {
    return nodes.read(backend(id) + "/multi-queue-max-queues");
  }
  // What the guest does after a Closing of ours, as far as Initialising.
  void reset_frontend() {
    for (const int state : {5, 6, 1}) {
      set_frontend(id, state);
      settle();
    }
  }
  // Acks all that there is until the next command of this kind.
  template <class What>
  const What* next() {
    while (const Command* command = next_command()) {
      if (const auto* what = std::get_if<What>(&command->what)) return what;
      ack();
      loop->run_once(Loop::Clock::duration::zero());
    }
    return nullptr;
  }
};

}  // namespace

TEST_CASE("queues_as_many_are_offered_as_the_settings_have_8_otherwise") {
  for (const uint32_t wanted : {0u, 1u, 3u}) {
    ControlHost host;
    if (wanted != 0) host.config.defaults.queues_max = wanted;
    const VifId id = host.add_vif(5);
    host.settle();
    CHECK(host.nodes.read(ControlHost::backend(id) + "/multi-queue-max-queues") ==
          std::to_string(wanted == 0 ? 8 : wanted));
  }
}

TEST_CASE("queues_all_are_mapped_bound_and_attached_and_given_back_together") {
  for (const uint32_t count : {1u, 2u, 8u}) {
    QueuesHost host(count);
    REQUIRE(host.state(host.id) == 4);
    CHECK(pages_mapped() == 2 * count);
    CHECK(FakeXen::instance().bound.size() == 2 * count);
    const auto queues = host.vif(host.id).connection()->queues();
    REQUIRE(queues.size() == count);
    for (uint32_t i = 0; i < count; ++i) {
      CHECK(queues[i]->number == i);
      CHECK(queues[i]->vif == queues[0]->vif);
      CHECK(queues[i]->siblings.data() == queues.data());
      CHECK(queues[i]->siblings.size() == count);
      const auto& bound = FakeXen::instance().bound;
      CHECK(bound.at(queues[i]->from_guest_port).second == channel + 1 + 2 * i);
      CHECK(bound.at(queues[i]->to_guest_port).second == channel + 2 + 2 * i);
    }
    host.set_frontend(host.id, 5);
    host.settle();
    CHECK(pages_mapped() == 0);
    CHECK(FakeXen::instance().bound.empty());
  }
}

TEST_CASE("queues_pages_are_given_back_only_after_the_last_queue_is_let_go_of") {
  QueuesHost host;
  host.worker_runs = false;
  host.set_frontend(host.id, 5);
  host.settle();
  const auto* first = host.next<DetachQueue>();
  REQUIRE(first != nullptr);
  CHECK(first->queue == &host.vif(host.id).connection()->queue(0));
  host.ack();
  host.settle();
  CHECK(pages_mapped() == 4);
  CHECK(host.state(host.id) == 4);
  const auto* second = host.next<DetachQueue>();
  REQUIRE(second != nullptr);
  CHECK(second->queue == &host.vif(host.id).connection()->queue(1));
  host.ack();
  host.settle();
  CHECK(pages_mapped() == 0);
  CHECK(host.state(host.id) == 5);
}

TEST_CASE("H25_a_queue_whose_ring_cannot_be_mapped_refuses_all_of_them_and_is_named") {
  for (const uint32_t missing : {0u, 1u}) {
    ControlHost host;
    const VifId id = host.add_vif(5);
    host.settle();
    host.worker_runs = false;
    host.connect(id, 2);
    host.nodes.set(ControlHost::frontend(id) + "/queue-" + std::to_string(missing) + "/rx-ring-ref",
                   "999");
    host.worker_runs = true;
    host.settle();
    CHECK(host.vif(id).state() == "refused");
    const auto error = host.nodes.read(ControlHost::backend(id) + "/error").value_or("");
    INFO(error);
    CHECK(error.starts_with("queue-" + std::to_string(missing) + ": "));
    CHECK(error.find("999") != std::string::npos);
    CHECK(pages_mapped() == 0);
    CHECK(FakeXen::instance().bound.empty());
    CHECK(host.state(id) == 5);
  }
}

TEST_CASE("H24_more_queues_than_were_offered_are_refused_and_nothing_is_mapped") {
  QueuesHost host(9);
  CHECK(host.vif(host.id).error() == "multi-queue-num-queues is not a number from 1 to 8: \"9\"");
  CHECK(pages_mapped() == 0);
  CHECK(FakeXen::instance().bound.empty());
  CHECK(host.state(host.id) == 5);
}

TEST_CASE("queues_after_a_restart_with_a_lower_limit_the_guest_keeps_what_it_has") {
  QueuesHost host(4);
  host.config.defaults.queues_max = 2;
  host.restart();
  CHECK(host.state(host.id) == 4);
  REQUIRE(host.vif(host.id).connection() != nullptr);
  CHECK(host.vif(host.id).connection()->queues().size() == 4);
  CHECK(host.vif(host.id).state() == "connected");
  CHECK(host.offered() == "8");
  // Its next life has the new limit.
  host.reset_frontend();
  CHECK(host.offered() == "2");
  host.connect(host.id, 4);
  host.settle();
  CHECK(host.vif(host.id).state() == "refused");
}

TEST_CASE("queues_a_guest_of_a_daemon_that_offered_none_has_one") {
  QueuesHost host(2);
  host.nodes.remove(ControlHost::backend(host.id) + "/multi-queue-max-queues");
  host.restart();
  CHECK(host.vif(host.id).error() == "multi-queue-num-queues is not a number from 1 to 1: \"2\"");
}

TEST_CASE("queues_an_offer_in_xenstore_beyond_what_we_have_counts_as_that") {
  ControlHost host;
  const VifId id = host.add_vif(5);
  host.settle();
  host.nodes.set(ControlHost::backend(id) + "/multi-queue-max-queues", "4000000000");
  host.connect(id, 9);
  host.settle();
  CHECK(host.vif(id).error() == "multi-queue-num-queues is not a number from 1 to 8: \"9\"");
}

TEST_CASE("H32_a_violation_of_any_queue_quarantines_the_vif_once_and_it_comes_back") {
  for (const uint32_t liar : {0u, 1u}) {
    QueuesHost host;
    host.quarantine(host.id, Violation::crosses_page, liar);
    CHECK(host.vif(host.id).state() == "quarantined");
    CHECK(host.vif(host.id).error().find("slot 7") != std::string::npos);
    CHECK(host.state(host.id) == 5);
    CHECK(pages_mapped() == 0);
    host.vif(host.id).rearm();
    host.reset_frontend();
    REQUIRE(host.state(host.id) == 2);
    host.connect(host.id, 2);
    host.settle();
    CHECK(host.vif(host.id).state() == "connected");
    CHECK(pages_mapped() == 4);
  }
}

TEST_CASE("queues_a_vif_is_stalled_when_one_of_them_is") {
  QueuesHost host;
  host.vif(host.id).connection()->queue(1).stalled = true;
  CHECK(host.vif(host.id).state() == "stalled");
}

TEST_CASE("stats_of_a_vif_are_the_sums_of_its_queues_and_theirs") {
  QueuesHost host;
  const auto queues = host.vif(host.id).connection()->queues();
  for (size_t i = 0; i < QueueCounters::size; ++i) {
    queues[0]->counters.add(QueueCounter(i), 100 + i);
    queues[1]->counters.add(QueueCounter(i), 1000 * i);
  }
  queues[1]->stalled = true;
  const auto json = vif_stats(host.vif(host.id));
  REQUIRE(json["queues"].size() == 2);
  for (size_t i = 0; i < QueueCounters::size; ++i) {
    const std::string name(queue_counter_info[i].name);
    CHECK(json[name] == 100 + 1001 * i);
    CHECK(json["queues"][0][name] == 100 + i);
    CHECK(json["queues"][1][name] == 1000 * i);
  }
  CHECK(json["queues"][0]["queue"] == 0);
  CHECK(json["queues"][1]["queue"] == 1);
  CHECK(json["queues"][0]["stalled"] == false);
  CHECK(json["queues"][1]["stalled"] == true);
}

TEST_CASE("stats_of_a_vif_with_one_queue_are_its_own") {
  QueuesHost host(1);
  host.vif(host.id).connection()->queue().counters.add(QueueCounter::to_guest_frames, 7);
  const auto json = vif_stats(host.vif(host.id));
  CHECK(json["to_guest_frames"] == 7);
  CHECK_FALSE(json.contains("queues"));
}

TEST_CASE("show_has_the_channels_and_rings_of_each_queue") {
  QueuesHost host;
  const auto json = vif_details(host.vif(host.id))["connection"]["queues"];
  REQUIRE(json.size() == 2);
  std::set<uint32_t> ports;
  for (uint32_t i = 0; i < 2; ++i) {
    CHECK(json[i]["queue"] == i);
    const GuestQueue& queue = host.vif(host.id).connection()->queue(i);
    CHECK(json[i]["event_port_from_guest"] == queue.from_guest_port);
    CHECK(json[i]["event_port_to_guest"] == queue.to_guest_port);
    CHECK(json[i]["ring_from_guest"]["req_prod"] == 0);
    CHECK(json[i]["ring_to_guest"]["rsp_event"] == 1);
  }
  CHECK(vif_details(host.vif(host.id))["settings"]["queues-max"]["value"] == 8);
}
