// The files of vif.d/.
#include <catch2/catch.hpp>

#include <string>
#include <vector>

#include "control/config.hpp"
#include "tests/unit/control/config_files.hpp"

namespace netback {

using test::ConfigDirectory;
using test::source_file;
using test::uncommented;

namespace {

constexpr char mac_line[] = "mac = \"00:16:3e:01:02:03\"\n";
constexpr char some_uuid[] = "c0ffee00-1234-5678-9abc-def012345678";

// "vif.d/a.toml:LINE: why" of a file with this text.
std::string vif_problem(const std::string& text, const VifConfig& defaults = {}) {
  ConfigDirectory directory;
  directory.write("vif.d/a.toml", text);
  std::vector<Error> errors;
  read_vif_configs(directory.path(), errors, defaults);
  if (errors.empty()) return "accepted";
  REQUIRE(errors.size() == 1);
  REQUIRE(errors[0].message.starts_with(directory.path() + "/"));
  return errors[0].message.substr(directory.path().size() + 1);
}

VifConfig defaults_with_lock(bool lock_ip) {
  VifConfig defaults;
  defaults.lock_ip = lock_ip;
  return defaults;
}

VifConfig read_vif(const std::string& text) {
  ConfigDirectory directory;
  directory.write("vif.d/a.toml", text);
  std::vector<Error> errors;
  const std::vector<VifConfig> files = read_vif_configs(directory.path(), errors, {});
  INFO((errors.empty() ? "" : errors[0].message));
  REQUIRE(errors.empty());
  REQUIRE(files.size() == 1);
  return files[0];
}

// How many problems two files have with one another.
size_t quarrels(const std::string& one, const std::string& other) {
  ConfigDirectory directory;
  directory.write("vif.d/one.toml", one);
  directory.write("vif.d/other.toml", other);
  std::vector<Error> errors;
  CHECK(read_vif_configs(directory.path(), errors, {}).size() == 2);
  return errors.size();
}

VifConfig by_mac(const std::string& mac) {
  VifConfig file;
  file.file = "by-mac";
  file.mac = mac;
  return file;
}

VifConfig by_domain(const std::string& domain, uint32_t devid) {
  VifConfig file;
  file.file = "by-domain";
  file.domain = domain;
  file.devid = devid;
  return file;
}

VifConfig by_uuid(const std::string& uuid, uint32_t devid) {
  VifConfig file;
  file.file = "by-uuid";
  file.uuid = uuid;
  file.devid = devid;
  return file;
}

bool matches(const VifConfig& file, const VifIdentity& vif) {
  auto match = match_vif({file}, vif);
  REQUIRE(match);
  return match.value().has_value();
}

const VifIdentity guest = {
    .mac = "00:16:3E:01:02:0A", .domain = "guest1", .uuid = some_uuid, .devid = 1};

}  // namespace

TEST_CASE("every_key_of_a_vif_is_read") {
  const VifConfig vif = read_vif(
      "mac = \"00:16:3E:AA:02:03\"\ndevid = 2\ndomain = \"guest1\"\n"
      "uuid = \"C0FFEE00-1234-5678-9abc-def012345678\"\n"
      "nic = \"host\"\nmtu = 9000\nip = \"192.0.2.1\"\nrx-filter = false\nset-physaddr = true\n"
      "lock-mac = true\nlock-ip = true\nswitching = false\nlcores = [2]\nbacklog-frames = 10\n"
      "queues-max = 4\nvlan = 7\nrate = \"10Mb/s\"\nrate-to-guest = \"1MB/s@20ms\"\n");
  CHECK(vif.file.ends_with("/vif.d/a.toml"));
  CHECK(vif.error == "");
  CHECK(vif.mac == "00:16:3e:aa:02:03");
  CHECK(vif.devid == 2u);
  CHECK(vif.domain == "guest1");
  CHECK(vif.uuid == some_uuid);
  CHECK(vif.nic == "host");
  CHECK(vif.mtu == 9000u);
  CHECK(vif.ip == "192.0.2.1");
  CHECK(vif.rx_filter == false);
  CHECK(vif.set_physaddr == true);
  CHECK(vif.lock_mac == true);
  CHECK(vif.lock_ip == true);
  CHECK(vif.switching == false);
  CHECK(vif.lcores == std::vector<unsigned>{2});
  CHECK(vif.backlog_frames == 10u);
  CHECK(vif.queues_max == 4u);
  CHECK(vif.vlan == 7u);
  CHECK(vif.rate == RateLimit{.bytes = 62'500, .interval_us = 50'000});
  CHECK(vif.rate_to_guest == RateLimit{.bytes = 20'000, .interval_us = 20'000});
}

TEST_CASE("what_is_not_in_the_file_is_left_to_the_next_source") {
  const VifConfig vif = read_vif(mac_line);
  CHECK_FALSE(vif.devid);
  CHECK_FALSE(vif.nic);
  CHECK_FALSE(vif.mtu);
  CHECK_FALSE(vif.rx_filter);
  CHECK_FALSE(vif.set_physaddr);
  CHECK_FALSE(vif.lock_mac);
  CHECK_FALSE(vif.ip);
  CHECK_FALSE(vif.lock_ip);
  CHECK_FALSE(vif.switching);
  CHECK_FALSE(vif.lcores);
  CHECK_FALSE(vif.backlog_frames);
  CHECK_FALSE(vif.queues_max);
  CHECK_FALSE(vif.vlan);
  CHECK_FALSE(vif.rate);
  CHECK_FALSE(vif.rate_to_guest);
}

TEST_CASE("the_sample_is_accepted_as_it_is_and_with_every_key") {
  const std::string sample = source_file("config/vif.d/example.toml.sample");
  CHECK(vif_problem(sample) == "accepted");
  const std::string all = uncommented(sample);
  const VifConfig vif = read_vif(all);
  CHECK(vif.mtu == 1500u);
  CHECK(vif.rx_filter == true);
  CHECK(vif.lock_mac == false);
  CHECK(vif.lock_ip == true);
  CHECK(vif.switching == true);
  CHECK(vif.backlog_frames == 512u);
  CHECK(vif.queues_max == 8u);
  for (const char* key : {"mac", "domain", "devid", "uuid", "nic", "mtu", "ip", "rx-filter",
                          "lock-mac", "lock-ip", "backlog-frames", "queues-max", "lcores",
                          "switching", "set-physaddr", "vlan", "rate", "rate-to-guest"}) {
    INFO(key);
    CHECK(all.find("\n" + std::string(key) + " = ") != all.npos);
  }
}

TEST_CASE("xls_words_belong_in_the_xl_file") {
  for (const std::string key : {"script", "backend", "bridge", "vifname", "trusted"}) {
    CHECK(vif_problem(mac_line + key + " = \"x\"\n") ==
          "vif.d/a.toml:2: '" + key + "' belongs in the xl file");
  }
}

TEST_CASE("addresses_of_a_vif_file_are_checked_when_they_lock") {
  const std::string bad = std::string(mac_line) + "ip = \"the mail server\"\n";
  CHECK(vif_problem(bad) ==
        "vif.d/a.toml:2: 'ip' must be addresses like \"192.0.2.1 2001:db8::1\" or prefixes like "
        "\"192.0.2.0/28\", not \"the\"; for people alone with lock-ip = false");
  CHECK(vif_problem(bad + "lock-ip = true\n") != "accepted");
  CHECK(vif_problem(bad + "lock-ip = false\n") == "accepted");
  CHECK(vif_problem(bad + "lock-ip = false\n", defaults_with_lock(true)) == "accepted");
}

TEST_CASE("addresses_of_a_vif_file_lock_as_the_defaults_say_when_it_does_not") {
  const std::string bad = std::string(mac_line) + "ip = \"the mail server\"\n";
  CHECK(vif_problem(bad, defaults_with_lock(false)) == "accepted");
  CHECK(vif_problem(bad, defaults_with_lock(true)) == vif_problem(bad));
  CHECK(vif_problem(bad + "lock-ip = true\n", defaults_with_lock(false)) == vif_problem(bad));
}

TEST_CASE("a_vif_may_have_several_cpus_to_choose_from") {
  CHECK(vif_problem(std::string(mac_line) + "lcores = [1, 2]\n") == "accepted");
}

TEST_CASE("values_of_a_vif_file_are_checked") {
  const std::string mac = mac_line;
  CHECK(vif_problem(mac + "mtu = \"big\"\n") ==
        "vif.d/a.toml:2: 'mtu' must be a whole number from 68 to 65517, not \"big\"");
  CHECK(vif_problem(mac + "backlog-frames = 0\n") ==
        "vif.d/a.toml:2: 'backlog-frames' must be a whole number from 1 to 512, not 0");
  CHECK(vif_problem(mac + "backlog-frames = 1\n") == "accepted");
  CHECK(vif_problem(mac + "backlog-frames = 513\n") != "accepted");
  CHECK(vif_problem(mac + "queues-max = 0\n") ==
        "vif.d/a.toml:2: 'queues-max' must be a whole number from 1 to 8, not 0");
  CHECK(vif_problem(mac + "queues-max = 1\n") == "accepted");
  CHECK(vif_problem(mac + "queues-max = 9\n") != "accepted");
  CHECK(vif_problem(mac + "devid = -1\n") ==
        "vif.d/a.toml:2: 'devid' must be a whole number from 0 to 2147483647, not -1");
  CHECK(vif_problem(mac + "domain = \"\"\n") ==
        "vif.d/a.toml:2: 'domain' must be a text that is not empty, not \"\"");
  for (const std::string vlan : {"0", "4095", "-1"})
    CHECK(vif_problem(mac + "vlan = " + vlan + "\n") ==
          "vif.d/a.toml:2: 'vlan' must be a whole number from 1 to 4094, not " + vlan);
  for (const std::string vlan : {"1", "4094"})
    CHECK(vif_problem(mac + "vlan = " + vlan + "\n") == "accepted");
  for (const std::string key : {"rate", "rate-to-guest"})
    CHECK(vif_problem(mac + key + " = \"fast\"\n") ==
          "vif.d/a.toml:2: '" + key +
              "' must be like \"10Mb/s\", \"250KB/s\" or \"1MB/s@20ms\", not \"fast\"");
  CHECK(vif_problem(mac + "mtuu = 1\n") ==
        "vif.d/a.toml:2: unknown key 'mtuu', did you mean 'mtu'?");
  CHECK(vif_problem("mac = \n").starts_with("vif.d/a.toml:1: "));
}

TEST_CASE("a_mac_is_one_interfaces_address") {
  const auto mac = [](const std::string& text) { return vif_problem("mac = \"" + text + "\"\n"); };
  CHECK(mac("00:16:3e:01:02:03") == "accepted");
  CHECK(mac("FE:FF:ff:FF:ff:FF") == "accepted");
  for (const std::string text : {"00:16:3e:01:02", "00:16:3e:01:02:03:04", "00-16-3e-01-02-03",
                                 "00:16:3e:01:02:0g", "0:16:3e:1:2:3", " 00:16:3e:01:02:03"}) {
    CHECK(mac(text) ==
          "vif.d/a.toml:1: 'mac' must be a MAC address like 00:16:3e:01:02:03, not \"" + text +
              "\"");
  }
  for (const char digit : std::string("13579bdfBDF")) {
    const std::string text = std::string("0") + digit + ":00:5e:00:00:01";
    CHECK(mac(text) ==
          "vif.d/a.toml:1: 'mac' must be the MAC address of one interface, not \"" + text + "\"");
  }
  for (const char digit : std::string("02468aceACE")) {
    CHECK(mac(std::string("1") + digit + ":00:5e:00:00:01") == "accepted");
  }
  CHECK(mac("00:00:00:00:00:00") ==
        "vif.d/a.toml:1: 'mac' must be a MAC address other than zero, not \"00:00:00:00:00:00\"");
}

TEST_CASE("a_uuid_has_its_shape") {
  const auto uuid = [](const std::string& text) {
    return vif_problem("devid = 0\nuuid = \"" + text + "\"\n");
  };
  CHECK(uuid(some_uuid) == "accepted");
  for (const std::string text : {"c0ffee00", "c0ffee00-1234-5678-9abc-def01234567",
                                 "g0ffee00-1234-5678-9abc-def012345678"}) {
    CHECK(uuid(text) ==
          "vif.d/a.toml:2: 'uuid' must be like c0ffee00-1234-5678-9abc-def012345678, not \"" +
              text + "\"");
  }
}

TEST_CASE("a_vif_file_says_which_vif_it_is_about") {
  const std::string which =
      "vif.d/a.toml:1: which vif? Give mac, or domain and devid, or uuid and "
      "devid";
  const std::string uuid = "uuid = \"" + std::string(some_uuid) + "\"\n";
  CHECK(vif_problem("") == which);
  CHECK(vif_problem("devid = 0\n") == which);
  CHECK(vif_problem("domain = \"guest1\"\n") == which);
  CHECK(vif_problem(uuid) == which);
  CHECK(vif_problem("domain = \"guest1\"\n" + uuid) == which);
  CHECK(vif_problem("domain = \"guest1\"\ndevid = 0\n") == "accepted");
  CHECK(vif_problem(uuid + "devid = 0\n") == "accepted");
  CHECK(vif_problem(mac_line) == "accepted");
  // The misspelt key says more than the missing one.
  CHECK(vif_problem("\nmca = \"00:16:3e:01:02:03\"\n") ==
        "vif.d/a.toml:2: unknown key 'mca', did you mean 'mac'?");
}

TEST_CASE("only_toml_files_are_read_in_order_of_name") {
  ConfigDirectory directory;
  directory.write("vif.d/b.toml", "mac = \"00:16:3e:00:00:0b\"\n");
  directory.write("vif.d/a.toml", "mac = \"00:16:3e:00:00:0a\"\n");
  directory.write("vif.d/c.toml", "mac = \"00:16:3e:00:00:0c\"\n");
  directory.write("vif.d/example.toml.sample", "nonsense");
  directory.write("vif.d/a.toml~", "nonsense");
  directory.write("d.toml", "nonsense");
  std::vector<Error> errors;
  const std::vector<VifConfig> files = read_vif_configs(directory.path(), errors, {});
  CHECK(errors.empty());
  REQUIRE(files.size() == 3);
  CHECK(files[0].mac == "00:16:3e:00:00:0a");
  CHECK(files[1].mac == "00:16:3e:00:00:0b");
  CHECK(files[2].mac == "00:16:3e:00:00:0c");
}

TEST_CASE("no_vif_directory_is_no_files_and_a_broken_one_is_an_error") {
  ConfigDirectory directory;
  std::vector<Error> errors;
  CHECK(read_vif_configs(directory.path(), errors, {}).empty());
  CHECK(errors.empty());
  directory.write("vif.d", "a file");
  CHECK(read_vif_configs(directory.path(), errors, {}).empty());
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].message == directory.path_of("vif.d") + ": Not a directory");
}

