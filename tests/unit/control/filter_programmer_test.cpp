#include "control/filter_programmer.hpp"

#include <catch2/catch.hpp>

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <random>
#include <sstream>

#include "tests/unit/support/fake_nic.hpp"
#include "tests/unit/support/filters.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Calls = Texts;
constexpr uint16_t no_port = 31;  // the fake is below all of them
Groups groups(uint8_t count) {
  Groups all;
  for (uint8_t i = 0; i < count; ++i) all.push_back({{1, 0, 0x5e, 0, 0, i}});
  return all;
}

struct Programmed : FakeNic {
  explicit Programmed(uint32_t addresses = 16) : FakeNic(addresses) {}
  FilterProgrammer programmer{"p", no_port};
  std::vector<FilterNeeds> vifs;

  // What was called for it.
  Calls program() {
    calls.clear();
    programmer.program(wanted_filters(vifs));
    return calls;
  }
  Calls program_groups(const Groups& joined) {
    calls.clear();
    vifs.at(0).groups = joined;
    programmer.program_groups(wanted_filters(vifs));
    return calls;
  }
  void add(const std::string& name, const rte_ether_addr& mac, std::optional<Groups> joined = {}) {
    vifs.push_back({.vif = name, .mac = mac, .groups = std::move(joined)});
  }
};

// What is logged while it lives, a line each: level and text.
class Logged {
 public:
  Logged() {
    sink_->set_pattern("%l: %v");
    spdlog::default_logger()->sinks().push_back(sink_);
  }
  ~Logged() { spdlog::default_logger()->sinks().pop_back(); }
  std::string take() {
    const std::string text = stream_.str();
    stream_.str("");
    return text;
  }

 private:
  std::ostringstream stream_;
  std::shared_ptr<spdlog::sinks::ostream_sink_mt> sink_ =
      std::make_shared<spdlog::sinks::ostream_sink_mt>(stream_);
};

bool lets_through(const FilterState& state, const rte_ether_addr& address) {
  if (state.promiscuous) return true;
  if (rte_is_multicast_ether_addr(&address))
    return state.allmulticast || state.multicast.contains(address);
  return state.unicast.contains(address) || rte_is_same_ether_addr(&address, &state.primary);
}

}  // namespace

TEST_CASE("filter_programmer_does_nothing_before_a_vif_needs_it") {
  Programmed nic;
  CHECK(nic.program().empty());
  CHECK(nic.programmer.counts().calls == 0);
  CHECK(address_text(nic.programmer.programmed().primary) == address_text(own_mac));
}

TEST_CASE("filter_programmer_knows_the_modes_that_it_finds") {
  FakeNic nic;
  nic.state.promiscuous = nic.state.allmulticast = true;
  FilterProgrammer programmer("p", no_port);
  programmer.program({});
  CHECK(nic.calls == Calls{"allmulticast_disable", "promiscuous_disable"});
}

TEST_CASE("filter_programmer_makes_each_call_of_dpdk_with_what_it_is_about") {
  Programmed nic;
  nic.add("1.0", mac_a, groups(2));
  CHECK(nic.program() == Calls{"mac_addr_add 00:16:3e:00:00:01", "set_mc_addr_list 2"});
  CHECK(nic.state.multicast.size() == 2);
  nic.add("2.0", mac_b);
  CHECK(nic.program() ==
        Calls{"allmulticast_enable", "mac_addr_add 00:16:3e:00:00:02", "set_mc_addr_list 0"});
  nic.vifs[1].filtered = false;
  CHECK(nic.program() == Calls{"promiscuous_enable", "allmulticast_disable"});
  nic.vifs[0].set_physaddr = true;
  CHECK(nic.program() ==
        Calls{"mac_addr_remove 00:16:3e:00:00:01", "default_mac_addr_set 00:16:3e:00:00:01"});
  nic.vifs.clear();
  CHECK(nic.program() == Calls{"promiscuous_disable", "mac_addr_remove 00:16:3e:00:00:02",
                               "default_mac_addr_set 02:00:00:00:00:fe"});
  CHECK(same_state(nic.state, {.primary = own_mac}));
  CHECK(same_state(nic.state, nic.programmer.programmed()));
  CHECK(nic.programmer.counts().calls == 12);
  CHECK(nic.programmer.counts().promiscuous_fallbacks == 0);
  CHECK(nic.programmer.counts().allmulticast_fallbacks == 0);
}

