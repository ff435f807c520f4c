// Lines to the control socket of a daemon that serves a connected vif, as a client sends them.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "control/daemon.hpp"
#include "lib/netfront/front_ring.hpp"
#include "tests/fuzz/reached.hpp"
#include "tests/unit/support/fake_store.hpp"
#include "tests/unit/support/fake_xen.hpp"
#include "tests/unit/support/test_guest.hpp"

using namespace netback;
using namespace netback::test;

namespace {

using Json = nlohmann::json;

constexpr char config[] = R"(
memory = "pages"
memory-mb = 64
frame-buffers = 1024
spin-us = 0
wait-for-hotplug = false
log-level = "error"
[[port]]
name = "p"
device = "net_null0,no-rx=1"
[defaults]
nic = "p"
)";
constexpr uint16_t domain = 5;

std::filesystem::path make_directory() {
  std::string name = "/tmp/netback-fuzz-XXXXXX";
  NETBACK_CHECK(mkdtemp(name.data()) != nullptr);
  std::ofstream(name + "/dpdk-netback.toml") << config;
  return name;
}

class Client {
 public:
  explicit Client(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    NETBACK_CHECK(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;

  // One answer for each line of `text`, in order.
  std::vector<std::string> ask(const std::string& text) {
    NETBACK_CHECK(send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == ssize_t(text.size()));
    const auto lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
    std::vector<std::string> answers;
    std::string said;
    char bytes[65536];
    while (answers.size() < lines) {
      const ssize_t count = recv(fd_, bytes, sizeof bytes, 0);
      if (count < 0 && errno == EINTR) continue;  // libFuzzer's alarm
      NETBACK_CHECK(count > 0);
      said.append(bytes, static_cast<size_t>(count));
      for (size_t end; (end = said.find('\n')) != said.npos; said.erase(0, end + 1))
        answers.push_back(said.substr(0, end));
    }
    NETBACK_CHECK(answers.size() == lines && said.empty());
    return answers;
  }

 private:
  const int fd_;
};

// A daemon, and a guest whose vif it serves.
class Host {
 public:
  Host() {
    FakeStore::instance().reset();
    xen().reset();
    std::string why;
    NETBACK_CHECK(startup_.run(why) == exit_code::done);
    make_vif();
    thread_ = std::thread([this] { daemon_.serve(); });
    while (Json::parse(
               Client(socket_).ask("{\"verb\": \"info\"}\n")[0])["result"]["vifs_connected"] != 1)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ~Host() {
    Client(socket_).ask("{\"verb\": \"stop\", \"args\": {\"drain\": true}}\n");
    thread_.join();
    startup_.undo();
    std::filesystem::remove_all(directory_);
  }
  const std::string& socket() const { return socket_; }

 private:
  static void make_vif() {
    FakeStore& nodes = FakeStore::instance();
    nodes.introduce(domain);
    const std::string front = "/local/domain/5/device/vif/0/";
    const std::string back = "/local/domain/0/backend/vif/5/0/";
    static Page rings[2];
    const char* keys[2][2] = {{"tx-ring-ref", "event-channel-tx"},
                              {"rx-ring-ref", "event-channel-rx"}};
    for (uint32_t i = 0; i < 2; ++i) {
      FromGuestFrontRing initialised(rings[i].bytes);  // both rings begin alike
      xen().grant(domain, 100 + i, rings[i].bytes);
      for (const char* key : keys[i]) nodes.set(front + key, std::to_string(100 + i));
    }
    nodes.set("/local/domain/5/name", "g5");
    nodes.set(front + "request-rx-copy", "1");
    nodes.set(front + "state", "4");
    nodes.set(back + "frontend", "/local/domain/5/device/vif/0");
    nodes.set(back + "online", "1");
    nodes.set(back + "mac", "00:16:3e:00:00:05");
    nodes.write(back + "state", "1");
  }

  const std::filesystem::path directory_ = make_directory();
  const std::string socket_ = directory_ / "control.sock";
  Daemon daemon_{{.config_directory = directory_, .socket = socket_, .log_level = {}}};
  Startup startup_{daemon_.steps()};
  std::thread thread_;
};

std::unique_ptr<Host>& host() {
  static std::unique_ptr<Host> made;
  return made;
}

// A run does not outlive the daemon.
bool ends_the_daemon(const std::string& line) {
  const Json request = Json::parse(line, nullptr, false);
  if (!request.is_object() || request.value("verb", Json()) != "stop") return false;
  const Json args = request.value("args", Json());
  return args.is_object() && args.value("drain", Json()) == true;
}

void check(const std::string& text) {
  const Json answer = Json::parse(text, nullptr, false);
  NETBACK_CHECK(answer.is_object() && answer.contains("ok"));
  if (answer["ok"] == true) {
    NETBACK_CHECK(answer["result"].is_object());
    return fuzz::reach("answered");
  }
  const int code = answer["code"];
  NETBACK_CHECK(code >= exit_code::failed && code <= exit_code::nobody);
  fuzz::say({answer["error"], answer.value("fix", "")});
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::expect("answered");
  host() = std::make_unique<Host>();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text;
  std::string_view left(reinterpret_cast<const char*>(data), size);
  while (!left.empty()) {
    const std::string line(left.substr(0, left.find('\n')));
    left.remove_prefix(std::min(left.size(), line.size() + 1));
    if (!ends_the_daemon(line)) text += line + "\n";
  }
  if (text.empty() || text.size() > ControlSocket::line_bytes_max) return 0;
  for (const std::string& answer : Client(host()->socket()).ask(text)) check(answer);
  return 0;
}
