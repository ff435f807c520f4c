// The worker's ForwardTable, made anew from what is connected.
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
  explicit Forwarding(WorkerLink& worker) : worker_(worker) {}

  // All ports, before the first vif; they outlive the worker.
  Status attach_ports(const std::vector<PortQueue*>& ports);

  // Attaches the vif's queues, which are the worker's from here on: after the table that leads to
  // them, or a frame from the guest would have nowhere to go. The vif that was connected last owns
  // its address.
  void add(const ForwardTable::Vif& vif);
  // A vif by its first queue. `gone` is called when the worker does not know its queues by any
  // table any more.
  void remove(const GuestQueue* queue, WorkerLink::OnAck gone);

 private:
  void update();
  void use_table();

  WorkerLink& worker_;
  std::vector<PortQueue*> ports_;
  std::vector<ForwardTable::Vif> vifs_;        // in the order in which they connected
  std::shared_ptr<const ForwardTable> table_;  // the worker's, or on its way there
  // No vif: when there is no memory for a table, no frame may go to a queue that is about to go.
  std::shared_ptr<const ForwardTable> empty_;
  // One table at a time is on its way. What changes meanwhile is in the next one: a thousand vifs
  // that connect together would fill the memory with tables otherwise.
  bool under_way_ = false, outdated_ = false;
  std::vector<GuestQueue*> to_attach_;      // in vifs_ and in no table yet
  std::vector<WorkerLink::OnAck> to_tell_;  // of removals that no table knows of yet
};

}  // namespace netback