TEST_CASE("seed_S13_what_is_there_already_is_not_programmed_again") {
  Programmed nic;
  nic.add("1.0", mac_a, groups(2));
  nic.program();
  CHECK(nic.program().empty());
  CHECK(nic.program_groups(groups(2)).empty());
  nic.add("2.0", mac_a, groups(1));
  CHECK(nic.program().empty());
  nic.vifs.pop_back();
  CHECK(nic.program().empty());  // the other vif still needs them
  CHECK(nic.program_groups(groups(1)) == Calls{"set_mc_addr_list 1"});
}

TEST_CASE("seed_S13_in_promiscuous_mode_no_group_is_programmed") {
  Programmed nic;
  nic.add("1.0", mac_a, groups(0));
  nic.add("2.0", mac_b);
  nic.vifs[1].filtered = false;
  nic.program();
  for (uint8_t count = 1; count < 10; ++count) CHECK(nic.program_groups(groups(count)).empty());
  nic.vifs.pop_back();
  CHECK(nic.program() ==
        Calls{"set_mc_addr_list 9", "promiscuous_disable", "mac_addr_remove 00:16:3e:00:00:02"});
}

TEST_CASE("seed_S13_a_nic_without_room_for_the_groups_takes_all_until_they_fit_again") {
  Programmed nic;
  nic.groups_max = 3;
  nic.add("1.0", mac_a, groups(3));
  nic.program();
  CHECK(nic.program_groups(groups(5)) ==
        Calls{"set_mc_addr_list 5", "allmulticast_enable", "set_mc_addr_list 0"});
  CHECK(nic.programmer.why_allmulticast() ==
        Names{"list of groups refused (No space left on device)"});
  CHECK(nic.program_groups(groups(6)).empty());  // more is not tried
  CHECK(nic.program_groups(groups(5)).empty());
  CHECK(nic.program_groups(groups(4)) == Calls{"set_mc_addr_list 4"});  // less is, in vain
  CHECK(nic.program_groups(groups(4)).empty());
  CHECK(nic.program_groups(groups(3)) == Calls{"set_mc_addr_list 3", "allmulticast_disable"});
  CHECK(nic.programmer.why_allmulticast().empty());
  const auto& counts = nic.programmer.counts();
  CHECK(counts.allmulticast_fallbacks == 1);
  CHECK(counts.multicast_refused == 2);
  CHECK(counts.promiscuous_fallbacks == 0);
}

TEST_CASE("filter_programmer_tries_again_what_was_refused_when_a_vif_comes_or_goes") {
  Programmed nic;
  nic.refuses = {{"mac_addr_add", -EIO}, {"set_mc_addr_list", -EIO}, {"allmulticast_enable", -EIO}};
  nic.add("1.0", mac_a, groups(1));
  CHECK(nic.program() == Calls{"mac_addr_add 00:16:3e:00:00:01", "promiscuous_enable"});
  nic.add("2.0", mac_b, groups(1));
  CHECK(nic.program() == Calls{"mac_addr_add 00:16:3e:00:00:01"});  // then no more of them
  nic.refuses.clear();
  nic.vifs.pop_back();
  CHECK(nic.program() ==
        Calls{"mac_addr_add 00:16:3e:00:00:01", "set_mc_addr_list 1", "promiscuous_disable"});
  CHECK(nic.programmer.counts().unicast_refused == 2);
  CHECK(nic.programmer.counts().promiscuous_fallbacks == 1);
}

TEST_CASE("filter_programmer_a_driver_that_refuses_every_call_is_asked_once_for_each") {
  Programmed nic;
  for (const char* name :
       {"default_mac_addr_set", "mac_addr_add", "mac_addr_remove", "set_mc_addr_list",
        "allmulticast_enable", "allmulticast_disable", "promiscuous_enable", "promiscuous_disable"})
    nic.refuses[name] = -ENOTSUP;
  nic.add("1.0", mac_a, groups(1));
  nic.vifs[0].set_physaddr = true;
  CHECK(nic.program() == Calls{"default_mac_addr_set 00:16:3e:00:00:01",
                               "mac_addr_add 00:16:3e:00:00:01", "promiscuous_enable",
                               "set_mc_addr_list 1", "allmulticast_enable"});
  CHECK(nic.program_groups(groups(5)).empty());
  CHECK(same_state(nic.programmer.programmed(), {.primary = own_mac}));
  const auto& counts = nic.programmer.counts();
  CHECK(counts.primary_refused == 1);
  CHECK(counts.unicast_refused == 1);
  CHECK(counts.multicast_refused == 1);
  CHECK(counts.allmulticast_refused == 1);
  CHECK(counts.promiscuous_refused == 1);
  CHECK(counts.promiscuous_fallbacks == 0);
  CHECK(counts.allmulticast_fallbacks == 0);
  CHECK(nic.programmer.why_promiscuous().empty());
  nic.vifs.clear();
  CHECK(nic.program().empty());
}

