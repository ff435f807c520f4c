#include "control/ctl/client.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "control/startup.hpp"

namespace netback::ctl {
namespace {

constexpr timeval answer_timeout = {.tv_sec = 10, .tv_usec = 0};

}  // namespace

Client::~Client() {
  if (fd_ >= 0) close(fd_);
}

void Client::connect() {
  sockaddr_un address{.sun_family = AF_UNIX};
  if (path_.size() >= sizeof address.sun_path)
    throw Failure{exit_code::usage, "the socket's path is too long"};
  path_.copy(address.sun_path, path_.size());
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &answer_timeout, sizeof answer_timeout);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
  if (errno == EACCES || errno == EPERM)
    throw Failure{exit_code::failed, fmt::format("may not talk to {}", path_), "run as root"};
  throw Failure{exit_code::nobody, fmt::format("no dpdk-netback at {}", path_),
                "systemctl start dpdk-netback, or give --socket PATH"};
}

std::string Client::exchange(const std::string& line) {
  if (fd_ < 0) connect();
  if (send(fd_, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    throw Failure{exit_code::failed, "dpdk-netback closed the connection"};
  std::array<char, 65536> bytes;
  for (;;) {
    if (const size_t end = input_.find('\n'); end != std::string::npos) {
      std::string answer = input_.substr(0, end);
      input_.erase(0, end + 1);
      return answer;
    }
    const ssize_t count = recv(fd_, bytes.data(), bytes.size(), 0);
    if (count <= 0)
      throw Failure{exit_code::failed, count == 0 ? "dpdk-netback closed the connection"
                                                  : "dpdk-netback does not answer"};
    input_.append(bytes.data(), static_cast<size_t>(count));
  }
}

Json Client::ask(const std::string& verb, const Json& args) {
  const Json answer =
      Json::parse(exchange(Json{{"verb", verb}, {"args", args}}.dump() + "\n"), nullptr, false);
  if (!answer.is_object() || !answer.contains("ok"))
    throw Failure{exit_code::failed, "dpdk-netback's answer makes no sense"};
  if (answer["ok"] == true) return answer["result"];
  throw Failure{answer.value("code", exit_code::failed), answer.value("error", "failed"),
                answer.value("fix", "")};
}

bool Client::wait_for_end(int seconds) {
  using namespace std::chrono_literals;
  const int lock = open((path_ + ".lock").c_str(), O_RDWR | O_CLOEXEC);
  if (lock < 0) return true;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  bool free = false;
  while (!free && std::chrono::steady_clock::now() < deadline) {
    free = flock(lock, LOCK_EX | LOCK_NB) == 0;
    if (!free) std::this_thread::sleep_for(20ms);
  }
  close(lock);
  return free;
}

}  // namespace netback::ctl
