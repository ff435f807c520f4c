#include "control/loop.hpp"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>

namespace netback {

Result<std::unique_ptr<Loop>> Loop::make() {
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return errno_error("cannot make an epoll descriptor");
  return std::unique_ptr<Loop>(new Loop(fd));
}

Loop::~Loop() {
  if (signal_fd_ >= 0) close(signal_fd_);
  close(epoll_fd_);
}

Status Loop::add(int fd, std::function<void(uint32_t)> action, uint32_t events) {
  epoll_event event{.events = events, .data = {.fd = fd}};
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0)
    return errno_error("cannot wait for a descriptor",
                       errno == ENOSPC ? "raise fs.epoll.max_user_watches" : "");
  actions_[fd] = std::make_shared<std::function<void(uint32_t)>>(std::move(action));
  return Done{};
}

void Loop::change(int fd, uint32_t events) {
  epoll_event event{.events = events, .data = {.fd = fd}};
  epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
}

void Loop::remove(int fd) {
  if (actions_.erase(fd) != 0) epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
}

Loop::TimerId Loop::at(Clock::time_point when, Action action) {
  const TimerId id = next_timer_++;
  timers_.emplace(std::pair(when, id), std::move(action));
  return id;
}

void Loop::cancel(TimerId timer) {
  std::erase_if(timers_, [timer](const auto& entry) { return entry.first.second == timer; });
}

Status Loop::take_signals(std::initializer_list<int> signals, SignalAction action) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) return errno_error("cannot block signals");
  signal_fd_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (signal_fd_ < 0) return errno_error("cannot make a signal descriptor");
  const auto read_signal = [this, action = std::move(action)](uint32_t) {
    signalfd_siginfo info;
    while (read(signal_fd_, &info, sizeof info) == sizeof info)
      action(static_cast<int>(info.ssi_signo));
  };
  return add(signal_fd_, read_signal, EPOLLIN);
}

void Loop::run() {
  while (!stopping_) run_once(std::chrono::hours(1));
}

int Loop::wait_ms(Clock::duration timeout) const {
  if (!timers_.empty()) {
    const auto due = timers_.begin()->first.first;
    const auto now = Clock::now();
    timeout = due <= now ? Clock::duration::zero() : std::min(timeout, due - now);
  }
  // Rounded up: waking before the time would spin until it comes.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  return static_cast<int>(std::min<long long>(ms, INT_MAX));
}

void Loop::run_once(Clock::duration timeout) {
  std::array<epoll_event, 64> events;
  const int count = epoll_wait(epoll_fd_, events.data(), events.size(), wait_ms(timeout));
  for (int i = 0; i < count; ++i) {
    // An action of this round may have removed the descriptor, or may remove its own.
    const auto found = actions_.find(events[i].data.fd);
    if (found == actions_.end()) continue;
    const auto action = found->second;
    (*action)(events[i].events);
  }
  run_timers();
}

void Loop::run_timers() {
  const auto now = Clock::now();
  const TimerId newer = next_timer_;  // those made by these actions wait for the next round
  while (!timers_.empty()) {
    const auto first = timers_.begin();
    if (first->first.first > now || first->first.second >= newer) return;
    const Action action = std::move(first->second);
    timers_.erase(first);
    action();
  }
}

}  // namespace netback