TEST_CASE("filter_programmer_what_a_driver_does_not_take_away_is_passed_over_and_counted") {
  Programmed nic;
  nic.add("1.0", mac_a, groups(2));
  nic.add("2.0", mac_b, groups(0));
  nic.program();
  nic.refuses = {{"mac_addr_remove", -EIO}, {"set_mc_addr_list", -EIO}};
  nic.vifs.clear();
  CHECK(nic.program() == Calls{"set_mc_addr_list 0", "mac_addr_remove 00:16:3e:00:00:01",
                               "mac_addr_remove 00:16:3e:00:00:02"});
  CHECK(nic.programmer.counts().multicast_refused == 1);
  CHECK(nic.programmer.counts().unicast_refused == 2);
  CHECK(nic.program().empty());

  nic.add("3.0", mac_a);
  nic.program();
  nic.refuses = {{"allmulticast_disable", -EIO}, {"promiscuous_disable", -EIO}};
  nic.vifs[0].filtered = false;
  CHECK(nic.program() == Calls{"promiscuous_enable", "allmulticast_disable"});
  nic.vifs.clear();
  nic.program();
  CHECK(nic.calls == Calls{"promiscuous_disable", "mac_addr_remove 00:16:3e:00:00:01"});
  CHECK(nic.programmer.counts().allmulticast_refused == 1);
  CHECK(nic.programmer.counts().promiscuous_refused == 1);
}

TEST_CASE("seed_S10_a_primary_mac_that_is_refused_is_listed_instead") {
  Programmed nic;
  nic.refuses["default_mac_addr_set"] = -EPERM;
  nic.add("1.0", mac_a, groups(0));
  nic.program();
  nic.vifs[0].set_physaddr = true;
  CHECK(nic.program() == Calls{"mac_addr_remove 00:16:3e:00:00:01",
                               "default_mac_addr_set 00:16:3e:00:00:01",
                               "mac_addr_add 00:16:3e:00:00:01"});
  CHECK(same_state(nic.state, {.primary = own_mac, .unicast = {mac_a}}));
  CHECK(nic.programmer.counts().primary_refused == 1);
}

TEST_CASE("filter_programmer_says_once_what_is_refused_and_why_it_is_promiscuous") {
  Logged logged;
  Programmed nic;
  const auto refuse_all = [&](int error) {
    for (const char* name : {"default_mac_addr_set", "mac_addr_add", "set_mc_addr_list",
                             "allmulticast_enable", "promiscuous_enable"})
      nic.refuses[name] = error;
  };
  refuse_all(-EIO);
  nic.add("1.0", mac_a, groups(1));
  nic.vifs[0].set_physaddr = true;
  for (int i = 0; i < 2; ++i) nic.program();
  const std::string why = "Input/output error: ";
  CHECK(logged.take() == "warning: port 'p': its driver refuses primary MAC: " + why +
                             "it keeps the MAC that it has\n"
                             "warning: port 'p': its driver refuses address: " +
                             why +
                             "promiscuous instead\n"
                             "warning: port 'p': its driver refuses promiscuous mode: " +
                             why +
                             "frames for guests may not arrive\n"
                             "warning: port 'p': its driver refuses list of groups: " +
                             why +
                             "it takes all groups instead\n"
                             "warning: port 'p': its driver refuses taking all groups: " +
                             why + "promiscuous instead\n");
  refuse_all(-ENOTSUP);  // it has no such modes: nothing to filter with
  for (int i = 0; i < 2; ++i) nic.program();
  const std::string no = "Operation not supported: ";
  CHECK(logged.take() == "warning: port 'p': its driver refuses primary MAC: " + no +
                             "it keeps the MAC that it has\n"
                             "info: port 'p': its driver refuses address: " +
                             no +
                             "promiscuous instead\n"
                             "info: port 'p': its driver refuses list of groups: " +
                             no + "it takes all groups instead\n");
  nic.refuses = {{"mac_addr_add", -EIO}};
  for (int i = 0; i < 2; ++i) {
    nic.vifs[0].set_physaddr = false;
    nic.program();
    nic.programmer.program({});
  }
  CHECK(logged.take() ==
        "info: port 'p': promiscuous; frames are filtered in software: address refused "
        "(Input/output error)\n");
}