TEST_CASE("a_bad_file_refuses_the_vif_that_it_is_about_and_no_other") {
  ConfigDirectory directory;
  directory.write("vif.d/bad.toml", "mac = \"00:16:3e:01:02:0a\"\nmtu = 1\n");
  directory.write("vif.d/broken.toml", "mac = \n");
  directory.write("vif.d/good.toml", "mac = \"00:16:3e:01:02:0b\"\n");
  std::vector<Error> errors;
  const std::vector<VifConfig> files = read_vif_configs(directory.path(), errors, {});
  CHECK(errors.size() == 2);
  REQUIRE(files.size() == 2);
  auto refused = match_vif(files, {.mac = "00:16:3e:01:02:0a"});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message == directory.path_of("vif.d/bad.toml") +
                                       ":2: 'mtu' must be a whole number from 68 to 65517, not 1");
  auto good = match_vif(files, {.mac = "00:16:3e:01:02:0b"});
  REQUIRE(good);
  CHECK(good.value()->file == directory.path_of("vif.d/good.toml"));
}

TEST_CASE("two_files_for_one_vif_are_an_error_that_names_both") {
  ConfigDirectory directory;
  directory.write("vif.d/a.toml", mac_line);
  directory.write("vif.d/b.toml", "mac = \"00:16:3E:01:02:03\"\n");
  std::vector<Error> errors;
  read_vif_configs(directory.path(), errors, {});
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].message == directory.path_of("vif.d/a.toml") + " and " +
                                 directory.path_of("vif.d/b.toml") + " match the same vif");
}

