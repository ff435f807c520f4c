// A vif's session over a store: what it writes, when, and what it must never write.
#include "control/vif_session.hpp"

#include <rte_ethdev.h>

#include "tests/unit/support/control_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using States = std::vector<int>;

// The guest answers a Closing of ours and begins anew, as far as Initialising.
void reset_frontend(ControlHost& host, const VifId& id) {
  for (const int state : {5, 6, 1}) {
    host.set_frontend(id, state);
    host.settle();
  }
}

uint32_t mapped() {
  uint32_t count = 0;
  for (const auto& [key, grant] : FakeXen::instance().grants) count += grant.mapped;
  return count;
}

bool has_directory(const ControlHost& host, const VifId& id) {
  return std::ranges::any_of(host.nodes.nodes, [&](const auto& node) {
    return node.first.starts_with(ControlHost::backend(id));
  });
}

}  // namespace

TEST_CASE("session_a_vif_s_way_to_connected_and_out_again") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  CHECK(host.vif(id).state() == "connected");
  CHECK(mapped() == 2);
  host.set_frontend(id, 5);
  host.settle();
  CHECK(mapped() == 0);
  CHECK(FakeXen::instance().bound.empty());
  host.set_frontend(id, 6);
  host.settle();
  CHECK(host.states(id) == States{2, 4, 5, 6});
}

TEST_CASE("session_all_features_appear_at_the_moment_of_the_first_InitWait") {
  ControlHost host;
  const VifId id = host.add_vif(5);
  host.settle();
  REQUIRE(host.nodes.commits.size() == 1);
  FakeStore::Nodes expected{{ControlHost::backend(id) + "/state", "2"}};
  for (const auto& [key, value] : {std::pair{"feature-rx-copy", "1"},
                                   {"feature-rx-flip", "0"},
                                   {"feature-sg", "1"},
                                   {"feature-ipv6-csum-offload", "1"},
                                   {"feature-gso-tcpv4", "1"},
                                   {"feature-gso-tcpv6", "1"},
                                   {"feature-split-event-channels", "1"},
                                   {"feature-ctrl-ring", "1"},
                                   {"feature-multicast-control", "1"},
                                   {"feature-dynamic-multicast-control", "1"},
                                   {"feature-xdp-headroom", "1"},
                                   {"multi-queue-max-queues", "8"}})
    expected[ControlHost::backend(id) + "/" + key] = value;
  CHECK(host.nodes.commits[0] == expected);
}

TEST_CASE("session_a_directory_that_goes_while_a_state_is_written_is_not_brought_back") {
  ControlHost host;
  const VifId id = host.add_vif(5);
  host.nodes.before_end = [&] { host.nodes.remove(ControlHost::backend(id)); };
  host.settle();
  CHECK_FALSE(has_directory(host, id));
  CHECK(host.nodes.commits.empty());
}

TEST_CASE("session_a_state_that_another_wrote_meanwhile_is_not_overwritten") {
  ControlHost host;
  const VifId id = host.add_vif(5);
  host.nodes.before_end = [&] {  // libxl gives up
    host.nodes.write(ControlHost::backend(id) + "/online", "0");
    host.nodes.write(ControlHost::backend(id) + "/state", "5");
  };
  host.settle();
  CHECK(host.states(id) == States{6});
}

TEST_CASE("session_a_directory_that_goes_while_the_worker_lets_go_is_not_brought_back") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  host.worker_runs = false;
  host.set_frontend(id, 5);
  host.settle();
  CHECK(mapped() == 2);
  host.nodes.remove(ControlHost::backend(id));
  host.worker_runs = true;
  host.settle();
  CHECK(mapped() == 0);
  CHECK_FALSE(has_directory(host, id));
  CHECK(host.states(id) == States{2, 4});
  CHECK(host.watcher->vifs().empty());
}

TEST_CASE("session_an_error_is_not_written_where_the_directory_is_gone") {
  ControlHost host;
  const VifId id = host.add_vif(5);
  host.nodes.set(ControlHost::backend(id) + "/mac", "nonsense");
  host.nodes.before_end = [&] { host.nodes.remove(ControlHost::backend(id)); };
  host.settle();
  CHECK_FALSE(has_directory(host, id));
}

