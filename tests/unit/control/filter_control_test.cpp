// The filters of a port's NIC in the life of its vifs.
#include "control/filter_control.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "control/stats.hpp"
#include "tests/unit/support/control_host.hpp"
#include "tests/unit/support/fake_nic.hpp"
#include "tests/unit/support/filters.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using namespace std::chrono_literals;
using FilterJson = nlohmann::ordered_json;

// A host whose port's NIC is the fake. `asks`: the vif's guest has multicast control.
struct FilteredHost : FakeNic, ControlHost {
  static VifId id(uint16_t domain) { return {.domain = domain, .devid = 0}; }
  VifId add(uint16_t domain, bool asks = true, const std::string& key = {}) {
    const VifId added = add_vif(domain);
    if (asks) nodes.set(frontend(added) + "/request-multicast-control", "1");
    if (!key.empty()) nodes.set(backend(added) + "/" + key, key.ends_with("filter") ? "0" : "1");
    settle();
    connect(added);
    settle();
    REQUIRE(ControlHost::state(added) == 4);
    return added;
  }
  void leave(const VifId& which) {
    set_frontend(which, 5);
    settle();
    set_frontend(which, 6);
    settle();
  }
  MulticastGroups& groups(const VifId& which) {
    return const_cast<Connection*>(vif(which).connection())->multicast();
  }
  Texts unicast() const { return texts_of(FakeNic::state.unicast); }
  Texts multicast() const { return texts_of(FakeNic::state.multicast); }
  FilterJson shown() const { return port_details(*ports[0]); }
};

Texts mac_text(uint16_t domain) {
  return {fmt::format("00:16:3e:00:00:{:02x}", domain)};
}

}  // namespace

TEST_CASE("seed_S09_the_nic_has_what_the_connected_vifs_need_and_no_more") {
  FilteredHost host;
  CHECK(host.calls.empty());
  const VifId one = host.add(5), two = host.add(6, false);
  CHECK(host.unicast() == Texts{"00:16:3e:00:00:05", "00:16:3e:00:00:06"});
  CHECK(host.FakeNic::state.allmulticast);
  CHECK_FALSE(host.FakeNic::state.promiscuous);
  const VifId three = host.add(7, false, "SUNW-need-rx-filter");
  CHECK(host.FakeNic::state.promiscuous);
  host.leave(three);
  CHECK(host.FakeNic::state.allmulticast);
  CHECK_FALSE(host.FakeNic::state.promiscuous);
  host.leave(two);
  CHECK_FALSE(host.FakeNic::state.allmulticast);
  CHECK(host.unicast() == mac_text(5));
  host.leave(one);
  CHECK(host.unicast().empty());
}

TEST_CASE("filter_control_a_vif_that_is_not_connected_needs_nothing") {
  FilteredHost host;
  host.add_vif(5);
  host.settle();
  CHECK(host.calls.empty());
  host.filters->remove("5.0");
  host.settle();
  CHECK(host.calls.empty());
}

TEST_CASE("seed_S10_the_nics_primary_mac_is_the_vifs_while_it_is_connected") {
  FilteredHost host;
  const VifId one = host.add(5, true, "SUNW-need-set-physaddr");
  CHECK(address_text(host.FakeNic::state.primary) == mac_text(5)[0]);
  CHECK(host.shown()["mac"] == mac_text(5)[0]);
  CHECK(host.shown()["mac_for"] == FilterJson{"5.0"});
  CHECK(host.unicast().empty());
  const VifId two = host.add(6, true, "SUNW-need-set-physaddr");
  CHECK(address_text(host.FakeNic::state.primary) == mac_text(6)[0]);
  CHECK(host.unicast() == mac_text(5));
  host.leave(two);
  CHECK(address_text(host.FakeNic::state.primary) == mac_text(5)[0]);
  host.leave(one);
  CHECK(address_text(host.FakeNic::state.primary) == address_text(own_mac));
  CHECK(host.shown()["mac_for"].empty());
}

TEST_CASE("seed_S10_a_nic_that_keeps_its_mac_keeps_no_vif_from_connecting") {
  FilteredHost host;
  host.refuses["default_mac_addr_set"] = -EPERM;
  const VifId one = host.add(5, true, "SUNW-need-set-physaddr");
  CHECK(host.vif(one).state() == "connected");
  CHECK(address_text(host.FakeNic::state.primary) == address_text(own_mac));
  CHECK(host.unicast() == mac_text(5));
  CHECK(host.shown()["primary_mac_refused"] == 1);
}

