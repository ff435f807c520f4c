// The hypervisor's loop: actions for descriptors that can be read.
#pragma once

#include <poll.h>

#include <functional>
#include <map>
#include <vector>

namespace xenlab {

class Poller {
 public:
  using Action = std::function<void()>;

  void add(int fd, Action action, short events = POLLIN) {
    watched_[fd] = {std::move(action), events};
  }
  void set_events(int fd, short events) { watched_[fd].events = events; }
  void remove(int fd) { watched_.erase(fd); }
  void stop() { stopped_ = true; }

  void run() {
    while (!stopped_) {
      std::vector<pollfd> fds;
      for (const auto& [fd, watched] : watched_) fds.push_back({fd, watched.events, 0});
      if (poll(fds.data(), fds.size(), -1) < 0) continue;
      for (const pollfd& seen : fds) {
        const auto found = watched_.find(seen.fd);
        if (seen.revents == 0 || found == watched_.end()) continue;
        const Action action = found->second.action;  // it may remove itself
        action();
      }
    }
  }

 private:
  struct Watched {
    Action action;
    short events;
  };
  std::map<int, Watched> watched_;
  bool stopped_ = false;
};

}  // namespace xenlab
