// Flow rules: the difference, what a driver refuses, devices that go and come; and whose frames
// they lead where in the life of vifs.
#include "control/flow_steering.hpp"

#include <rte_errno.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "control/filter_control.hpp"
#include "control/stats.hpp"
#include "tests/unit/support/fake_nic.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Rules = std::map<std::string, uint16_t>;
constexpr uint16_t any_port = 31;  // the fake is below all of them

struct Steered : FakeNic {
  FlowSteering steering{"p"};
  FlowRules before;
  Steered() { steering.begin(any_port); }
  // These are wanted, and no others: what that made the driver do.
  Texts steer(const FlowRules& wanted) {
    calls.clear();
    for (const auto& [address, rule] : std::exchange(before, wanted))
      if (!wanted.contains(address)) steering.steer(address, {});
    for (const auto& [address, rule] : wanted) steering.steer(address, rule);
    return calls;
  }
};

// Two workers' port, of which the fake is the NIC.
struct SteeredPort : FakeNic {
  std::unique_ptr<Loop> loop = std::move(Loop::make()).value();
  std::unique_ptr<FramePool> pool = make_pool();
  std::unique_ptr<Port> port;
  FilterControl filters{*loop};
  MulticastGroups groups;

  explicit SteeredPort(uint16_t workers = 2) {
    const PortConfig config{.name = "p", .device = "net_ring8"};
    auto device = check_device(config, {}, workers);
    REQUIRE(device);
    auto opened = Port::open(config, device.value(), *pool);
    REQUIRE(opened);
    port = std::move(opened).value();
    port->lend_to(1, workers);  // so that queue and worker differ
  }
  void add(const std::string& name, const rte_ether_addr& mac, uint16_t worker) {
    filters.add(
        {.name = name, .port = port.get(), .mac = mac, .worker = worker, .groups = &groups});
  }
};

}  // namespace

TEST_CASE("flow_steering_programs_the_difference") {
  Steered s;
  CHECK(s.steer({{mac_a, {"1.0", 0}}, {mac_b, {"2.0", 1}}}) ==
        Texts{"flow_create 00:16:3e:00:00:01 to 0", "flow_create 00:16:3e:00:00:02 to 1"});
  CHECK(s.steer({{mac_a, {"1.0", 0}}, {mac_b, {"2.0", 1}}}).empty());
  CHECK(s.steer({{mac_a, {"3.0", 0}}, {mac_b, {"2.0", 1}}}).empty());
  CHECK(s.steering.programmed().at(mac_a).vif == "3.0");
  CHECK(s.steer({{mac_a, {"1.0", 1}}, {mac_b, {"2.0", 1}}}) ==
        Texts{"flow_destroy 00:16:3e:00:00:01", "flow_create 00:16:3e:00:00:01 to 1"});
  CHECK(s.steer({{mac_b, {"2.0", 1}}}) == Texts{"flow_destroy 00:16:3e:00:00:01"});
  CHECK(s.flows == Rules{{"00:16:3e:00:00:02", 1}});
  CHECK(s.steering.text() == "on");
  CHECK(s.steering.counts().calls == 5);
  CHECK(s.steering.counts().refused == 0);
  CHECK(s.steer({}) == Texts{"flow_destroy 00:16:3e:00:00:02"});
  CHECK(s.flows.empty());
}

TEST_CASE("flow_steering_a_driver_without_rules_is_asked_once") {
  for (const int error : {ENOSYS, ENOTSUP}) {
    Steered s;
    s.refuses["flow_validate"] = -error;
    CHECK(s.steer({{mac_a, {"1.0", 0}}, {mac_b, {"2.0", 1}}}) == Texts{"flow_validate"});
    CHECK(s.steer({{mac_c, {"1.0", 0}}}).empty());
    CHECK(s.steering.text() == std::string("absent: the driver says: ") + rte_strerror(error));
    CHECK(s.steering.programmed().empty());
    CHECK(s.steering.counts().refused == 1);
    // Another device is.
    s.refuses.clear();
    s.steering.end();
    s.steering.begin(any_port);
    CHECK(s.flows == Rules{{"00:16:3e:00:00:03", 0}});
  }
}

