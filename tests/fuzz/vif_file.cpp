// Two vif files, and what the toolstack wrote into xenstore, with lines of "---" between them:
// read, matched with a vif and brought together.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "control/config.hpp"
#include "control/config_vif.hpp"
#include "tests/fuzz/keys.hpp"
#include "tests/fuzz/reached.hpp"

using namespace netback;

namespace {

// A configuration directory, in memory where the machine has such a file system.
class Directory {
 public:
  Directory() {
    const bool shm = access("/dev/shm", W_OK) == 0;
    std::string name = shm ? "/dev/shm/netback-fuzz-XXXXXX" : "/tmp/netback-fuzz-XXXXXX";
    NETBACK_CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
    std::filesystem::create_directory(path_ / "vif.d");
  }
  ~Directory() { std::filesystem::remove_all(path_); }

  void write(const char* name, std::string_view text) const {
    const auto file = path_ / "vif.d" / name;
    std::ofstream(file, std::ios::binary) << text;
  }
  void remove(const char* name) const { std::filesystem::remove(path_ / "vif.d" / name); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

// The part before the next line of "---", which is taken off `text`.
std::string_view part(std::string_view& text) {
  constexpr std::string_view line = "---\n";
  const size_t end = text.starts_with(line) ? 0 : text.find("\n---\n");
  if (end == text.npos) return std::exchange(text, {});
  const size_t bytes = text.starts_with(line) ? 0 : end + 1;
  const std::string_view before = text.substr(0, bytes);
  text.remove_prefix(bytes + line.size());
  return before;
}

const VifIdentity vif{.mac = "00:16:3E:00:00:01",
                      .domain = "g1",
                      .uuid = "c0ffee00-1234-5678-9abc-def012345678",
                      .devid = 0};

DaemonConfig daemon_config(bool with_default) {
  DaemonConfig config;
  config.lcores = {3, 4};
  config.ports = {{.name = "p", .device = "net_null0", .mtu = 9000, .bridge = "xenbr0"},
                  {.name = "q", .device = "net_null1", .mtu = 1500, .bridge = ""}};
  if (with_default) config.defaults.nic = "q";
  return config;
}

// What a vif is attached with.
void check(const EffectiveVif& settings) {
  NETBACK_CHECK(settings.nic.value == "p" || settings.nic.value == "q");
  NETBACK_CHECK(checked_mac(settings.mac.value).ok());
  NETBACK_CHECK(settings.mtu.value >= mtu_min && settings.mtu.value <= mtu_max);
  NETBACK_CHECK(settings.backlog_frames.value >= 1 &&
                settings.backlog_frames.value <= limits::backlog_frames_max);
  for (const std::string& warning : settings.warnings) fuzz::say({warning});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Directory directory;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  directory.write("a.toml", part(text));
  directory.write("b.toml", part(text));
  const auto xenstore = fuzz::keys_of(text);

  std::vector<Error> errors;
  const auto files = read_vif_configs(directory.path(), errors, {});
  for (const Error& error : errors) fuzz::say(error);
  const auto file = match_vif(files, vif);
  if (!file) {
    fuzz::say(file.error());
    return 0;
  }
  for (const bool with_default : {false, true}) {
    const auto settings =
        effective_settings(Result(file).value(), xenstore, daemon_config(with_default));
    if (settings)
      check(Result(settings).value());
    else
      fuzz::say(settings.error());
  }
  return 0;
}
