// Which setting of a vif holds, and what cannot hold.
#include <catch2/catch.hpp>

#include <map>
#include <string>

#include "control/config.hpp"

namespace netback {

namespace {

using Keys = std::map<std::string, std::string>;

// What libxl writes of a vif with nothing in its xl line but a bridge.
const Keys plain = {{"mac", "00:16:3E:01:02:0A"}, {"bridge", "xenbr0"}, {"script", "vif-dpdk"}};

DaemonConfig two_ports() {
  DaemonConfig daemon;
  daemon.lcores = {1};
  daemon.ports = {{.name = "host", .device = "d0", .bridge = "xenbr0"},
                  {.name = "wire", .device = "d1"}};
  return daemon;
}

VifConfig vif_file() {
  VifConfig file;
  file.file = "vif.d/a.toml";
  return file;
}

Keys plain_with(const std::string& key, const std::string& value) {
  Keys keys = plain;
  keys[key] = value;
  return keys;
}

EffectiveVif settings(const std::optional<VifConfig>& file, const Keys& xenstore,
                      const DaemonConfig& daemon) {
  auto vif = effective_settings(file, xenstore, daemon);
  INFO((vif ? "" : vif.error().message));
  REQUIRE(vif);
  return vif.value();
}

std::string problem(const std::optional<VifConfig>& file, const Keys& xenstore,
                    const DaemonConfig& daemon = two_ports()) {
  const auto vif = effective_settings(file, xenstore, daemon);
  return vif ? "accepted" : vif.error().message;
}

template <class T>
void check(const Origin<T>& origin, const T& value, std::string_view from) {
  CHECK(origin.value == value);
  CHECK(origin.from == from);
}

}  // namespace

TEST_CASE("without_a_file_xenstore_and_what_is_built_in_hold") {
  const EffectiveVif vif = settings(std::nullopt, plain, two_ports());
  check<std::string>(vif.nic, "host", "xenstore");
  check<std::string>(vif.mac, "00:16:3e:01:02:0a", "xenstore");
  check(vif.mtu, 1500u, "built in");
  check(vif.rate, RateLimit{}, "built in");
  check(vif.rate_to_guest, RateLimit{}, "built in");
  check(vif.rx_filter, true, "built in");
  check(vif.set_physaddr, false, "built in");
  check(vif.lock_mac, false, "built in");
  check(vif.switching, true, "built in");
  check<std::string>(vif.ip, "", "built in");
  check(vif.lock_ip, true, "built in");
  check(vif.backlog_frames, 512u, "built in");
  check(vif.queues_max, 8u, "built in");
  CHECK(vif.warnings.empty());
}

TEST_CASE("defaults_hold_before_what_is_built_in") {
  DaemonConfig daemon = two_ports();
  daemon.defaults.mtu = 1400;
  daemon.defaults.rx_filter = false;
  daemon.defaults.set_physaddr = true;
  daemon.defaults.lock_mac = true;
  daemon.defaults.switching = false;
  daemon.defaults.ip = "192.0.2.1";
  daemon.defaults.lock_ip = false;
  daemon.defaults.backlog_frames = 64;
  daemon.defaults.queues_max = 4;
  const EffectiveVif vif = settings(vif_file(), plain, daemon);
  check(vif.mtu, 1400u, "defaults");
  check(vif.rx_filter, false, "defaults");
  check(vif.set_physaddr, true, "defaults");
  check(vif.lock_mac, true, "defaults");
  check(vif.switching, false, "defaults");
  check<std::string>(vif.ip, "192.0.2.1", "defaults");
  check(vif.lock_ip, false, "defaults");
  check(vif.backlog_frames, 64u, "defaults");
  check(vif.queues_max, 4u, "defaults");
}

TEST_CASE("xenstore_holds_before_defaults") {
  DaemonConfig daemon = two_ports();
  daemon.defaults.mtu = 1400;
  daemon.defaults.rx_filter = true;
  Keys keys = plain_with("mtu", "9000");
  keys["SUNW-need-rx-filter"] = "0";
  keys["SUNW-need-set-physaddr"] = "0";
  daemon.defaults.set_physaddr = true;
  const EffectiveVif vif = settings(std::nullopt, keys, daemon);
  check(vif.mtu, 9000u, "xenstore");
  check(vif.rx_filter, false, "xenstore");
  check(vif.set_physaddr, false, "xenstore");
}

TEST_CASE("the_vif_file_holds_before_all") {
  DaemonConfig daemon = two_ports();
  daemon.defaults.mtu = 1400;
  daemon.defaults.lock_mac = false;
  daemon.defaults.switching = true;
  daemon.defaults.lock_ip = false;
  daemon.defaults.backlog_frames = 64;
  daemon.defaults.queues_max = 4;
  Keys keys = plain_with("mtu", "9000");
  keys["SUNW-need-rx-filter"] = "0";
  keys["SUNW-need-set-physaddr"] = "0";
  VifConfig file = vif_file();
  file.mac = "00:16:3e:01:02:0a";
  file.mtu = 1280;
  file.rx_filter = true;
  file.set_physaddr = true;
  file.lock_mac = true;
  file.switching = false;
  file.ip = "192.0.2.2";
  file.lock_ip = true;
  file.backlog_frames = 5;
  file.queues_max = 2;
  const EffectiveVif vif = settings(file, keys, daemon);
  check<std::string>(vif.mac, "00:16:3e:01:02:0a", "vif file");
  check(vif.mtu, 1280u, "vif file");
  check(vif.rx_filter, true, "vif file");
  check(vif.set_physaddr, true, "vif file");
  check(vif.lock_mac, true, "vif file");
  check(vif.switching, false, "vif file");
  check<std::string>(vif.ip, "192.0.2.2", "vif file");
  check(vif.lock_ip, true, "vif file");
  check(vif.backlog_frames, 5u, "vif file");
  check(vif.queues_max, 2u, "vif file");
}

TEST_CASE("the_addresses_of_xenstore_are_checked_when_they_lock") {
  check<std::string>(
      settings(std::nullopt, plain_with("ip", "192.0.2.1 fe80::/10"), two_ports()).ip,
      "192.0.2.1 fe80::/10", "xenstore");
  check<std::string>(settings(std::nullopt, plain_with("ip", ""), two_ports()).ip, "", "built in");
  CHECK(problem(std::nullopt, plain_with("ip", "example.org")) ==
        "xenstore ip: must be addresses like \"192.0.2.1 2001:db8::1\" or prefixes like "
        "\"192.0.2.0/28\", not \"example.org\"");
  DaemonConfig free = two_ports();
  free.defaults.lock_ip = false;
  CHECK(problem(std::nullopt, plain_with("ip", "example.org"), free) == "accepted");
  free.defaults.ip = "somewhere";
  CHECK(problem(std::nullopt, plain, free) == "accepted");
  free.defaults.lock_ip = true;
  CHECK(problem(std::nullopt, plain, free) ==
        "defaults ip: must be addresses like \"192.0.2.1 2001:db8::1\" or prefixes like "
        "\"192.0.2.0/28\", not \"somewhere\"");
}

TEST_CASE("seed_S06_the_filter_key_is_a_number_and_absent_is_filtered") {
  const auto filter = [](const std::string& value) {
    return settings(std::nullopt, plain_with("SUNW-need-rx-filter", value), two_ports()).rx_filter;
  };
  check(filter("0"), false, "xenstore");
  check(filter("1"), true, "xenstore");
  check(filter("2147483647"), true, "xenstore");
  for (const std::string value : {"", "yes", "-1", "2147483648"}) {
    CHECK(problem(std::nullopt, plain_with("SUNW-need-rx-filter", value)) ==
          "xenstore SUNW-need-rx-filter: must be a whole number from 0 to 2147483647, not \"" +
              value + "\"");
  }
}

TEST_CASE("seed_S10_the_physaddr_key_is_a_number_more_than_0_for_yes") {
  const auto asks = [](const std::string& value) {
    return settings(std::nullopt, plain_with("SUNW-need-set-physaddr", value), two_ports())
        .set_physaddr;
  };
  check(asks("0"), false, "xenstore");
  check(asks("1"), true, "xenstore");
  check(asks("2147483647"), true, "xenstore");
  for (const std::string value : {"", "yes", "-1", "2147483648"}) {
    CHECK(problem(std::nullopt, plain_with("SUNW-need-set-physaddr", value)) ==
          "xenstore SUNW-need-set-physaddr: must be a whole number from 0 to 2147483647, not \"" +
              value + "\"");
  }
}

TEST_CASE("seed_S14_the_port_is_the_first_that_is_given") {
  DaemonConfig daemon = two_ports();
  daemon.ports.push_back({.name = "spare", .device = "d2"});
  daemon.ports.push_back({.name = "last", .device = "d3"});
  daemon.defaults.nic = "last";
  VifConfig file = vif_file();
  file.nic = "wire";
  const Keys all = plain_with("nic", "spare");
  check<std::string>(settings(file, all, daemon).nic, "wire", "vif file");
  check<std::string>(settings(std::nullopt, all, daemon).nic, "spare", "xenstore");
  check<std::string>(settings(std::nullopt, plain, daemon).nic, "host", "xenstore");
  check<std::string>(settings(std::nullopt, plain_with("bridge", "br9"), daemon).nic, "last",
                     "defaults");
  Keys no_bridge = plain;
  no_bridge.erase("bridge");
  check<std::string>(settings(std::nullopt, no_bridge, daemon).nic, "last", "defaults");
}

TEST_CASE("seed_S07_an_unknown_port_is_refused_with_the_ports_there_are") {
  const std::string rest = "is not in dpdk-netback.toml; ports: host (bridge xenbr0), wire";
  VifConfig file = vif_file();
  file.nic = "wier";
  CHECK(problem(file, plain) == "nic from vif.d/a.toml: port 'wier' " + rest);
  CHECK(problem(std::nullopt, plain_with("nic", "e1000g0")) ==
        "nic from xenstore: port 'e1000g0' " + rest);
  DaemonConfig daemon = two_ports();
  daemon.defaults.nic = "gone";
  CHECK(problem(std::nullopt, plain_with("bridge", "br9"), daemon) ==
        "nic from defaults: port 'gone' " + rest);
  CHECK(problem(std::nullopt, plain_with("nic", "a\nb")) ==
        "nic from xenstore: port 'a?b' " + rest);
}

TEST_CASE("seed_S14_no_port_at_all_is_refused_with_the_reason") {
  CHECK(problem(std::nullopt, plain_with("bridge", "br9")) ==
        "no port is on bridge 'br9' and dpdk-netback.toml has no [defaults] nic; "
        "ports: host (bridge xenbr0), wire");
  Keys no_bridge = plain;
  no_bridge.erase("bridge");
  CHECK(problem(std::nullopt, no_bridge) ==
        "no port is given and dpdk-netback.toml has no [defaults] nic; "
        "ports: host (bridge xenbr0), wire");
  CHECK(problem(std::nullopt, plain, DaemonConfig{}) ==
        "no port is on bridge 'xenbr0' and dpdk-netback.toml has no [defaults] nic; "
        "there is no [[port]]");
  auto refused = effective_settings(std::nullopt, no_bridge, two_ports());
  CHECK(refused.error().fix == "give nic in a vif file or bridge in the xl file");
}

TEST_CASE("an_empty_bridge_is_not_the_bridge_of_a_port_without_one") {
  CHECK(problem(std::nullopt, plain_with("bridge", "")).starts_with("no port is on bridge ''"));
}

TEST_CASE("the_mac_of_xenstore_is_checked") {
  CHECK(problem(std::nullopt, plain_with("mac", "big")) ==
        "xenstore mac: must be a MAC address like 00:16:3e:01:02:03, not \"big\"");
  CHECK(problem(std::nullopt, plain_with("mac", "01:00:5e:00:00:01")) ==
        "xenstore mac: must be the MAC address of one interface, not \"01:00:5e:00:00:01\"");
  Keys no_mac = plain;
  no_mac.erase("mac");
  CHECK(problem(std::nullopt, no_mac) == "xenstore mac: is absent");
}

TEST_CASE("the_mtu_of_xenstore_is_checked") {
  for (const std::string mtu : {"67", "65518", "big", "", "-1", "1500 "}) {
    CHECK(problem(std::nullopt, plain_with("mtu", mtu)) ==
          "xenstore mtu: must be a whole number from 68 to 65517, not \"" + mtu + "\"");
  }
  CHECK(problem(std::nullopt, plain_with("mtu", "68")) == "accepted");
  CHECK(problem(std::nullopt, plain_with("mtu", "65517")) == "accepted");
}

TEST_CASE("the_vlan_is_the_file_s_or_xenstore_s_or_that_of_the_defaults") {
  DaemonConfig daemon = two_ports();
  VifConfig file = vif_file();
  check(settings(file, plain_with("vlan", ""), daemon).vlan, 0u, "built in");
  daemon.defaults.vlan = 3;
  check(settings(file, plain_with("vlan", ""), daemon).vlan, 3u, "defaults");
  check(settings(file, plain_with("vlan", "2"), daemon).vlan, 2u, "xenstore");
  file.vlan = 1;
  check(settings(file, plain_with("vlan", "2"), daemon).vlan, 1u, "vif file");
}

TEST_CASE("the_vlan_of_xenstore_is_checked") {
  for (const std::string vlan : {"0", "4095", "1:2", "x", "-1"})
    CHECK(problem(std::nullopt, plain_with("vlan", vlan)) ==
          "xenstore vlan: must be a whole number from 1 to 4094, not \"" + vlan + "\"");
  CHECK(problem(std::nullopt, plain_with("vlan", "1")) == "accepted");
  CHECK(problem(std::nullopt, plain_with("vlan", "4094")) == "accepted");
}

TEST_CASE("the_rate_is_the_file_s_or_xenstore_s_or_that_of_the_defaults") {
  const RateLimit one{.bytes = 1, .interval_us = 10}, two{.bytes = 2, .interval_us = 10},
      three{.bytes = 3, .interval_us = 10};
  DaemonConfig daemon = two_ports();
  VifConfig file = vif_file();
  check(settings(file, plain_with("rate", ""), daemon).rate, RateLimit{}, "built in");
  daemon.defaults.rate = three;
  check(settings(file, plain_with("rate", ""), daemon).rate, three, "defaults");
  check(settings(file, plain_with("rate", "2,10"), daemon).rate, two, "xenstore");
  file.rate = one;
  check(settings(file, plain_with("rate", "2,10"), daemon).rate, one, "vif file");
  check(settings(file, plain, daemon).rate_to_guest, RateLimit{}, "built in");
  daemon.defaults.rate_to_guest = three;
  check(settings(file, plain, daemon).rate_to_guest, three, "defaults");
  file.rate_to_guest = two;
  check(settings(file, plain, daemon).rate_to_guest, two, "vif file");
}

TEST_CASE("a_rate_in_xenstore_that_cannot_be_understood_is_refused_and_not_ignored") {
  CHECK(problem(std::nullopt, plain_with("rate", "fast")) ==
        "xenstore rate: must be bytes and microseconds, like \"62500,50000\", not \"fast\"");
  CHECK(problem(std::nullopt, plain_with("rate", "0,50000")).starts_with("xenstore rate: must be"));
}

TEST_CASE("the_cpus_of_a_vif_are_those_of_its_file_then_of_the_defaults_else_any") {
  DaemonConfig daemon = two_ports();
  daemon.lcores = {4, 2};
  using Cpus = std::vector<unsigned>;
  const auto lcores = [&](const std::optional<VifConfig>& file) {
    return effective_settings(file, plain, daemon).value().lcores;
  };
  daemon.defaults.nic = "host";
  CHECK(lcores(std::nullopt).value.empty());
  CHECK(lcores(std::nullopt).from == "built in");
  daemon.defaults.lcores = {{2}};
  CHECK(lcores(std::nullopt).value == Cpus{2});
  CHECK(lcores(std::nullopt).from == "defaults");
  VifConfig file = vif_file();
  file.lcores = {{4, 2}};
  CHECK(lcores(file).value == Cpus{4, 2});
  CHECK(lcores(file).from == "vif file");
  file.lcores = Cpus{};
  CHECK(lcores(file).value.empty());
}

TEST_CASE("a_vif_cannot_ask_for_a_cpu_that_the_daemon_does_not_use") {
  VifConfig file = vif_file();
  file.lcores = {{1}};
  CHECK(problem(file, plain) == "accepted");
  file.lcores = {{2}};
  CHECK(problem(file, plain) ==
        "lcores from vif.d/a.toml: 2 is not among those of dpdk-netback.toml");
  DaemonConfig daemon = two_ports();
  daemon.defaults.lcores = {{3}};
  CHECK(problem(std::nullopt, plain, daemon) ==
        "lcores from defaults: 3 is not among those of dpdk-netback.toml");
  file.lcores = {{1}};
  CHECK(problem(file, plain, daemon) == "accepted");
}

}  // namespace netback
