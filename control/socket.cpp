#include "control/socket.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace netback {

Result<std::unique_ptr<ControlSocket>> ControlSocket::open(Loop& loop, const std::string& path,
                                                           Handler handler,
                                                           std::chrono::milliseconds patience) {
  sockaddr_un address{.sun_family = AF_UNIX};
  if (path.size() >= sizeof address.sun_path) return Error{"the path is too long: " + path};
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno_error("cannot make a socket");
  unlink(path.c_str());
  const mode_t before = umask(0177);  // never open to others, not even for a moment
  const int bound = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  umask(before);
  if (bound != 0 || listen(fd, clients_max) != 0) {
    Error error = errno_error("cannot listen at " + path);
    close(fd);
    return error;
  }
  std::unique_ptr<ControlSocket> made(
      new ControlSocket(loop, path, fd, std::move(handler), patience));
  Status added = loop.add(
      fd, [self = made.get()](uint32_t) { self->accept_clients(); }, EPOLLIN);
  if (!added) return added.error();
  return made;
}

ControlSocket::ControlSocket(Loop& loop, std::string path, int fd, Handler handler,
                             std::chrono::milliseconds patience)
    : loop_(loop),
      path_(std::move(path)),
      fd_(fd),
      handler_(std::move(handler)),
      patience_(patience) {}

ControlSocket::~ControlSocket() {
  while (!clients_.empty()) drop(clients_.begin()->first);
  loop_.remove(fd_);
  close(fd_);
  unlink(path_.c_str());
}

void ControlSocket::accept_clients() {
  for (;;) {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (clients_.size() >= clients_max ||
        !loop_.add(
            fd, [this, fd](uint32_t events) { handle(fd, events); }, EPOLLIN)) {
      close(fd);
      continue;
    }
    clients_.emplace(fd, Client{});
  }
}

void ControlSocket::handle(int fd, uint32_t events) {
  Client& client = clients_.at(fd);
  bool keep = true;
  if (events & (EPOLLERR | EPOLLHUP)) keep = false;
  if (keep && (events & EPOLLIN)) keep = receive(fd, client);
  if (keep) keep = answer(fd, client);
  if (!keep) drop(fd);
}

bool ControlSocket::receive(int fd, Client& client) {
  std::array<char, 4096> bytes;
  const ssize_t count = recv(fd, bytes.data(), bytes.size(), 0);
  if (count == 0) return false;
  if (count < 0) return errno == EAGAIN || errno == EINTR;
  client.input.append(bytes.data(), static_cast<size_t>(count));
  return client.input.size() <= line_bytes_max;
}

// One answer at a time: the next request waits until the last answer is gone.
bool ControlSocket::answer(int fd, Client& client) {
  for (;;) {
    if (client.output.empty()) {
      const size_t end = client.input.find('\n');
      if (end == std::string::npos) break;
      client.output = handler_(client.input.substr(0, end)) + "\n";
      client.input.erase(0, end + 1);
    }
    const ssize_t sent = send(fd, client.output.data(), client.output.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (sent > 0) client.output.erase(0, static_cast<size_t>(sent));
    if (!client.output.empty()) break;
    loop_.cancel(std::exchange(client.timer, 0));  // each answer has the whole patience
  }
  const bool waits = !client.output.empty();
  loop_.change(fd, waits ? EPOLLOUT : EPOLLIN);
  if (waits && client.timer == 0) client.timer = loop_.after(patience_, [this, fd] { drop(fd); });
  return true;
}

void ControlSocket::drop(int fd) {
  const auto found = clients_.find(fd);
  if (found == clients_.end()) return;
  loop_.cancel(found->second.timer);
  clients_.erase(found);
  loop_.remove(fd);
  close(fd);
}

}  // namespace netback
