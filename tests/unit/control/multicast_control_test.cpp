// request-multicast-control in the life of a vif: at connect, while connected, over a restart.
#include "control/multicast_control.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "control/stats.hpp"
#include "tests/unit/support/control_host.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr rte_ether_addr group_1{{0x01, 0, 0x5e, 0, 0, 1}}, group_2{{0x33, 0x33, 0, 0, 0, 2}};

struct MulticastHost : ControlHost {
  VifId id = add_vif(5);
  MulticastHost() { settle(); }
  std::string key() const { return frontend(id) + "/request-multicast-control"; }
  void request(const std::string& value) {
    nodes.write(key(), value);
    settle();
  }
  void connect_with(const std::string& value) {
    nodes.set(key(), value);
    connect(id);
    settle();
    REQUIRE(state(id) == 4);
  }
  MulticastGroups& groups() { return const_cast<Connection*>(vif(id).connection())->multicast(); }
  nlohmann::ordered_json shown() { return vif_details(vif(id))["connection"]; }
  std::string file() const { return state_files.path_of("multicast-" + id.text()); }
  void leave() {
    set_frontend(id, 5);
    settle();
    set_frontend(id, 6);
    settle();
  }
};

std::string words_of(const std::string& file) {
  std::ostringstream all;
  all << std::ifstream(file).rdbuf();
  return all.str();
}

}  // namespace

TEST_CASE("multicast_control_is_what_the_guest_requests_when_it_connects") {
  for (const char* value : {"", "0", "1"}) {
    MulticastHost host;
    if (*value != 0) host.nodes.set(host.key(), value);
    host.connect(host.id);
    host.settle();
    REQUIRE(host.state(host.id) == 4);
    const bool wanted = *value == '1';
    CHECK(host.groups().applied() == wanted);
    CHECK(host.shown()["multicast_control"] == (wanted ? "on" : "off"));
    CHECK(host.shown()["multicast_groups"].empty());
    CHECK(host.vif(host.id).connection()->queue().multicast == &host.groups());
  }
}

TEST_CASE("multicast_control_a_request_that_is_neither_refuses_the_vif_by_name") {
  for (const char* value : {"2", "", "-1", "yes", "01"}) {
    MulticastHost host;
    host.nodes.set(host.key(), value);
    host.connect(host.id);
    host.settle();
    CHECK(host.vif(host.id).state() == "refused");
    CHECK(host.nodes.read(ControlHost::backend(host.id) + "/error") ==
          "request-multicast-control is neither 0 nor 1: \"" + std::string(value) + "\"");
    CHECK(host.vif(host.id).multicast() == nullptr);
  }
}

TEST_CASE("multicast_control_goes_on_and_off_while_connected_the_list_stays") {
  MulticastHost host;
  host.connect_with("0");
  CHECK(host.groups().join(group_1));
  host.request("1");
  CHECK(host.groups().applied());
  CHECK(host.shown()["multicast_control"] == "on");
  CHECK(host.shown()["multicast_groups"] == nlohmann::json{"01:00:5E:00:00:01"});
  host.request("0");
  CHECK_FALSE(host.groups().applied());
  CHECK(host.groups().joined().size() == 1);
  host.request("1");
  CHECK(host.groups().applied());
  host.nodes.remove(host.key());
  host.settle();
  CHECK_FALSE(host.groups().applied());
}

TEST_CASE("multicast_control_nonsense_while_connected_is_off_and_said_once") {
  MulticastHost host;
  host.connect_with("1");
  for (const char* value : {"2", "", "one", "1 "}) {
    host.request(value);
    CHECK_FALSE(host.groups().applied());
    CHECK(host.vif(host.id).state() == "connected");
    host.request("1");
    CHECK(host.groups().applied());
  }
}