TEST_CASE("session_a_refused_vif_says_why_in_its_error_node") {
  ControlHost host;
  const VifId id = host.add_vif(5);
  host.nodes.set(ControlHost::backend(id) + "/mac", "nonsense");
  host.settle();
  CHECK(host.vif(id).state() == "refused");
  const auto error = host.nodes.read(ControlHost::backend(id) + "/error");
  REQUIRE(error);
  CHECK(error->find("nonsense") != std::string::npos);
  CHECK(host.vif(id).error() == *error);
}

TEST_CASE("session_a_refused_vif_is_looked_at_again_when_it_is_rearmed") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  host.files.write("vif.d/g5.toml", "domain = \"g5\"\ndevid = 0\nnic = \"none\"\n");
  reset_frontend(host, id);
  CHECK(host.vif(id).state() == "refused");
  CHECK(host.states(id) == States{2, 4, 5, 6});
  host.files.write("vif.d/g5.toml", "domain = \"g5\"\ndevid = 0\nnic = \"p\"\n");
  host.settle();
  CHECK(host.vif(id).state() == "refused");
  host.vif(id).rearm();
  host.settle();
  CHECK(host.states(id) == States{2, 4, 5, 6, 2});
}

TEST_CASE("session_a_vif_refused_before_its_first_offer_makes_it_when_it_is_rearmed") {
  ControlHost host;
  host.files.write("vif.d/g5.toml", "domain = \"g5\"\ndevid = 0\nnic = \"none\"\n");
  const VifId id = host.add_vif(5);
  const std::string feature = ControlHost::backend(id) + "/feature-rx-copy";
  host.settle();
  REQUIRE(host.states(id) == States{2});
  CHECK_FALSE(host.nodes.read(feature));
  host.files.write("vif.d/g5.toml", "domain = \"g5\"\ndevid = 0\nnic = \"p\"\n");
  host.vif(id).rearm();
  host.settle();
  CHECK(host.nodes.read(feature) == "1");
  CHECK_FALSE(host.nodes.read(ControlHost::backend(id) + "/error"));
  CHECK(host.vif(id).error().empty());
  host.connect(id);
  host.settle();
  CHECK(host.state(id) == 4);
}

TEST_CASE("quarantine_closes_the_vif_says_why_and_lets_it_come_again_after_the_wait") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  const std::string error_node = ControlHost::backend(id) + "/error";
  host.quarantine(id);
  CHECK(host.vif(id).state() == "quarantined");
  CHECK(host.nodes.read(error_node) ==
        "the guest broke the protocol at slot 7: extra info of an invalid type");
  CHECK(mapped() == 0);
  reset_frontend(host, id);
  CHECK(host.states(id) == States{2, 4, 5, 6});
  CHECK(host.vif(id).state() == "quarantined");
  CHECK(host.vif(id).rearm_wait() > std::chrono::milliseconds(500));
  CHECK(host.vif(id).rearm_wait() <= std::chrono::seconds(1));

  while (host.state(id) == 6 && host.vif(id).rearm_wait() > Loop::Clock::duration::zero())
    host.loop->run_once(std::chrono::seconds(2));  // by the timer, at the end of the wait
  host.settle();
  CHECK(host.states(id) == States{2, 4, 5, 6, 2});
  CHECK(host.nodes.read(error_node) == std::nullopt);
  CHECK(host.vif(id).error().empty());
  host.connect(id);
  host.settle();
  CHECK(host.vif(id).state() == "connected");
  CHECK(host.states(id) == States{2, 4, 5, 6, 2, 4});
}