TEST_CASE("filter_programmer_that_a_tap_refuses_is_no_news_but_for_the_primary_mac") {
  Logged logged;
  Programmed nic;
  FilterProgrammer tap("tap", no_port, true);
  for (const char* name : {"default_mac_addr_set", "mac_addr_add", "set_mc_addr_list",
                           "allmulticast_enable", "promiscuous_enable"})
    nic.refuses[name] = -EPERM;
  tap.program(wanted_filters({{.vif = "1.0", .mac = mac_a, .groups = groups(1)}}));
  CHECK(logged.take().empty());
  CHECK(tap.counts().calls == 4);
  tap.program(wanted_filters({{.vif = "1.0", .mac = mac_a, .set_physaddr = true}}));
  CHECK(logged.take() ==
        "warning: port 'tap': its driver refuses primary MAC: Operation not permitted: it keeps "
        "the MAC that it has\n");
}

TEST_CASE("filter_programmer_says_for_whom_it_is_in_which_mode") {
  Programmed nic(2);
  nic.add("1.0", mac_a);
  nic.add("2.0", mac_a);
  nic.program();
  CHECK(nic.programmer.why_allmulticast() == Names{"vif 1.0", "vif 2.0"});
  CHECK(nic.programmer.why_promiscuous().empty());
  nic.add("3.0", mac_b, groups(0));
  nic.program();
  CHECK(nic.programmer.why_promiscuous() == Names{"1 more addresses than the NIC takes"});
  CHECK(nic.programmer.why_allmulticast().empty());
  CHECK(nic.programmer.counts().promiscuous_fallbacks == 1);
  nic.vifs[0].filtered = false;
  nic.program();
  CHECK(nic.programmer.why_promiscuous() ==
        Names{"vif 1.0", "1 more addresses than the NIC takes"});
  CHECK(nic.programmer.counts().promiscuous_fallbacks == 1);
  nic.vifs.pop_back();
  nic.program();
  CHECK(nic.programmer.why_promiscuous() == Names{"vif 1.0"});
}

TEST_CASE("filter_programmer_says_which_refusal_made_it_promiscuous") {
  Programmed nic;
  nic.refuses = {{"mac_addr_add", -ENOSPC}};
  nic.add("1.0", mac_a, groups(0));
  nic.program();
  CHECK(nic.programmer.why_promiscuous() == Names{"address refused (No space left on device)"});
  nic.refuses = {{"allmulticast_enable", -EIO}};
  nic.vifs[0].groups.reset();
  nic.program();
  CHECK(nic.programmer.why_promiscuous() == Names{"all groups refused (Input/output error)"});
  nic.program_groups(groups(1));  // it has multicast control now
  CHECK(nic.programmer.why_promiscuous().empty());
  CHECK_FALSE(nic.state.promiscuous);
}

// Whatever comes and goes, and whatever the driver refuses: what is wanted before and after gets
// through at each moment between, where it can; the driver is left as it was found.
TEST_CASE("filter_programmer_any_vifs_in_any_order_on_any_driver") {
  std::mt19937 random(7);
  const char* refusable[] = {"default_mac_addr_set", "mac_addr_add", "set_mc_addr_list",
                             "allmulticast_enable"};
  for (int round = 0; round < 400; ++round) {
    Programmed nic(1 + random() % 5);
    for (const char* name : refusable)
      if (random() % 4 == 0) nic.refuses[name] = -EIO;
    nic.groups_max = random() % 8;
    for (int step = 0; step < 12; ++step) {
      const auto before = wanted_filters(nic.vifs);
      if (nic.vifs.empty() || random() % 3 != 0) {
        const rte_ether_addr mac{{0, 0x16, 0x3e, 0, 0, static_cast<uint8_t>(random() % 4)}};
        std::optional<Groups> joined;
        if (random() % 4 != 0) joined = groups(static_cast<uint8_t>(random() % 5));
        nic.add(std::to_string(step), random() % 8 == 0 ? own_mac : mac, joined);
        nic.vifs.back().set_physaddr = random() % 3 == 0;
        nic.vifs.back().filtered = random() % 8 != 0;
      } else {
        nic.vifs.erase(nic.vifs.begin() + static_cast<int>(random() % nic.vifs.size()));
      }
      nic.program();
      const auto after = wanted_filters(nic.vifs);
      REQUIRE(same_state(nic.state, nic.programmer.programmed()));
      for (const auto& [address, vifs] : after.unicast) REQUIRE(lets_through(nic.state, address));
      for (const auto& [group, vifs] : after.multicast) REQUIRE(lets_through(nic.state, group));
      if (!after.allmulticast.empty()) REQUIRE((nic.state.allmulticast || nic.state.promiscuous));
      if (!after.promiscuous.empty()) REQUIRE(nic.state.promiscuous);
    }
    nic.vifs.clear();
    nic.program();
    REQUIRE((nic.state.unicast.empty() && nic.state.multicast.empty()));
    REQUIRE_FALSE((nic.state.promiscuous || nic.state.allmulticast));
  }
}
