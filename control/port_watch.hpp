// Looks at the ports' links, and at whether their devices are still there: closes what has gone,
// and opens it again when it is back.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "control/loop.hpp"
#include "control/port.hpp"
#include "control/worker_link.hpp"

namespace netback {

class PortWatch {
 public:
  static constexpr auto look_interval = std::chrono::milliseconds(250);
  // Between attempts to open what is there and cannot be opened: doubled each time, up to this.
  static constexpr auto attempt_interval_max = std::chrono::seconds(8);

  // `changed`: a port's link, which is down while its device is gone. `workers` by number. What it
  // is given outlives it; no ack of a worker is handled after it.
  PortWatch(Loop& loop, const std::vector<std::unique_ptr<Port>>& ports, FramePool& pool,
            std::vector<WorkerLink*> workers, std::function<void(const Port&)> changed);
  ~PortWatch() { loop_.cancel(timer_); }
  PortWatch(const PortWatch&) = delete;
  PortWatch& operator=(const PortWatch&) = delete;

  // `seen` once all workers that have a queue pair of it have seen what was changed.
  void fence(const Port& port, std::function<void()> seen);
  // It is not opened again when it has gone.
  void forget(const Port& port);

 private:
  struct Absent {
    Port* port;
    bool let_go = false;
    Loop::Clock::time_point next_attempt = {};
    Loop::Clock::duration wait = look_interval;
  };

  void look();
  void look_at(Port& port);
  void lose(Port& port);
  bool try_again(Absent& absent);

  Loop& loop_;
  const std::vector<std::unique_ptr<Port>>& ports_;
  FramePool& pool_;
  const std::vector<WorkerLink*> workers_;
  const std::function<void(const Port&)> changed_;
  std::vector<std::unique_ptr<Absent>> absent_;
  Loop::TimerId timer_ = 0;
};

}  // namespace netback
