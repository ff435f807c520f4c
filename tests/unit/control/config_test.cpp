// dpdk-netback.toml.
#include "control/config.hpp"

#include <catch2/catch.hpp>

#include <string>

#include "control/config_text.hpp"
#include "tests/unit/control/config_files.hpp"

namespace netback {

using test::ConfigDirectory;
using test::source_file;
using test::uncommented;

namespace {

constexpr char file_name[] = "dpdk-netback.toml";

DaemonConfig read(const std::string& text) {
  ConfigDirectory directory;
  directory.write(file_name, text);
  auto config = read_daemon_config(directory.path());
  INFO((config ? "" : config.error().message));
  REQUIRE(config);
  return config.value();
}

// The message after the directory: "dpdk-netback.toml:LINE: ...".
std::string problem(const std::string& text) {
  ConfigDirectory directory;
  directory.write(file_name, text);
  const auto config = read_daemon_config(directory.path());
  if (config) return "accepted";
  const std::string& message = config.error().message;
  REQUIRE(message.starts_with(directory.path() + "/"));
  return message.substr(directory.path().size() + 1);
}

void check_built_in(const DaemonConfig& config) {
  CHECK(config.memory == "auto");
  CHECK(config.memory_mb == 256);
  CHECK(config.frame_buffers == 16384);
  CHECK(config.large_buffers == 2048);
  CHECK(config.spin_us == 50);
  CHECK(config.gather_us == 20);
  CHECK(config.wait_for_hotplug);
  CHECK(config.log_level == "info");
}

}  // namespace

TEST_CASE("an_empty_file_gives_what_is_built_in") {
  const DaemonConfig config = read("");
  check_built_in(config);
  CHECK(config.lcores.empty());
  CHECK(config.ports.empty());
  CHECK_FALSE(config.defaults.nic);
}

TEST_CASE("every_key_of_the_daemon_is_read") {
  const DaemonConfig config = read(
      "lcores = [3]\nmemory = \"pages\"\nmemory-mb = 512\nframe-buffers = 2048\nlarge-buffers = "
      "100\nspin-us = 7\n"
      "gather-us = 9\n"
      "wait-for-hotplug = false\nlog-level = \"debug\"\n"
      "[[port]]\nname = \"a\"\ndevice = \"net_null0\"\nmtu = 9000\nbridge = \"xenbr0\"\n"
      "[[port]]\nname = \"b\"\ndevice = \"net_null1\"\n"
      "[defaults]\nnic = \"b\"\nmtu = 1400\nip = \"192.0.2.1\"\nrx-filter = false\n"
      "lock-mac = true\nlock-ip = false\nlcores = [3]\nbacklog-frames = 100\nswitching = false\n"
      "set-physaddr = false\nvlan = 7\nrate = \"1MB/s@20ms\"\nrate-to-guest = \"1MB/s@30ms\"\n");
  CHECK(config.lcores == std::vector<unsigned>{3});
  CHECK(config.memory == "pages");
  CHECK(config.memory_mb == 512);
  CHECK(config.frame_buffers == 2048);
  CHECK(config.large_buffers == 100);
  CHECK(config.spin_us == 7);
  CHECK(config.gather_us == 9);
  CHECK_FALSE(config.wait_for_hotplug);
  CHECK(config.log_level == "debug");
  REQUIRE(config.ports.size() == 2);
  CHECK(config.ports[0].name == "a");
  CHECK(config.ports[0].device == "net_null0");
  CHECK(config.ports[0].mtu == 9000);
  CHECK(config.ports[0].bridge == "xenbr0");
  CHECK(config.ports[1].name == "b");
  CHECK(config.ports[1].mtu == 1500);
  CHECK(config.ports[1].bridge == "");
  CHECK(config.defaults.file == "");
  CHECK(config.defaults.nic == "b");
  CHECK(config.defaults.mtu == 1400u);
  CHECK(config.defaults.ip == "192.0.2.1");
  CHECK(config.defaults.rx_filter == false);
  CHECK(config.defaults.lock_mac == true);
  CHECK(config.defaults.lock_ip == false);
  CHECK(config.defaults.lcores == std::vector<unsigned>{3});
  CHECK(config.defaults.backlog_frames == 100u);
  CHECK(config.defaults.switching == false);
  CHECK(config.defaults.set_physaddr == false);
  CHECK(config.defaults.vlan == 7u);
  CHECK(config.defaults.rate == RateLimit{.bytes = 20'000, .interval_us = 20'000});
  CHECK(config.defaults.rate_to_guest == RateLimit{.bytes = 30'000, .interval_us = 30'000});
}

TEST_CASE("the_file_as_shipped_is_accepted") {
  const DaemonConfig config = read(source_file("config/dpdk-netback.toml"));
  check_built_in(config);
  CHECK(config.lcores.empty());
  REQUIRE(config.ports.size() == 1);
  CHECK(config.ports[0].name == "host");
  CHECK(config.ports[0].device ==
        "net_virtio_user0,path=/dev/vhost-net,queue_size=1024,iface=netback0");
  CHECK(config.ports[0].bridge == "xenbr0");
  CHECK(config.ports[0].mtu == 1500);
  CHECK_FALSE(config.defaults.nic);
}

TEST_CASE("the_file_as_shipped_shows_every_key_with_its_default") {
  const std::string text = uncommented(source_file("config/dpdk-netback.toml"));
  const DaemonConfig config = read(text);
  check_built_in(config);
  CHECK(config.ports.size() == 3);
  CHECK(config.defaults.mtu == 1500u);
  CHECK(config.defaults.rx_filter == true);
  CHECK(config.defaults.lock_mac == false);
  CHECK(config.defaults.backlog_frames == 512u);
  for (const char* key : {"lcores", "memory", "memory-mb", "frame-buffers", "large-buffers",
                          "spin-us", "gather-us", "wait-for-hotplug", "log-level", "name", "device",
                          "mtu", "bridge", "nic", "rx-filter", "lock-mac", "backlog-frames"}) {
    INFO(key);
    CHECK(text.find("\n" + std::string(key) + " = ") != text.npos);
  }
}

TEST_CASE("a_file_that_is_not_there_or_no_file_is_named") {
  ConfigDirectory directory;
  auto missing = read_daemon_config(directory.path());
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message == directory.path_of(file_name) + ": No such file or directory");
  std::filesystem::create_directories(directory.path_of(file_name));
  auto not_a_file = read_daemon_config(directory.path());
  REQUIRE_FALSE(not_a_file);
  CHECK(not_a_file.error().message == directory.path_of(file_name) + ": Is a directory");
}

