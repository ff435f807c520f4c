// The workers' ForwardTable, made anew from what is connected.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "control/port.hpp"
#include "control/worker_link.hpp"
#include "dataplane/forward_table.hpp"

namespace netback {

class Forwarding {
 public:
  // `workers` by number.
  explicit Forwarding(std::vector<WorkerLink*> workers) : workers_(std::move(workers)) {}

  // All ports by one of their queue pairs, of which each goes to its worker, before the first vif;
  // they outlive the workers.
  Status attach_ports(const std::vector<PortQueue*>& ports);
  // One more, to its worker: after the table that has it. No other has its number.
  void add_port(PortQueue& port);
  // No connected vif is on it and it does not run. `gone` is called when no table of any worker has
  // it any more and its worker has let it go.
  void remove_port(PortQueue& port, WorkerLink::OnAck gone);

  // Attaches the vif's queues, which are their worker's from here on: after the table that leads to
  // them, or a frame from the guest would have nowhere to go. The vif that was connected last owns
  // its address. `since` is filled in here.
  void add(const ForwardTable::Vif& vif);
  // A vif by its first queue. `gone` is called when no worker knows its queues by any table any
  // more.
  void remove(const GuestQueue* queue, WorkerLink::OnAck gone);

 private:
  void attach(PortQueue& port);
  void remake_empty();
  void update();
  void use_table();
  void used();

  const std::vector<WorkerLink*> workers_;
  std::vector<PortQueue*> ports_;
  std::vector<ForwardTable::Vif> vifs_;        // in the order in which they connected
  std::shared_ptr<const ForwardTable> table_;  // the workers', or on its way there
  uint32_t serial_ = 0;                        // of the last one that was made
  // No vif: when there is no memory for a table, no frame may go to a queue that is about to go.
  std::shared_ptr<const ForwardTable> empty_;
  // One table at a time is on its way. What changes meanwhile is in the next one: a thousand vifs
  // that connect together would fill the memory with tables otherwise.
  bool under_way_ = false, outdated_ = false;
  std::vector<GuestQueue*> to_attach_;       // in vifs_ and in no table yet
  std::vector<PortQueue*> ports_to_attach_;  // the same of ports_
  std::vector<WorkerLink::OnAck> to_tell_;   // of removals that no table knows of yet
};

}  // namespace netback