TEST_CASE("flow_steering_what_is_refused_stays_without_a_rule_while_its_vif_is_there") {
  Steered s;
  s.flows_max = 1;
  s.steer({{mac_a, {"1.0", 0}}, {mac_b, {"2.0", 1}}});
  CHECK(s.flows == Rules{{"00:16:3e:00:00:01", 0}});
  CHECK(s.steering.text() == "on, but for 1 address: No space left on device");
  // There is room, but its frames are on their way by any pair.
  CHECK(s.steer({{mac_b, {"2.0", 1}}}) == Texts{"flow_destroy 00:16:3e:00:00:01"});
  CHECK(s.steer({{mac_b, {"2.0", 1}}, {mac_c, {"3.0", 0}}}) ==
        Texts{"flow_create 00:16:3e:00:00:03 to 0"});
  s.steer({});
  CHECK(s.steering.text() == "on");
  CHECK(s.steer({{mac_b, {"2.0", 1}}}) == Texts{"flow_create 00:16:3e:00:00:02 to 1"});
  CHECK(s.steering.counts().refused == 1);
}

TEST_CASE(
    "flow_steering_a_driver_that_finds_a_rule_good_and_does_not_make_it_is_known_by_its_error") {
  Steered s;
  s.refuses["flow_create"] = -EINVAL;
  s.steer({{mac_a, {"1.0", 0}}});
  CHECK(s.steering.programmed().empty());
  CHECK(s.steering.text() == "on, but for 1 address: Invalid argument");
  s.steer({{mac_a, {"1.0", 0}}, {mac_b, {"2.0", 1}}});
  CHECK(s.steering.text() == "on, but for 2 addresses: Invalid argument");
  CHECK(s.count("flow_create") == 1);  // the first is not tried again
  CHECK(s.steering.counts().refused == 2);
}

TEST_CASE("flow_steering_a_rule_that_cannot_be_taken_away_stays_known") {
  Steered s;
  s.steer({{mac_a, {"1.0", 0}}});
  s.refuses["flow_destroy"] = -EIO;
  CHECK(s.steer({{mac_a, {"1.0", 1}}}) == Texts{"flow_destroy"});
  CHECK(s.steering.programmed().at(mac_a).queue == 0);
  CHECK(s.steering.counts().refused == 1);
  s.refuses.clear();
  s.steer({{mac_a, {"1.0", 1}}});
  CHECK(s.flows == Rules{{"00:16:3e:00:00:01", 1}});
}

TEST_CASE("flow_steering_a_device_that_comes_back_gets_what_is_wanted_then") {
  Steered s;
  s.steer({{mac_a, {"1.0", 0}}});
  s.steering.end();
  CHECK(s.steering.programmed().empty());
  CHECK(s.steering.text() == "off: one queue pair, or no device");
  s.flows.clear();
  CHECK(s.steer({{mac_b, {"2.0", 1}}}).empty());
  s.steering.begin(any_port);
  CHECK(s.flows == Rules{{"00:16:3e:00:00:02", 1}});
}

TEST_CASE("flow_steering_leads_a_vif_s_frames_to_its_worker_s_pair_from_its_first_moment_on") {
  SteeredPort s;
  s.add("1.0", mac_a, 0);  // before the loop's next round, and so before any table has it
  s.add("2.0", mac_b, 1);
  CHECK(s.flows == Rules{{"00:16:3e:00:00:01", 1}, {"00:16:3e:00:00:02", 0}});
  const auto shown = port_details(*s.port);
  CHECK(shown["steering"] == "on");
  CHECK(shown["flow_rule_calls"] == 2);
  CHECK(shown["flow_rules_refused"] == 0);
  REQUIRE(shown["flow_rules"].size() == 2);
  CHECK(shown["flow_rules"][0].dump() ==
        R"({"address":"00:16:3e:00:00:01","vif":"1.0","queue":1})");
  // Of two with one address the newest has it; then the other.
  s.add("3.0", mac_a, 1);
  CHECK(s.flows.at("00:16:3e:00:00:01") == 0);
  s.filters.remove("3.0");
  s.filters.left("3.0");
  CHECK(s.flows.at("00:16:3e:00:00:01") == 1);
  s.filters.remove("1.0");
  s.filters.left("1.0");
  CHECK(s.flows == Rules{{"00:16:3e:00:00:02", 0}});
}

