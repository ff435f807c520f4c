// Vifs that come, go, die and storm, in xenstore.
#include "control/vif_watcher.hpp"

#include "tests/unit/support/control_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

void remove_vif(ControlHost& host, const VifId& id) {
  host.nodes.remove(ControlHost::frontend(id));
  host.nodes.remove(ControlHost::backend(id));
  host.settle();
}

}  // namespace

TEST_CASE("watcher_vifs_that_are_there_before_us_are_found") {
  ControlHost host;
  const VifId id = host.add_connected_vif(5);
  host.watcher->drain([] {});
  host.settle();
  host.watcher = std::make_unique<VifWatcher>(*host.world);
  REQUIRE(host.watcher->start());
  host.settle();
  CHECK(host.vif(id).state() == "connected");
  CHECK(host.states(id) == std::vector{2, 4});  // attached again, nothing rewritten
}

TEST_CASE("watcher_a_domain_that_dies_and_leaves_its_nodes_gives_all_back") {
  ControlHost host;
  const VifId dead = host.add_connected_vif(5), alive = host.add_connected_vif(6);
  host.nodes.release(5);
  host.settle();
  CHECK(host.vif(dead).connection() == nullptr);
  CHECK(host.states(dead) == std::vector{2, 4, 5, 6});
  CHECK(host.vif(alive).state() == "connected");
  CHECK(FakeXen::instance().bound.size() == 2);
}

TEST_CASE("watcher_a_domain_that_xenstored_does_not_know_yet_is_not_dead") {
  ControlHost host;
  const VifId id = host.add_vif(5);
  host.nodes.introduced.erase(5);  // the toolstack makes the vif first
  host.settle();
  host.nodes.release(9);
  host.settle();
  CHECK(host.state(id) == 2);
  host.nodes.introduce(5);
  host.connect(id);
  host.settle();
  CHECK(host.vif(id).state() == "connected");
}

TEST_CASE("watcher_the_place_of_a_vif_that_is_gone_is_the_next_one_s") {
  ControlHost host;
  const VifId first = host.add_vif(5);
  host.settle();
  const uint16_t place = host.vif(first).index();
  remove_vif(host, first);
  CHECK(host.watcher->vifs().empty());
  const VifId next = host.add_vif(6);
  host.settle();
  CHECK(host.vif(next).index() == place);
}

TEST_CASE("watcher_a_mac_of_two_vifs_names_the_connected_one") {
  ControlHost host;
  const VifId first = host.add_vif(5), second = host.add_vif(6);
  const std::string mac = "00:16:3e:00:00:99";
  for (const VifId& id : {first, second}) host.nodes.set(ControlHost::backend(id) + "/mac", mac);
  host.settle();
  host.connect(first);
  host.settle();
  CHECK(host.watcher->find(mac) == &host.vif(first));
  CHECK(host.watcher->find("00:16:3E:00:00:99") == &host.vif(first));
  host.set_frontend(first, 5);
  host.settle();
  host.connect(second);
  host.settle();
  CHECK(host.watcher->find(mac) == &host.vif(second));
}

TEST_CASE("watcher_a_vif_is_found_by_number_and_by_name_of_its_domain") {
  ControlHost host;
  const VifId id = host.add_connected_vif(5);
  CHECK(host.watcher->find("5.0") == &host.vif(id));
  CHECK(host.watcher->find("g5.0") == &host.vif(id));
  CHECK(host.watcher->find("g5.1") == nullptr);
  CHECK(host.watcher->find("6.0") == nullptr);
  CHECK(host.watcher->find("") == nullptr);
}

TEST_CASE("watcher_a_storm_of_writes_is_one_look_at_the_vif") {
  ControlHost host;
  const VifId stormy = host.add_connected_vif(5);
  const VifId other = host.add_vif(6);
  for (int i = 0; i < 20'000; ++i) host.set_frontend(stormy, 4);
  const uint64_t before = host.nodes.reads;
  host.settle();
  CHECK(host.nodes.reads - before < 100);
  CHECK(host.state(other) == 2);
  CHECK(host.vif(stormy).state() == "connected");
}
