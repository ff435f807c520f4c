// Clients of the control socket, good and bad.
#include "control/socket.hpp"

#include <catch2/catch.hpp>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <vector>

#include "tests/unit/control/config_files.hpp"

using namespace netback;
using namespace netback::test;
using namespace std::chrono_literals;

namespace {

// A loop that serves a socket; "big" is answered with more than a socket holds.
struct Server {
  static constexpr size_t big_bytes = 2 << 20;
  ConfigDirectory directory;
  std::string path = directory.path_of("control.sock");
  std::unique_ptr<Loop> loop = std::move(Loop::make()).value();
  std::unique_ptr<ControlSocket> socket;

  explicit Server(std::chrono::milliseconds patience = ControlSocket::client_patience)
      : socket(std::move(ControlSocket::open(
                             *loop, path,
                             [](const std::string& line) {
                               return line == "big" ? std::string(big_bytes, 'x')
                                                    : "<" + line + ">";
                             },
                             patience))
                   .value()) {}
  void run() {
    for (int i = 0; i < 20; ++i) loop->run_once(0ms);
  }
};

struct Client {
  int fd;
  explicit Client(const Server& server) : fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    server.path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ~Client() { close(fd); }
  Client(const Client&) = delete;

  void say(const std::string& text) const {
    REQUIRE(send(fd, text.data(), text.size(), MSG_NOSIGNAL) == ssize_t(text.size()));
  }
  // What has come so far.
  std::string hear() const {
    std::string all(1 << 20, 0);
    const ssize_t count = recv(fd, all.data(), all.size(), 0);
    all.resize(count > 0 ? size_t(count) : 0);
    return all;
  }
  bool dropped() const {
    char byte;
    const ssize_t count = recv(fd, &byte, 1, MSG_PEEK);
    return count == 0 || (count < 0 && errno == ECONNRESET);
  }
};

}  // namespace

TEST_CASE("socket_lines_are_answered_in_order_whole_or_in_pieces") {
  Server server;
  const Client client(server);
  client.say("one\ntwo\nthr");
  server.run();
  CHECK(client.hear() == "<one>\n<two>\n");
  client.say("ee\n");
  server.run();
  CHECK(client.hear() == "<three>\n");
}

TEST_CASE("socket_is_for_root_only_and_goes_with_its_owner") {
  Server server;
  struct stat status {};
  REQUIRE(stat(server.path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  server.socket.reset();
  CHECK(stat(server.path.c_str(), &status) != 0);
}

TEST_CASE("socket_one_client_more_than_there_are_places_is_sent_away_the_others_stay") {
  Server server;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i <= ControlSocket::clients_max; ++i) {
    clients.push_back(std::make_unique<Client>(server));
    server.run();
  }
  CHECK(clients.back()->dropped());
  clients.pop_back();
  for (const auto& client : clients) {
    client->say("x\n");
    server.run();
    CHECK(client->hear() == "<x>\n");
  }
  clients.pop_back();
  server.run();
  const Client next(server);
  next.say("y\n");
  server.run();
  CHECK(next.hear() == "<y>\n");
}

TEST_CASE("socket_a_line_without_end_drops_its_client") {
  Server server;
  const Client client(server), other(server);
  server.run();
  const std::string piece(4096, 'a');
  for (size_t bytes = 0; bytes < ControlSocket::line_bytes_max; bytes += piece.size()) {
    CHECK_FALSE(client.dropped());
    client.say(piece);
    server.run();
  }
  CHECK_FALSE(client.dropped());
  client.say("a");
  server.run();
  CHECK(client.dropped());
  other.say("x\n");
  server.run();
  CHECK(other.hear() == "<x>\n");
}

TEST_CASE("socket_a_client_that_does_not_read_is_dropped_when_patience_is_over") {
  Server server(600ms);
  const Client lazy(server), busy(server);
  lazy.say("big\n");
  busy.say("big\n");
  server.run();
  const auto end = Loop::Clock::now() + 800ms;
  size_t read = 0;
  while (Loop::Clock::now() < end || read < Server::big_bytes) {
    read += busy.hear().size();
    server.loop->run_once(1ms);
    if (busy.dropped()) break;
  }
  CHECK(read == Server::big_bytes + 1);  // with the end of the line
  size_t got = 0;
  for (std::string piece; !(piece = lazy.hear()).empty();) got += piece.size();
  CHECK(got < Server::big_bytes);
  CHECK(lazy.dropped());
}

// Found by the fuzz target of the control socket.
TEST_CASE("socket_a_client_that_asks_for_much_has_the_whole_patience_for_each_answer") {
  Server server(400ms);
  const Client slow(server);
  slow.say("big\nbig\nbig\nbig\n");
  for (int answer = 0; answer < 4; ++answer) {
    const auto end = Loop::Clock::now() + 200ms;
    while (Loop::Clock::now() < end) server.loop->run_once(10ms);
    std::vector<char> bytes(Server::big_bytes + 1);  // with the end of the line
    size_t read = 0;
    while (read < bytes.size()) {
      const ssize_t count = recv(slow.fd, &bytes[read], bytes.size() - read, 0);
      REQUIRE((count > 0 || (count < 0 && errno == EAGAIN)));
      if (count > 0) read += static_cast<size_t>(count);
      server.loop->run_once(1ms);
    }
    CHECK(bytes.back() == '\n');
  }
}