TEST_CASE("quarantine_each_of_several_doubles_the_wait_up_to_10_s_and_rearm_ends_it") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  for (const int seconds : {1, 2, 4, 8, 10, 10, 10, 10, 10, 10}) {
    host.quarantine(id);
    CHECK(host.vif(id).rearm_wait() <= std::chrono::seconds(seconds));
    CHECK(host.vif(id).rearm_wait() >
          std::chrono::seconds(seconds) - std::chrono::milliseconds(900));
    reset_frontend(host, id);
    CHECK(host.state(id) == 6);
    host.vif(id).rearm();
    host.settle();
    CHECK(host.vif(id).rearm_wait() == Loop::Clock::duration::zero());
    REQUIRE(host.state(id) == 2);
    host.connect(id);
    host.settle();
    REQUIRE(host.state(id) == 4);
  }
}

TEST_CASE("quarantine_is_of_the_vif_that_lied_and_of_no_other") {
  ControlHost host;
  const VifId honest = host.add_connected_vif(5), liar = host.add_connected_vif(6);
  host.quarantine(liar);
  CHECK(host.vif(honest).state() == "connected");
  CHECK(host.vif(liar).state() == "quarantined");
  CHECK(mapped() == 2);
}

TEST_CASE("quarantine_that_is_reported_twice_counts_once") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  host.worker_runs = false;  // the queue is there yet
  host.quarantine(id);
  host.quarantine(id, Violation::crosses_page);
  CHECK(host.vif(id).rearm_wait() <= std::chrono::seconds(1));
  CHECK(host.vif(id).error().find("invalid type") != std::string::npos);
}

TEST_CASE("session_the_carrier_follows_the_port_s_link") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  const std::string carrier = ControlHost::backend(id) + "/carrier";
  Port& port = *host.ports[0];
  CHECK(host.nodes.read(carrier) == std::nullopt);  // absent says up
  REQUIRE(rte_eth_dev_set_link_down(port.queue().port) == 0);
  REQUIRE(port.update_link());
  host.watcher->port_link_changed(port);
  CHECK(host.nodes.read(carrier) == "0");
  REQUIRE(rte_eth_dev_set_link_up(port.queue().port) == 0);
  REQUIRE(port.update_link());
  host.watcher->port_link_changed(port);
  CHECK(host.nodes.read(carrier) == "1");
}

TEST_CASE("session_a_vif_that_connects_to_a_port_without_link_is_told_before") {
  ControlHost host;
  Port& port = *host.ports[0];
  REQUIRE(rte_eth_dev_set_link_down(port.queue().port) == 0);
  REQUIRE(port.update_link());
  const VifId id = host.add_connected_vif();
  REQUIRE(host.nodes.commits.size() == 3);
  CHECK(host.nodes.commits[1] == FakeStore::Nodes{{ControlHost::backend(id) + "/carrier", "0"}});
  CHECK(host.nodes.commits[2] == FakeStore::Nodes{{ControlHost::backend(id) + "/state", "4"}});
}

TEST_CASE("session_no_carrier_is_written_where_the_directory_is_gone") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  Port& port = *host.ports[0];
  REQUIRE(rte_eth_dev_set_link_down(port.queue().port) == 0);
  REQUIRE(port.update_link());
  host.nodes.remove(ControlHost::backend(id));
  host.watcher->port_link_changed(port);
  CHECK_FALSE(has_directory(host, id));
}

TEST_CASE("session_a_guest_s_headroom_is_the_queue_s_from_the_beginning") {
  ControlHost host;
  const VifId id = host.add_vif(5);
  host.nodes.set(ControlHost::frontend(id) + "/xdp-headroom", "256");
  host.settle();
  host.connect(id, 2);
  host.settle();
  for (const GuestQueue* queue : host.vif(id).connection()->queues())
    CHECK(queue->xdp_headroom == 256);
}