TEST_CASE("files_overlap_when_they_share_a_name_and_differ_in_none") {
  const std::string uuid = "uuid = \"" + std::string(some_uuid) + "\"\n";
  const std::string other_uuid = "uuid = \"d0ffee00-1234-5678-9abc-def012345678\"\n";
  CHECK(quarrels("domain = \"x\"\ndevid = 0\n", "domain = \"x\"\ndevid = 0\n") == 1);
  CHECK(quarrels("domain = \"x\"\ndevid = 0\n", "domain = \"x\"\ndevid = 1\n") == 0);
  CHECK(quarrels("domain = \"x\"\ndevid = 0\n", "domain = \"y\"\ndevid = 0\n") == 0);
  CHECK(quarrels(uuid + "devid = 0\n", uuid + "devid = 0\n") == 1);
  CHECK(quarrels(uuid + "devid = 0\n", other_uuid + "devid = 0\n") == 0);
  CHECK(quarrels(uuid + "devid = 0\n", "domain = \"x\"\ndevid = 0\n") == 0);
  CHECK(quarrels(mac_line, mac_line + uuid) == 1);
  CHECK(quarrels(mac_line + uuid, mac_line + other_uuid) == 0);
  CHECK(quarrels(mac_line, "domain = \"x\"\ndevid = 0\n") == 0);
  CHECK(quarrels(mac_line, "mac = \"00:16:3e:01:02:04\"\n") == 0);
}