TEST_CASE("broken_toml_names_file_and_line") {
  const std::string message = problem("memory-mb = 256\nmemory = = 3\n");
  CHECK(message.starts_with("dpdk-netback.toml:2: "));
  CHECK(message.find('\n') == message.npos);
  CHECK(problem("mtu\n").starts_with("dpdk-netback.toml:1: "));
}

TEST_CASE("an_unknown_key_is_named_with_the_one_that_was_meant") {
  CHECK(problem("memroy = \"auto\"\n") ==
        "dpdk-netback.toml:1: unknown key 'memroy', did you mean 'memory'?");
  CHECK(problem("\n\nspin_us = 5\n") ==
        "dpdk-netback.toml:3: unknown key 'spin_us', did you mean 'spin-us'?");
  CHECK(problem("[[ports]]\n") == "dpdk-netback.toml:1: unknown key 'ports', did you mean 'port'?");
  CHECK(problem("colour = 1\n") == "dpdk-netback.toml:1: unknown key 'colour'");
  CHECK(problem("[defaults]\nrx-fliter = true\n") ==
        "dpdk-netback.toml:2: unknown key 'rx-fliter', did you mean 'rx-filter'?");
  CHECK(problem("[[port]]\nname = \"a\"\ndevcie = \"net_null0\"\n") ==
        "dpdk-netback.toml:3: unknown key 'devcie', did you mean 'device'?");
}

TEST_CASE("an_unknown_key_cannot_break_the_line") {  // found by fuzz-vif-file
  CHECK(problem("\"a\\nb\" = 1\n") == "dpdk-netback.toml:1: unknown key 'a?b'");
}

TEST_CASE("broken_toml_cannot_break_the_line") {  // found by fuzz-vif-file
  CHECK(problem("memory = n\nid").ends_with("expected 'nan', saw 'n?'"));
}