TEST_CASE("seed_S13_groups_that_a_guest_joins_and_leaves_are_programmed_soon") {
  FilteredHost host;
  const VifId one = host.add(5), two = host.add(6);
  host.groups(one).join(group_a);
  host.groups(two).join(group_a);
  host.groups(two).join(group_b);
  CHECK(host.soon([&] {
    return host.multicast() == Texts{"01:00:5e:00:00:01", "33:33:00:00:00:02"};
  }));
  const FilterJson expected = {{{"address", "01:00:5e:00:00:01"}, {"vifs", {"5.0", "6.0"}}},
                               {{"address", "33:33:00:00:00:02"}, {"vifs", {"6.0"}}}};
  CHECK(host.shown()["multicast"] == expected);
  host.groups(two).leave(group_a);
  host.groups(two).leave(group_b);
  CHECK(host.soon([&] { return host.multicast() == Texts{"01:00:5e:00:00:01"}; }));
  host.leave(one);
  CHECK(host.multicast().empty());
}

TEST_CASE("seed_S09_the_nic_follows_a_guest_that_changes_its_mind_about_multicast_control") {
  FilteredHost host;
  const VifId one = host.add(5, false);
  const std::string key = ControlHost::frontend(one) + "/request-multicast-control";
  host.groups(one).join(group_a);
  CHECK(host.FakeNic::state.allmulticast);
  CHECK(host.multicast().empty());
  for (int i = 0; i < 2; ++i) {
    host.nodes.write(key, "1");
    CHECK(host.soon([&] { return !host.FakeNic::state.allmulticast; }));
    CHECK(host.multicast() == Texts{"01:00:5e:00:00:01"});
    CHECK(host.shown()["allmulticast_for"].empty());
    host.nodes.write(key, "0");
    CHECK(host.soon([&] { return host.FakeNic::state.allmulticast; }));
    CHECK(host.multicast().empty());
    CHECK(host.shown()["allmulticast_for"] == FilterJson{"vif 5.0"});
  }
}

TEST_CASE("seed_S12_a_port_that_is_closed_leaves_its_nic_as_it_was") {
  FakeNic nic;
  const auto pool = make_pool();
  const PortConfig config{.name = "q", .device = "net_ring8"};
  const auto device = check_device(config);
  REQUIRE(device);
  auto port = Port::open(config, Result(device).value(), *pool);
  REQUIRE(port);
  port.value()->filters().program(wanted_filters(
      {{.vif = "1.0", .mac = mac_a, .groups = Groups{group_a}},
       {.vif = "2.0", .mac = mac_b, .set_physaddr = true, .groups = Groups{group_b}}}));
  CHECK(nic.state.multicast.size() == 2);
  nic.calls.clear();
  port.value()->close();
  CHECK(nic.calls == Texts{"set_mc_addr_list 0", "mac_addr_remove 00:16:3e:00:00:01",
                           "default_mac_addr_set 02:00:00:00:00:fe"});
  port.value()->close();
  CHECK(nic.calls.size() == 3);
}

