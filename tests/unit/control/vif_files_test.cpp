// Vif files that come, change and go while the daemon runs.
#include "control/vif_files.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <sstream>

#include "tests/unit/control/config_files.hpp"

using namespace netback;
using namespace netback::test;

namespace {

constexpr char one[] = "vif.d/one.toml", two[] = "vif.d/two.toml";
constexpr char text_one[] = "mac = \"00:16:3e:00:00:01\"\nmtu = 1000\n";
constexpr char text_two[] = "mac = \"00:16:3e:00:00:02\"\nmtu = 1000\n";

// Files of an hour ago.
struct Directory : ConfigDirectory {
  VifConfig defaults;
  VifFiles files{path(), defaults};

  // `ago`: when it was last modified.
  void put(const std::string& file, const std::string& text, int seconds_ago = 3600) {
    write(file, text);
    const timespec then{.tv_sec = time(nullptr) - seconds_ago, .tv_nsec = 0};
    const timespec times[2] = {then, then};
    REQUIRE(utimensat(AT_FDCWD, path_of(file).c_str(), times, 0) == 0);
  }
  std::optional<uint32_t> mtu(size_t of) { return files.read().at(of).mtu; }
};

// What is logged while it lives.
class Log {
 public:
  Log() {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_st>(stream_);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("", sink));
  }
  ~Log() { spdlog::set_default_logger(before_); }
  std::string text() const { return stream_.str(); }

 private:
  std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  std::ostringstream stream_;
};

}  // namespace

TEST_CASE("vif_files_a_change_is_seen_however_soon_it_comes") {
  Directory d;
  d.put(one, text_one);
  d.put(two, text_two);
  CHECK(d.mtu(0) == 1000);
  for (uint32_t mtu = 1001; mtu < 1020; ++mtu) {  // same length, same second
    d.write(one, "mac = \"00:16:3e:00:00:01\"\nmtu = " + std::to_string(mtu) + "\n");
    CHECK(d.mtu(0) == mtu);
    CHECK(d.mtu(1) == 1000);
  }
}

TEST_CASE("vif_files_files_that_come_and_go_are_seen") {
  Directory d;
  CHECK(d.files.read().empty());
  d.put(two, text_two);
  CHECK(d.files.read().size() == 1);
  d.put(one, text_one);
  REQUIRE(d.files.read().size() == 2);
  CHECK(d.files.read()[0].mac == "00:16:3e:00:00:01");  // in order of name
  std::filesystem::remove(d.path_of(two));
  CHECK(d.files.read().size() == 1);
  std::filesystem::remove_all(d.path_of("vif.d"));
  CHECK(d.files.read().empty());
}

TEST_CASE("vif_files_a_bad_file_stands_for_its_vif_until_it_is_mended") {
  Directory d;
  d.put(one, "mac = \"00:16:3e:00:00:01\"\nmtu = 1\n");
  d.put(two, "nonsense");  // of no vif
  Log log;
  REQUIRE(d.files.read().size() == 1);
  CHECK(log.text().find(d.path_of(two) + ":1: ") != std::string::npos);
  CHECK(log.text().find("; no vif has these settings") != std::string::npos);
  CHECK(log.text().find(d.path_of(one)) == std::string::npos);  // its vif says why
  CHECK_FALSE(d.files.read()[0].error.empty());
  d.put(one, text_one);
  CHECK(d.files.read()[0].error.empty());
}

TEST_CASE("vif_files_an_ip_locks_as_the_defaults_say") {
  Directory d;
  d.put(one, std::string(text_one) + "ip = \"the mail server\"\n");
  d.defaults.lock_ip = false;
  CHECK(d.files.read().at(0).error.empty());
  d.put(one, std::string(text_one) + "ip = \"the mail server\"\nlock-ip = true\n");
  CHECK(d.files.read().at(0).error.find("'ip' must be addresses") != std::string::npos);
}

TEST_CASE("vif_files_what_has_not_changed_for_a_while_is_not_read_again") {
  Directory d;
  d.put(one, text_one);
  d.put(two, text_two);
  // What the kernel says of the change of a file cannot be set back: wait it out.
  const auto settled = [&] {
    const uint64_t before = d.files.files_read();
    d.files.read();
    return d.files.files_read() == before;
  };
  for (int i = 0; i < 100 && !settled(); ++i) usleep(50'000);
  CHECK(settled());
  d.put(two, text_one);
  const uint64_t before = d.files.files_read();
  d.files.read();
  CHECK(d.files.files_read() == before + 1);
}
