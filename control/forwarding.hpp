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
  Status attach_ports(const std::vector<std::unique_ptr<Port>>& ports);

  // The vif that was connected last owns its address. Its queue is the worker's from here on.
  void add(const ForwardTable::Vif& vif);
  // `gone` is called when the worker does not know the queue by any table any more.
  void remove(const GuestQueue* queue, WorkerLink::OnAck gone);

 private:
  void use_table(WorkerLink::OnAck acked);

  WorkerLink& worker_;
  std::vector<PortQueue*> ports_;
  std::vector<ForwardTable::Vif> vifs_;        // in the order in which they connected
  std::shared_ptr<const ForwardTable> table_;  // the worker's, or on its way there
  // No vif: when there is no memory for a table, no frame may go to a queue that is about to go.
  std::shared_ptr<const ForwardTable> empty_;
};

}  // namespace netback