TEST_CASE("multicast_control_a_storm_of_requests_is_one_look_at_the_vif") {  // H29
  MulticastHost host;
  host.connect_with("0");
  for (int i = 0; i < 20'000; ++i) host.nodes.write(host.key(), i % 2 == 0 ? "0" : "1");
  const uint64_t before = host.nodes.reads;
  host.settle();
  CHECK(host.nodes.reads - before < 100);
  CHECK(host.groups().applied());
}

TEST_CASE("multicast_control_a_vif_that_sees_everything_gets_all_groups_too") {
  MulticastHost host;
  const VifId other = host.add_vif(6);
  host.nodes.set(ControlHost::backend(other) + "/SUNW-need-rx-filter", "0");
  host.settle();
  host.nodes.set(ControlHost::frontend(other) + "/request-multicast-control", "1");
  host.connect(other);
  host.settle();
  REQUIRE(host.state(other) == 4);
  CHECK_FALSE(host.vif(other).connection()->multicast().applied());
  CHECK(vif_details(host.vif(other))["connection"]["multicast_control"] == "unfiltered");
}

TEST_CASE("multicast_control_the_list_goes_with_the_connection_and_its_watch_too") {
  MulticastHost host;
  host.connect_with("1");
  host.groups().join(group_1);
  host.leave();
  CHECK(host.vif(host.id).multicast() == nullptr);
  const uint64_t before = host.nodes.reads;
  host.request("0");
  CHECK(host.nodes.reads == before);
  host.set_frontend(host.id, 1);
  host.settle();
  host.connect_with("1");
  CHECK(host.groups().joined().empty());
  CHECK(host.groups().applied());
  CHECK_FALSE(std::filesystem::exists(host.file()));
}

TEST_CASE("multicast_control_the_list_outlives_a_planned_restart") {
  for (const bool joined : {false, true}) {
    MulticastHost host;
    host.connect_with("1");
    if (joined) {
      host.groups().join(group_1);
      host.groups().join(group_2);
    }
    bool drained = false;
    host.watcher->drain([&] { drained = true; });
    host.settle();
    REQUIRE(drained);
    CHECK(words_of(host.file()) == (joined ? "01:00:5E:00:00:01\n33:33:00:00:00:02\n" : ""));
    host.watcher = std::make_unique<VifWatcher>(*host.world);
    REQUIRE(host.watcher->start());
    host.settle();
    REQUIRE(host.vif(host.id).connection() != nullptr);
    CHECK(host.groups().joined().size() == (joined ? 2 : 0));
    CHECK(host.groups().applied());
    CHECK(host.shown()["multicast_control"] == "on");
    CHECK_FALSE(std::filesystem::exists(host.file()));  // or a crash would bring it back
  }
}

TEST_CASE(
    "multicast_control_a_list_that_was_lost_leaves_the_guest_all_groups_until_it_comes_anew") {
  const std::string too_many = [] {
    std::string lines;
    for (int i = 0; i < 65; ++i) lines += fmt::format("01:00:5e:00:00:{:02x}\n", i);
    return lines;
  }();
  // No file: the process before was killed.
  for (const std::string& text : {std::string("none"), std::string("01:00:5E:00:00:01\nnonsense\n"),
                                  std::string("00:16:3e:00:00:01\n"), too_many}) {
    MulticastHost host;
    host.connect_with("1");
    bool drained = false;
    host.watcher->drain([&] { drained = true; });
    host.settle();
    std::filesystem::remove(host.file());
    if (text != "none") std::ofstream(host.file()) << text;
    host.watcher = std::make_unique<VifWatcher>(*host.world);
    REQUIRE(host.watcher->start());
    host.settle();
    REQUIRE(host.vif(host.id).connection() != nullptr);
    CHECK_FALSE(host.groups().applied());
    CHECK(host.shown()["multicast_control"] == "list lost");
    CHECK_FALSE(std::filesystem::exists(host.file()));
    host.request("0");
    host.request("1");
    CHECK_FALSE(host.groups().applied());  // what it joined it does not say again
    host.restart();
    CHECK_FALSE(host.groups().applied());  // nor does another restart find it
    host.leave();
    host.set_frontend(host.id, 1);
    host.settle();
    host.connect_with("1");
    CHECK(host.groups().applied());
    CHECK(host.shown()["multicast_control"] == "on");
  }
}

TEST_CASE("multicast_control_without_a_directory_of_state_the_list_is_lost_at_a_restart") {
  MulticastHost host;
  host.world->state_directory = "";
  host.connect_with("1");
  CHECK(host.groups().applied());
  const bool was_there = std::filesystem::exists("/multicast-" + host.id.text());
  host.restart();
  CHECK_FALSE(host.groups().applied());
  CHECK(std::filesystem::exists("/multicast-" + host.id.text()) == was_there);
}

TEST_CASE("multicast_control_a_file_that_cannot_be_written_is_no_list") {
  MulticastHost host;
  host.connect_with("1");
  host.groups().join(group_1);
  std::filesystem::create_directory(host.file() + ".x");
  std::filesystem::rename(host.file() + ".x", host.file());  // a directory in its place
  host.restart();
  REQUIRE(host.vif(host.id).connection() != nullptr);
  CHECK_FALSE(host.groups().applied());
}