TEST_CASE("nearest_wants_two_typing_errors_at_most_and_something_in_common") {
  CHECK(nearest("mtuu", {"mac", "mtu"}) == "mtu");
  CHECK(nearest("mtu", {"mtu", "mac"}) == "mtu");
  CHECK(nearest("bacXXog", {"backlog"}) == "backlog");
  CHECK(nearest("baXXXog", {"backlog"}) == "");
  CHECK(nearest("backlogs1", {"backlog"}) == "backlog");
  CHECK(nearest("backlogs12", {"backlog"}) == "");
  CHECK(nearest("cklog", {"backlog"}) == "backlog");
  CHECK(nearest("balog", {"backlog"}) == "backlog");
  CHECK(nearest("xxlcores", {"lcores"}) == "lcores");
  CHECK(nearest("ab", {"ip"}) == "");
  CHECK(nearest("a", {"ip"}) == "");
  CHECK(nearest("i", {"ip"}) == "");
  CHECK(nearest("rat", {"rate", "rata"}) == "rate");
  CHECK(nearest("lcore", {"lock-mac", "lcores"}) == "lcores");
  CHECK(nearest("", {"ip"}) == "");
  CHECK(nearest("ip", {}) == "");
}

TEST_CASE("the_first_problem_of_a_file_is_the_one_reported") {
  CHECK(problem("zzz = 1\nlcores = 5\nmemory = 1\n") == "dpdk-netback.toml:1: unknown key 'zzz'");
  CHECK(problem("defaults = {lock-mac = 1, zzz = 1}\n") ==
        "dpdk-netback.toml:1: 'lock-mac' must be true or false, not 1");
  CHECK(problem("memory = 1\nzzz = 1\n") ==
        "dpdk-netback.toml:1: 'memory' must be one of \"auto\", \"hugepages\", \"pages\", not 1");
}

TEST_CASE("a_value_of_the_wrong_type_is_shown_with_what_is_wanted") {
  const std::string wanted =
      "dpdk-netback.toml:1: 'memory-mb' must be a whole number from 64 to "
      "1048576, not ";
  CHECK(problem("memory-mb = \"big\"\n") == wanted + "\"big\"");
  CHECK(problem("memory-mb = 63\n") == wanted + "63");
  CHECK(problem("memory-mb = 1048577\n") == wanted + "1048577");
  CHECK(problem("memory-mb = -1\n") == wanted + "-1");
  CHECK(problem("memory-mb = 4294967360\n") == wanted + "4294967360");
  CHECK(problem("memory-mb = 256.5\n") == wanted + "256.5");
  CHECK(problem("memory-mb = true\n") == wanted + "true");
  CHECK(problem("memory-mb = false\n") == wanted + "false");
  CHECK(problem("memory-mb = [1]\n") == wanted + "a list");
  CHECK(problem("memory-mb = {a = 1}\n") == wanted + "a table");
  CHECK(problem("memory-mb = 2024-01-01\n") == wanted + "a date or time");
  CHECK(problem("memory-mb = 64\n") == "accepted");
  CHECK(problem("memory-mb = 1048576\n") == "accepted");
}

TEST_CASE("large_buffers_have_limits_and_are_an_eighth_of_the_others") {
  CHECK(read("frame-buffers = 1024\n").large_buffers == 128);
  CHECK(read("frame-buffers = 65536\n").large_buffers == 2048);
  CHECK(problem("large-buffers = 64\n") == "accepted");
  CHECK(problem("large-buffers = 1048576\n") == "accepted");
  const std::string wanted =
      "dpdk-netback.toml:1: 'large-buffers' must be a whole number from 64 to 1048576, not ";
  CHECK(problem("large-buffers = 63\n") == wanted + "63");
  CHECK(problem("large-buffers = 1048577\n") == wanted + "1048577");
}

TEST_CASE("frame_buffers_have_limits") {
  CHECK(problem("frame-buffers = 1024\n") == "accepted");
  CHECK(problem("frame-buffers = 4194304\n") == "accepted");
  CHECK(problem("frame-buffers = 1023\n") ==
        "dpdk-netback.toml:1: 'frame-buffers' must be a whole number from 1024 to 4194304, "
        "not 1023");
  CHECK(problem("frame-buffers = 4194305\n") != "accepted");
}

TEST_CASE("gather_us_is_at_most_a_millisecond") {
  CHECK(read("gather-us = 0\n").gather_us == 0);
  CHECK(read("gather-us = 1000\n").gather_us == 1000);
  CHECK(problem("gather-us = 1001\n") != "accepted");
}

