// Control's half of what it and workers on threads of their own hand to one another.
#pragma once

#include <poll.h>

#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "dataplane/forward_table.hpp"
#include "dataplane/messages.hpp"
#include "tests/unit/support/test_guest.hpp"

namespace netback::test {

// Posts commands and waits for their acks.
class Control {
 public:
  explicit Control(Mailbox& mailbox) : mailbox_(mailbox) {}

  template <class What>
  void post_and_wait(const What& what) {
    const uint32_t sequence = ++sequence_;
    while (!mailbox_.post({.sequence = sequence, .what = what})) read_reports(1);
    while (!acked_.contains(sequence)) read_reports(1000);
  }

 private:
  void read_reports(int wait_ms) {
    pollfd readable{mailbox_.control_fd(), POLLIN, 0};
    poll(&readable, 1, wait_ms);
    mailbox_.clear_control_fd();
    Report report;
    while (mailbox_.next_report(report))
      if (const auto* acked = std::get_if<Acked>(&report)) acked_.insert(acked->sequence);
  }

  Mailbox& mailbox_;
  uint32_t sequence_ = 0;
  std::set<uint32_t> acked_;
};

inline std::unique_ptr<ForwardTable> table_of(PortQueue& port,
                                              const std::vector<TestGuest*>& guests) {
  std::vector<ForwardTable::Vif> vifs;
  for (TestGuest* guest : guests)
    vifs.push_back({.queue = guest->queue.get(), .port = port.port, .mac = guest->settings.mac});
  return std::move(ForwardTable::make({&port}, vifs)).value();
}

// Waits for something that the worker does; false when it does not.
inline bool soon(const std::function<bool()>& done) {
  for (int i = 0; i < 20'000; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return false;
}

}  // namespace netback::test
