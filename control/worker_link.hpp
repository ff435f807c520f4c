// Control's end of a worker's Mailbox: commands get sequence numbers, acks come back as callbacks.
#pragma once

#include <deque>
#include <functional>
#include <map>

#include "dataplane/messages.hpp"

namespace netback {

class WorkerLink {
 public:
  using OnAck = std::function<void()>;
  using OnQuarantined = std::function<void(const Quarantined&)>;
  using What = decltype(Command::what);

  explicit WorkerLink(Mailbox& mailbox) : mailbox_(mailbox) {}

  // Hands a command to the worker; `acked` is called from handle_reports() when nothing of it, and
  // of what it replaces, is in the worker's hands any more. Order is kept, also past a full
  // mailbox: then commands wait here.
  void post(What what, OnAck acked = {});
  void on_quarantined(OnQuarantined action) { on_quarantined_ = std::move(action); }

  // When the mailbox's control_fd() is readable.
  void handle_reports();

  size_t unacked() const { return acks_.size(); }

 private:
  void post_waiting();

  Mailbox& mailbox_;
  OnQuarantined on_quarantined_;
  uint32_t next_sequence_ = 1;
  std::deque<Command> waiting_;     // did not fit; at most a few per vif
  std::map<uint32_t, OnAck> acks_;  // by sequence number
};

}  // namespace netback