TEST_CASE("flow_steering_a_rule_stays_for_as_long_as_a_worker_knows_the_vif") {
  SteeredPort s;
  s.add("1.0", mac_a, 0);
  s.add("2.0", mac_a, 1);
  s.filters.remove("2.0");
  s.add("3.0", mac_b, 0);  // no other's coming changes that
  CHECK(s.flows == Rules{{"00:16:3e:00:00:01", 0}, {"00:16:3e:00:00:02", 1}});
  s.filters.left("2.0");
  CHECK(s.flows == Rules{{"00:16:3e:00:00:01", 1}, {"00:16:3e:00:00:02", 1}});
  s.filters.left("1.0");  // is not about to
  CHECK(s.flows.size() == 2);
}

TEST_CASE("flow_steering_goes_with_the_port_s_device_and_comes_back_with_it") {
  SteeredPort s;
  s.add("1.0", mac_a, 0);
  s.port->suspend();
  CHECK(port_details(*s.port)["flow_rules"].empty());
  s.flows.clear();
  s.port->let_go();
  REQUIRE(s.port->come_back(*s.pool));
  CHECK(s.flows == Rules{{"00:16:3e:00:00:01", 1}});
  s.calls.clear();
  s.port->close();
  CHECK(s.flows.empty());
  CHECK(s.count("flow_destroy") == 1);
}

TEST_CASE("flow_steering_as_many_vifs_as_there_may_be_have_a_rule_each") {
  SteeredPort s;
  const auto name = [](uint32_t vif) { return std::to_string(vif); };
  const auto mac = [](uint32_t vif) {
    return rte_ether_addr{{0, 0x16, 0x3e, 1, uint8_t(vif >> 8), uint8_t(vif)}};
  };
  for (uint32_t vif = 0; vif < limits::vifs_max; ++vif)
    s.add(name(vif), mac(vif), static_cast<uint16_t>(vif % 2));
  CHECK(s.flows.size() == limits::vifs_max);
  CHECK(s.flows.at("00:16:3e:01:0f:ff") == 0);
  CHECK(s.count("flow_create") == limits::vifs_max);
  for (uint32_t vif = 0; vif < limits::vifs_max; ++vif) {
    s.filters.remove(name(vif));
    s.filters.left(name(vif));
  }
  CHECK(s.flows.empty());
  CHECK(s.count("flow_destroy") == limits::vifs_max);
}

TEST_CASE("flow_steering_a_rule_that_cannot_be_taken_away_does_not_keep_the_others") {
  Steered s;
  s.steer({{mac_a, {"1.0", 0}}, {mac_b, {"2.0", 1}}});
  s.refuses["flow_destroy"] = -EIO;
  s.calls.clear();
  s.steering.clear();
  CHECK(s.calls == Texts{"flow_destroy", "flow_destroy"});
  CHECK(s.steering.programmed().size() == 2);
  s.refuses.clear();
  s.steering.clear();
  CHECK(s.flows.empty());
  CHECK(s.steering.programmed().empty());
}

TEST_CASE("flow_steering_of_what_was_cleared_nothing_is_wanted_or_refused") {
  Steered s;
  s.flows_max = 1;
  s.steer({{mac_a, {"1.0", 0}}, {mac_b, {"2.0", 1}}});
  s.steering.clear();
  CHECK(s.steering.text() == "on");
  s.steering.end();
  s.steering.begin(any_port);  // another device
  CHECK(s.flows.empty());
}

TEST_CASE("flow_steering_a_port_of_one_pair_has_no_rules") {
  SteeredPort s(1);
  s.add("1.0", mac_a, 0);
  CHECK(s.count("flow") == 0);
  CHECK(port_details(*s.port)["steering"] == "off: one queue pair, or no device");
}
