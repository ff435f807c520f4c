// netbackctl's end of the control socket.
#pragma once

#include <nlohmann/json.hpp>

#include <memory>
#include <string>

namespace netback::ctl {

using Json = nlohmann::ordered_json;

// What ends netbackctl with an error: a line on stderr and an exit code.
struct Failure {
  int code;
  std::string error;
  std::string fix = {};
};

class Client {
 public:
  // `path` may change until the first ask().
  explicit Client(const std::string& path) : path_(path) {}
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The answer's "result". Connects at first. Throws Failure: no daemon, no answer, refused.
  Json ask(const std::string& verb, const Json& args = Json::object());
  // Waits until the daemon is gone, which is when its lock is free; false: it is still there.
  bool wait_for_end(int seconds);

 private:
  void connect();
  std::string exchange(const std::string& line);

  const std::string& path_;
  int fd_ = -1;
  std::string input_;
};

}  // namespace netback::ctl
