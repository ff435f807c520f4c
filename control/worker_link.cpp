#include "control/worker_link.hpp"

namespace netback {

void WorkerLink::post(What what, OnAck acked) {
  const Command command{next_sequence_++, std::move(what)};
  acks_.emplace(command.sequence, std::move(acked));
  waiting_.push_back(command);
  post_waiting();
}

void WorkerLink::post_waiting() {
  while (!waiting_.empty() && mailbox_.post(waiting_.front())) waiting_.pop_front();
}

void WorkerLink::handle_reports() {
  mailbox_.clear_control_fd();
  Report report;
  while (mailbox_.next_report(report)) {
    if (const auto* quarantined = std::get_if<Quarantined>(&report)) {
      if (on_quarantined_) on_quarantined_(*quarantined);
      continue;
    }
    const auto found = acks_.find(std::get<Acked>(report).sequence);
    NETBACK_CHECK(found != acks_.end());
    const OnAck acked = std::move(found->second);
    acks_.erase(found);
    if (acked) acked();
  }
  post_waiting();  // an ack is room in the mailbox
}

}  // namespace netback