TEST_CASE("session_a_reconfiguring_guest_has_its_headroom_before_it_is_answered") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  const GuestQueue& queue = host.vif(id).connection()->queue();
  for (const std::string headroom : {"256", "0", "128"}) {
    host.nodes.set(ControlHost::frontend(id) + "/xdp-headroom", headroom);
    host.set_frontend(id, 4);  // only Reconfiguring is a reason to look
    host.settle();
    CHECK(std::to_string(queue.xdp_headroom) != headroom);
    host.nodes.before_end = [&] { CHECK(std::to_string(queue.xdp_headroom) == headroom); };
    host.set_frontend(id, 7);
    host.settle();
    CHECK(host.state(id) == 8);
    CHECK_FALSE(host.nodes.before_end);
    host.set_frontend(id, 4);
    host.settle();
    CHECK(host.state(id) == 4);
  }
  host.nodes.erase(ControlHost::frontend(id) + "/xdp-headroom");
  host.set_frontend(id, 7);
  host.settle();
  CHECK(queue.xdp_headroom == 0);
  CHECK(host.states(id) == States{2, 4, 8, 4, 8, 4, 8, 4, 8});
}

TEST_CASE("session_a_reconfiguring_guest_is_answered_once_the_worker_has_its_headroom") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  const GuestQueue& queue = host.vif(id).connection()->queue();
  host.worker_runs = false;
  host.nodes.set(ControlHost::frontend(id) + "/xdp-headroom", "256");
  host.set_frontend(id, 7);
  host.settle();
  CHECK(queue.xdp_headroom == 256);
  CHECK(host.state(id) == 4);
  // It thinks better of it, and then again.
  host.set_frontend(id, 4);
  host.worker_runs = true;
  host.settle();
  CHECK(host.states(id) == States{2, 4});
  host.nodes.set(ControlHost::frontend(id) + "/xdp-headroom", "128");
  host.set_frontend(id, 7);
  host.settle();
  CHECK(queue.xdp_headroom == 128);
  CHECK(host.states(id) == States{2, 4, 8});
}

TEST_CASE("session_a_drain_in_the_middle_of_a_reconfiguration_gives_all_back") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  host.worker_runs = false;
  host.set_frontend(id, 7);
  host.settle();
  bool done = false;
  host.watcher->drain([&] { done = true; });
  host.settle();
  CHECK_FALSE(done);
  host.worker_runs = true;
  host.settle();
  CHECK(done);
  CHECK(mapped() == 0);
  CHECK(host.states(id) == States{2, 4});
}

TEST_CASE("session_a_headroom_that_is_not_served_is_answered_and_changes_nothing") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  const std::string message = "xdp-headroom is not a number from 0 to 2048: \"4000\"";
  host.nodes.set(ControlHost::frontend(id) + "/xdp-headroom", "4000");
  host.set_frontend(id, 7);
  host.settle();
  CHECK(host.state(id) == 8);
  CHECK(host.vif(id).connection()->queue().xdp_headroom == 0);
  CHECK(host.vif(id).error() == message);
  CHECK(host.nodes.read(ControlHost::backend(id) + "/error") == message);
}

TEST_CASE("session_the_queue_is_detached_when_the_worker_has_no_table_that_leads_to_it") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  host.worker_runs = false;
  host.set_frontend(id, 5);
  host.settle();
  REQUIRE(host.next_command() != nullptr);
  const auto* use = std::get_if<UseTable>(&host.next_command()->what);
  REQUIRE(use != nullptr);
  CHECK(use->table->queue_of_vif(host.vif(id).index()) == nullptr);
  CHECK_FALSE(host.mailbox.has_commands());
  host.ack();
  host.settle();
  REQUIRE(host.next_command() != nullptr);
  CHECK(std::holds_alternative<DetachQueue>(host.next_command()->what));
  CHECK(mapped() == 2);
  host.ack();
  host.settle();
  CHECK(mapped() == 0);
}

TEST_CASE("session_a_drain_gives_all_back_and_writes_nothing") {
  ControlHost host;
  const VifId id = host.add_connected_vif();
  const auto before = host.nodes.nodes;
  host.worker_runs = false;
  bool done = false;
  host.watcher->drain([&] { done = true; });
  host.settle();
  CHECK_FALSE(done);
  host.set_frontend(id, 5);  // too late: the next daemon finds it
  host.worker_runs = true;
  host.settle();
  CHECK(done);
  CHECK(mapped() == 0);
  host.set_frontend(id, 4);
  CHECK(host.nodes.nodes == before);
}
