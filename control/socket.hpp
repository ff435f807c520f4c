// The control socket: a line of JSON in, a line of JSON out. A client that sends too much or does
// not read its answers is dropped; none can hold up the loop.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "control/loop.hpp"
#include "lib/base/result.hpp"

namespace netback {

class ControlSocket {
 public:
  static constexpr size_t line_bytes_max = 64 * 1024;
  static constexpr size_t clients_max = 16;
  static constexpr std::chrono::milliseconds client_patience{5'000};  // for an unread answer

  // The answer to one request line, without its end of line.
  using Handler = std::function<std::string(const std::string& line)>;

  // Makes the socket at `path`, for root only; a file that is there already is replaced (the lock
  // says that nobody serves it).
  static Result<std::unique_ptr<ControlSocket>> open(
      Loop& loop, const std::string& path, Handler handler,
      std::chrono::milliseconds patience = client_patience);
  ~ControlSocket();  // removes the file
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

 private:
  struct Client {
    std::string input;   // bytes of requests not yet answered
    std::string output;  // of one answer, not yet sent
    Loop::TimerId timer = 0;
  };

  ControlSocket(Loop& loop, std::string path, int fd, Handler handler,
                std::chrono::milliseconds patience);
  void accept_clients();
  void handle(int fd, uint32_t events);
  bool receive(int fd, Client& client);  // false: the client is to be dropped
  bool answer(int fd, Client& client);   // the same
  void drop(int fd);

  Loop& loop_;
  const std::string path_;
  const int fd_;
  const Handler handler_;
  const std::chrono::milliseconds patience_;
  std::map<int, Client> clients_;
};

}  // namespace netback
