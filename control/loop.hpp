// The control thread's event loop: descriptors, timers, signals. Everything in control/ runs inside
// a callback of it, one at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>

#include "lib/base/result.hpp"

namespace netback {

class Loop {
 public:
  using Clock = std::chrono::steady_clock;
  using Action = std::function<void()>;
  using SignalAction = std::function<void(int signal)>;
  using TimerId = uint64_t;

  static Result<std::unique_ptr<Loop>> make();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Calls `action` while `fd` is readable (level-triggered); the caller keeps the descriptor and
  // removes it before closing it. With `events` EPOLLOUT as well.
  Status add(int fd, std::function<void(uint32_t events)> action, uint32_t events);
  void change(int fd, uint32_t events);
  void remove(int fd);

  // Once, at `when` or a little later. cancel() of a timer that is over is harmless.
  TimerId at(Clock::time_point when, Action action);
  TimerId after(Clock::duration delay, Action action) { return at(Clock::now() + delay, action); }
  void cancel(TimerId timer);
  // After the callbacks of this round: for what must not run inside the caller.
  void defer(Action action) { at(Clock::time_point::min(), std::move(action)); }

  // These signals come through the loop from now on. Once; before other threads are started, so
  // that they inherit the mask.
  Status take_signals(std::initializer_list<int> signals, SignalAction action);

  // Until stop().
  void run();
  void stop() { stopping_ = true; }
  // Waits for events at most `timeout`, handles them and the timers that are due.
  void run_once(Clock::duration timeout);

 private:
  explicit Loop(int epoll_fd) : epoll_fd_(epoll_fd) {}
  void run_timers();
  int wait_ms(Clock::duration timeout) const;

  int epoll_fd_;
  int signal_fd_ = -1;
  bool stopping_ = false;
  TimerId next_timer_ = 1;
  std::map<int, std::shared_ptr<std::function<void(uint32_t)>>> actions_;  // by descriptor
  std::map<std::pair<Clock::time_point, TimerId>, Action> timers_;         // by time
};

}  // namespace netback