TEST_CASE("a_file_matches_by_mac_in_either_case") {
  CHECK(matches(by_mac("00:16:3e:01:02:0a"), guest));
  CHECK_FALSE(matches(by_mac("00:16:3e:01:02:0b"), guest));
}

TEST_CASE("a_file_matches_by_domain_and_devid") {
  CHECK(matches(by_domain("guest1", 1), guest));
  CHECK_FALSE(matches(by_domain("guest1", 0), guest));
  CHECK_FALSE(matches(by_domain("Guest1", 1), guest));
}

TEST_CASE("a_file_matches_by_uuid_and_devid") {
  CHECK(matches(by_uuid(some_uuid, 1), guest));
  CHECK_FALSE(matches(by_uuid(some_uuid, 0), guest));
  CHECK_FALSE(matches(by_uuid("d0ffee00-1234-5678-9abc-def012345678", 1), guest));
  VifIdentity shouting = guest;
  shouting.uuid = "C0FFEE00-1234-5678-9ABC-DEF012345678";
  CHECK(matches(by_uuid(some_uuid, 1), shouting));
}

TEST_CASE("a_vif_must_agree_with_all_that_a_file_says_of_it") {
  VifConfig file = by_mac("00:16:3e:01:02:0a");
  file.domain = "guest2";
  CHECK_FALSE(matches(file, guest));
  file.domain = "guest1";
  CHECK(matches(file, guest));
}

TEST_CASE("no_file_is_no_match_and_two_are_an_error") {
  auto none = match_vif({}, guest);
  REQUIRE(none);
  CHECK_FALSE(none.value());
  auto two = match_vif({by_mac("00:16:3e:01:02:0a"), by_domain("guest1", 1)}, guest);
  REQUIRE_FALSE(two);
  CHECK(two.error().message == "by-mac and by-domain match the same vif");
  CHECK(two.error().fix != "");
  auto one = match_vif({by_mac("00:16:3e:01:02:0b"), by_domain("guest1", 1)}, guest);
  REQUIRE(one);
  CHECK(one.value()->file == "by-domain");
}

}  // namespace netback