TEST_CASE("spin_us_is_a_number_or_always") {
  CHECK(read("spin-us = \"always\"\n").spin_us == DaemonConfig::spin_always);
  CHECK(read("spin-us = 0\n").spin_us == 0);
  CHECK(read("spin-us = 1000000\n").spin_us == 1'000'000);
  CHECK(problem("spin-us = 1000001\n") ==
        "dpdk-netback.toml:1: 'spin-us' must be a whole number from 0 to 1000000, not 1000001");
  CHECK(problem("spin-us = \"never\"\n") ==
        "dpdk-netback.toml:1: 'spin-us' must be one of \"always\", not \"never\"");
}

TEST_CASE("words_are_checked") {
  for (const char* word : {"auto", "hugepages", "pages"}) {
    CHECK(read("memory = \"" + std::string(word) + "\"\n").memory == word);
  }
  for (const char* word : {"error", "warn", "info", "debug"}) {
    CHECK(read("log-level = \"" + std::string(word) + "\"\n").log_level == word);
  }
  CHECK(problem("log-level = \"loud\"\n") ==
        "dpdk-netback.toml:1: 'log-level' must be one of \"error\", \"warn\", \"info\", \"debug\", "
        "not \"loud\"");
  CHECK(problem("wait-for-hotplug = \"no\"\n") ==
        "dpdk-netback.toml:1: 'wait-for-hotplug' must be true or false, not \"no\"");
}

TEST_CASE("there_are_no_more_workers_than_ports_and_the_ports_have_them_by_turns") {
  const std::string ports =
      "[[port]]\nname = \"a\"\ndevice = \"net_null0\"\n"
      "[[port]]\nname = \"b\"\ndevice = \"net_null1\"\n"
      "[[port]]\nname = \"c\"\ndevice = \"net_null2\"\n";
  const DaemonConfig config = read("lcores = [4, 2]\n" + ports);
  CHECK(config.lcores == std::vector<unsigned>{4, 2});
  CHECK(config.worker_of_port(0) == 0);
  CHECK(config.worker_of_port(1) == 1);
  CHECK(config.worker_of_port(2) == 0);
  CHECK(DaemonConfig{}.worker_of_port(7) == 0);
  CHECK(problem("lcores = [1, 2, 3, 4]\n" + ports) == "accepted");
  std::string most = "0";
  for (int cpu = 1; cpu < 32; ++cpu) most += ", " + std::to_string(cpu);
  CHECK(problem("\nlcores = [" + most + "]\n") == "accepted");
  CHECK(problem("\nlcores = [" + most + ", 32]\n") ==
        "dpdk-netback.toml:2: 'lcores' names 33 cpus: there can be 32 workers");
}

TEST_CASE("lcores_are_cpus_each_once_or_none") {
  CHECK(read("lcores = []\n").lcores.empty());
  CHECK(read("lcores = [0]\n").lcores == std::vector<unsigned>{0});
  CHECK(problem("lcores = [2147483647]\n") == "accepted");
  CHECK(problem("\nlcores = [1, 3, 2, 3]\n") == "dpdk-netback.toml:2: 'lcores' names cpu 3 twice");
  for (const char* value : {"[-1]", "[2147483648]", "[\"1\"]", "[1.0]", "[-1, 2]"}) {
    CHECK(problem("lcores = " + std::string(value) + "\n") ==
          "dpdk-netback.toml:1: 'lcores' must be a list of cpu numbers, not a list");
  }
  CHECK(problem("lcores = 1\n") ==
        "dpdk-netback.toml:1: 'lcores' must be a list of cpu numbers, not 1");
}

TEST_CASE("a_port_needs_a_name_and_a_device") {
  CHECK(problem("\n[[port]]\ndevice = \"net_null0\"\n") ==
        "dpdk-netback.toml:2: [[port]] without 'name'");
  CHECK(problem("[[port]]\nname = \"a\"\n") == "dpdk-netback.toml:1: [[port]] without 'device'");
  CHECK(problem("[[port]]\nname = \"\"\ndevice = \"net_null0\"\n") ==
        "dpdk-netback.toml:2: 'name' must be a text that is not empty, not \"\"");
  CHECK(problem("[[port]]\nname = \"a\"\ndevice = 0\n") ==
        "dpdk-netback.toml:3: 'device' must be a text that is not empty, not 0");
  CHECK(problem("[port]\nname = \"a\"\n") ==
        "dpdk-netback.toml:1: 'port' must be tables, [[port]], not a table");
  CHECK(problem("port = 1\n") == "dpdk-netback.toml:1: 'port' must be tables, [[port]], not 1");
}

