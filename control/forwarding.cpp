#include "control/forwarding.hpp"

#include "lib/base/log.hpp"

namespace netback {

Status Forwarding::attach_ports(const std::vector<PortQueue*>& ports) {
  ports_ = ports;
  auto empty = ForwardTable::make(ports_, {});
  if (!empty) return empty.error();
  table_ = empty_ = std::move(empty).value();
  for (PortQueue* port : ports_) attach(*port);
  for (WorkerLink* worker : workers_) worker->post(UseTable{table_.get()});
  return Done{};
}

void Forwarding::add(const ForwardTable::Vif& vif) {
  vifs_.push_back(vif);
  to_attach_.push_back(vif.queue);
  for (GuestQueue* sibling : vif.queue->siblings)
    if (sibling != vif.queue) to_attach_.push_back(sibling);
  update();
}

void Forwarding::remove(const GuestQueue* queue, WorkerLink::OnAck gone) {
  std::erase_if(vifs_, [queue](const auto& vif) { return vif.queue == queue; });
  std::erase_if(to_attach_, [queue](const auto* each) { return &each->first_of_vif() == queue; });
  to_tell_.push_back(std::move(gone));
  update();
}

// By one of its queue pairs.
void Forwarding::attach(PortQueue& port) {
  workers_[port.worker]->post(AttachPort{&port});
  for (PortQueue* pair : port.by_worker)
    if (pair != &port) workers_[pair->worker]->post(AttachPort{pair});
}

void Forwarding::add_port(PortQueue& port) {
  ports_.push_back(&port);
  ports_to_attach_.push_back(&port);
  remake_empty();
  update();
}

void Forwarding::remove_port(PortQueue& port, WorkerLink::OnAck gone) {
  std::erase(ports_, &port);
  std::erase(ports_to_attach_, &port);
  remake_empty();
  to_tell_.push_back([this, worker = workers_[port.worker], &port, gone = std::move(gone)] {
    const auto left = std::make_shared<size_t>(std::max<size_t>(1, port.by_worker.size()));
    const auto one_less = [left, gone] {
      if (--*left == 0) gone();
    };
    worker->post(DetachPort{&port}, one_less);
    for (PortQueue* pair : port.by_worker)
      if (pair != &port) workers_[pair->worker]->post(DetachPort{pair}, one_less);
  });
  update();
}

// Without memory for one, workers would do nothing at all rather than lead frames to a port that
// is going.
void Forwarding::remake_empty() {
  empty_.reset();
  if (auto made = ForwardTable::make(ports_, {}); made) empty_ = std::move(made).value();
}

void Forwarding::update() {
  outdated_ = true;
  if (!under_way_) use_table();
}

void Forwarding::use_table() {
  std::shared_ptr<const ForwardTable> next;
  ++serial_;
  for (auto& vif : vifs_)
    if (vif.since == 0) vif.since = serial_;
  if (auto made = ForwardTable::make(ports_, vifs_, serial_); made) {
    next = std::move(made).value();
  } else {
    log::error("forwarding stops until the next vif comes or goes: {}", made.error().message);
    next = empty_;
  }
  outdated_ = false;
  under_way_ = true;
  // The last ack frees the table before: until then a worker may be reading it.
  const auto replaced = std::exchange(table_, next);
  const auto told =
      std::make_shared<const std::vector<WorkerLink::OnAck>>(std::exchange(to_tell_, {}));
  const auto left = std::make_shared<size_t>(workers_.size());
  for (WorkerLink* worker : workers_)
    worker->post(UseTable{next.get()}, [this, replaced, told, left] {
      if (--*left > 0) return;
      for (const auto& gone : *told) gone();
      used();
    });
  for (PortQueue* port : std::exchange(ports_to_attach_, {})) attach(*port);
  for (GuestQueue* queue : std::exchange(to_attach_, {}))
    workers_[queue->worker]->post(AttachQueue{queue});
}

// By all workers.
void Forwarding::used() {
  under_way_ = false;
  if (outdated_) use_table();
}

}  // namespace netback