TEST_CASE("hostile_h23_changes_without_end_are_one_programming_in_a_tick_of_10_ms") {
  FilteredHost host;
  const VifId one = host.add(5);
  MulticastGroups& groups = host.groups(one);
  host.calls.clear();
  const auto began = Loop::Clock::now();
  uint32_t changes = 0;
  for (uint32_t tick = 0; tick < 10; ++tick) {
    for (uint32_t i = 0; i < 10'000; ++i, ++changes) {  // 10^5 of them, each group once in a while
      const rte_ether_addr group{{1, 0, 0x5e, 0, 1, static_cast<uint8_t>(i % 64)}};
      i / 64 % 2 == tick % 2 ? static_cast<void>(groups.join(group)) : groups.leave(group);
    }
    host.loop->run_once(2ms);
  }
  const auto ticks = (Loop::Clock::now() - began) / FilterControl::groups_interval;
  CHECK(changes == 100'000);
  CHECK(host.calls.size() == host.count("set_mc_addr_list"));
  CHECK(host.calls.size() <= static_cast<size_t>(ticks) + 1);
  CHECK(host.soon([&] { return host.multicast().size() == groups.joined().size(); }));
  CHECK(host.calls.size() >= 1);
}

TEST_CASE("hostile_h23_changes_that_come_to_nothing_program_nothing") {
  FilteredHost host;
  const VifId one = host.add(5);
  host.calls.clear();
  for (int tick = 0; tick < 4; ++tick) {
    for (int i = 0; i < 1000; ++i) {
      host.groups(one).join(group_a);
      host.groups(one).leave(group_a);
      host.groups(one).join({{255, 255, 255, 255, 255, 255}});
    }
    std::this_thread::sleep_for(FilterControl::groups_interval);
    host.settle();
  }
  CHECK(host.calls.empty());
  // Nor do any when another vif needs all groups.
  host.add(6, false);
  host.calls.clear();
  host.groups(one).join(group_a);
  std::this_thread::sleep_for(FilterControl::groups_interval);
  host.settle();
  CHECK(host.calls.empty());
}

TEST_CASE("filter_control_looks_at_no_groups_while_no_guest_has_multicast_control") {
  FilteredHost host;
  const VifId one = host.add(5, false);
  std::this_thread::sleep_for(FilterControl::groups_interval);
  host.settle();
  const auto began = Loop::Clock::now();
  host.loop->run_once(100ms);  // no timer ends it
  CHECK(Loop::Clock::now() - began >= 100ms);
  CHECK(host.vif(one).state() == "connected");
}

TEST_CASE("filter_control_vifs_that_come_together_are_programmed_together") {
  FilteredHost host;
  Port* port = host.ports[0].get();
  MulticastGroups groups;
  for (uint8_t i = 0; i < 4; ++i)
    host.filters->add({.name = fmt::format("{}.0", i),
                       .port = port,
                       .mac = {{0, 0x16, 0x3e, 0, 0, i}},
                       .groups = &groups});
  CHECK(host.calls.empty());
  host.settle();
  CHECK(host.count("allmulticast_enable") == 1);
  CHECK(host.calls.size() == 5);
  for (uint8_t i = 0; i < 4; ++i) host.filters->remove(fmt::format("{}.0", i));
  host.filters->add({.name = "0.0", .port = port, .mac = mac_a, .groups = &groups});
  host.filters->remove("0.0");
  host.calls.clear();
  host.settle();
  CHECK(host.calls.size() == 5);
  CHECK(host.FakeNic::state.unicast.empty());
}

TEST_CASE("filter_control_groups_that_change_after_a_vif_was_added_are_seen_without_any_event") {
  FilteredHost host;
  MulticastGroups groups;
  groups.apply(true);
  host.filters->add({.name = "1.0", .port = host.ports[0].get(), .mac = mac_a, .groups = &groups});
  host.settle();
  CHECK(host.calls == Texts{"mac_addr_add 00:16:3e:00:00:01"});
  for (const auto& group : {group_a, group_b}) {
    groups.join(group);
    CHECK(host.soon([&] { return host.FakeNic::state.multicast.contains(group); }));
  }
  CHECK(host.calls.size() == 3);
  host.filters->remove("1.0");
  groups.join(group_c);
  std::this_thread::sleep_for(FilterControl::groups_interval);
  host.settle();
  CHECK(host.multicast().empty());
}

TEST_CASE("filter_control_each_port_has_what_its_own_vifs_need") {
  FilteredHost host;
  const PortConfig config{.name = "q", .device = "net_ring8"};
  const auto device = check_device(config);
  REQUIRE(device);
  auto opened = Port::open(config, Result(device).value(), *host.pool);
  REQUIRE(opened);
  Port &one = *host.ports[0], &two = *opened.value();
  MulticastGroups groups_of_one, groups_of_two;
  groups_of_one.apply(true);
  groups_of_two.apply(true);
  host.filters->add({.name = "1.0", .port = &one, .mac = mac_a, .groups = &groups_of_one});
  host.filters->add({.name = "2.0",
                     .port = &two,
                     .mac = mac_b,
                     .filtered = false,
                     .set_physaddr = true,
                     .groups = &groups_of_two});
  host.settle();
  CHECK(one.filters().wanted().unicast.size() == 1);
  CHECK(one.filters().wanted().promiscuous.empty());
  CHECK(two.filters().wanted().unicast.size() == 1);
  CHECK(two.filters().wanted().promiscuous == Names{"2.0"});
  CHECK(two.filters().wanted().primary_for == "2.0");
  const uint64_t calls = two.filters().counts().calls;
  groups_of_one.join(group_a);
  CHECK(host.soon([&] { return one.filters().programmed().multicast.contains(group_a); }));
  CHECK(two.filters().wanted().multicast.empty());
  CHECK(two.filters().counts().calls == calls);
  for (const char* name : {"1.0", "2.0"}) host.filters->remove(name);
  host.settle();
  CHECK(two.filters().wanted().unicast.empty());
}

TEST_CASE("filter_control_that_ends_while_a_timer_is_due_is_not_called_any_more") {
  FilteredHost host;
  MulticastGroups groups;
  groups.apply(true);
  {
    FilterControl other(*host.loop);
    other.add({.name = "1.0", .port = host.ports[0].get(), .mac = mac_a, .groups = &groups});
  }
  std::this_thread::sleep_for(FilterControl::groups_interval);
  host.settle();
  CHECK(host.calls.empty());
}