TEST_CASE("an_mtu_leaves_room_for_header_and_tag") {
  const std::string port = "[[port]]\nname = \"a\"\ndevice = \"d\"\nmtu = ";
  CHECK(problem(port + "68\n") == "accepted");
  CHECK(problem(port + "65517\n") == "accepted");
  CHECK(problem(port + "67\n") ==
        "dpdk-netback.toml:4: 'mtu' must be a whole number from 68 to 65517, not 67");
  CHECK(problem(port + "65518\n") != "accepted");
  CHECK(problem("[defaults]\nmtu = \"big\"\n") ==
        "dpdk-netback.toml:2: 'mtu' must be a whole number from 68 to 65517, not \"big\"");
}

TEST_CASE("a_port_has_one_queue_pair_or_one_for_each_worker") {
  const std::string port = "[[port]]\nname = \"a\"\ndevice = \"d\"\n";
  CHECK_FALSE(read("lcores = [1, 2, 3]\n" + port).ports[0].queue_pairs);
  CHECK(read("lcores = [1, 2, 3]\n" + port + "queue-pairs = 3\n").ports[0].queue_pairs == 3);
  CHECK(read("lcores = [1, 2, 3]\n" + port + "queue-pairs = 1\n").ports[0].queue_pairs == 1);
  CHECK(problem("lcores = [1, 2, 3]\n" + port + "queue-pairs = 2\n") ==
        "dpdk-netback.toml:5: 'queue-pairs' is 2: a port has 1, or one for each of the 3 cpus of"
        " 'lcores'");
  CHECK(problem(port + "queue-pairs = 1\n") == "accepted");
  CHECK(problem(port + "queue-pairs = 2\n") ==
        "dpdk-netback.toml:4: 'queue-pairs' is 2: a port has 1, or one for each of the 1 cpus of"
        " 'lcores'");
  CHECK(problem(port + "queue-pairs = 33\n") ==
        "dpdk-netback.toml:4: 'queue-pairs' must be a whole number from 1 to 32, not 33");
}

TEST_CASE("names_devices_and_bridges_belong_to_one_port") {
  const std::string first = "[[port]]\nname = \"a\"\ndevice = \"d\"\nbridge = \"br\"\n";
  CHECK(problem(first + "[[port]]\nname = \"a\"\ndevice = \"e\"\n") ==
        "dpdk-netback.toml:6: 'name': \"a\" is port 'a' already");
  CHECK(problem(first + "[[port]]\nname = \"b\"\ndevice = \"d\"\n") ==
        "dpdk-netback.toml:7: 'device': \"d\" is port 'a' already");
  CHECK(problem(first + "[[port]]\nname = \"b\"\ndevice = \"e\"\nbridge = \"br\"\n") ==
        "dpdk-netback.toml:8: 'bridge': \"br\" is port 'a' already");
  CHECK(problem("[[port]]\nname = \"a\"\ndevice = \"d\"\n[[port]]\nname = \"b\"\n"
                "device = \"e\"\n") == "accepted");
}

TEST_CASE("defaults_cannot_say_which_vif_they_are_about") {
  for (const std::string key : {"mac", "devid", "domain", "uuid"}) {
    CHECK(problem("[defaults]\n" + key + " = 1\n") ==
          "dpdk-netback.toml:2: '" + key +
              "' belongs in a vif file: it says which vif the file is about");
  }
  CHECK(problem("defaults = 1\n") ==
        "dpdk-netback.toml:1: 'defaults' must be a table, [defaults], not 1");
}

TEST_CASE("defaults_name_a_port_that_exists") {
  const std::string port =
      "[[port]]\nname = \"a\"\ndevice = \"d\"\nbridge = \"br\"\n"
      "[[port]]\nname = \"b\"\ndevice = \"e\"\n";
  CHECK(problem(port + "[defaults]\nnic = \"b\"\n") == "accepted");
  CHECK(problem(port + "[defaults]\nnic = \"c\"\n") ==
        "dpdk-netback.toml:9: port 'c' is not in dpdk-netback.toml; ports: a (bridge br), b");
  CHECK(problem("[defaults]\nnic = \"c\"\n") ==
        "dpdk-netback.toml:2: port 'c' is not in dpdk-netback.toml; there is no [[port]]");
}

TEST_CASE("defaults_refuse_what_is_xls") {
  CHECK(problem("[defaults]\nscript = \"x\"\n") ==
        "dpdk-netback.toml:2: 'script' belongs in the xl file");
}

}  // namespace netback
