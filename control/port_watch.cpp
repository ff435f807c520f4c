#include "control/port_watch.hpp"

#include <algorithm>

#include "control/startup.hpp"
#include "lib/base/log.hpp"

namespace netback {

PortWatch::PortWatch(Loop& loop, const std::vector<std::unique_ptr<Port>>& ports, FramePool& pool,
                     std::vector<WorkerLink*> workers, std::function<void(const Port&)> changed)
    : loop_(loop),
      ports_(ports),
      pool_(pool),
      workers_(std::move(workers)),
      changed_(std::move(changed)),
      timer_(loop_.after(look_interval, [this] { look(); })) {}

void PortWatch::look() {
  for (const auto& port : ports_)
    if (port->present()) look_at(*port);
  std::erase_if(absent_, [this](const auto& absent) { return try_again(*absent); });
  timer_ = loop_.after(look_interval, [this] { look(); });
}

void PortWatch::look_at(Port& port) {
  if (port.vanished()) return lose(port);
  if (!port.update_link()) return;
  log::info("port '{}': link {}", port.config().name, port.link_text());
  changed_(port);
}

void PortWatch::lose(Port& port) {
  log::warn("port '{}': its device has gone; what is for it is dropped until {}",
            port.config().name,
            port.device().quirks->keeps_buffers ? "the daemon is started anew" : "it is back");
  port.suspend();
  changed_(port);
  absent_.emplace_back(std::make_unique<Absent>(Absent{.port = &port}));
  // Until all have seen it one may be in the driver.
  fence(port, [this, gone = &port] {
    gone->let_go();
    for (const auto& absent : absent_)
      if (absent->port == gone) absent->let_go = true;
  });
}

void PortWatch::forget(const Port& port) {
  std::erase_if(absent_, [&](const auto& absent) { return absent->port == &port; });
}

// `seen` is called once each worker that has a queue pair of the port has seen what was changed.
void PortWatch::fence(const Port& port, std::function<void()> seen) {
  const auto left = std::make_shared<size_t>(port.pairs().size());
  const auto last = std::make_shared<const std::function<void()>>(std::move(seen));
  for (const auto& pair : port.pairs())
    workers_[pair->worker]->post(Fence{}, [left, last] {
      if (--*left == 0) (*last)();
    });
}

// Whether it is back. What is not there costs a look; what is there and cannot be opened says so
// once for each time that it has gone.
bool PortWatch::try_again(Absent& absent) {
  Port& port = *absent.port;
  if (!absent.let_go) return false;
  if (!port.can_come_back()) {
    absent.wait = look_interval;  // of the next that is there
    absent.next_attempt = {};
    return false;
  }
  if (Loop::Clock::now() < absent.next_attempt) return false;
  if (Status status = port.come_back(pool_); !status) {
    if (absent.wait == look_interval)
      log::warn("{}; tried again from time to time", with_fix(status.error()));
    absent.wait = std::min<Loop::Clock::duration>(2 * absent.wait, attempt_interval_max);
    absent.next_attempt = Loop::Clock::now() + absent.wait;
    return false;
  }
  log::info("port '{}': its device is back, link {}", port.config().name, port.link_text());
  fence(port, [] {});  // one that sleeps is to arm it
  changed_(port);
  return true;
}

}  // namespace netback
