#include "control/forwarding.hpp"

#include "lib/base/log.hpp"

namespace netback {

Status Forwarding::attach_ports(const std::vector<std::unique_ptr<Port>>& ports) {
  for (const auto& port : ports) ports_.push_back(&port->queue());
  auto empty = ForwardTable::make(ports_, {});
  if (!empty) return empty.error();
  table_ = empty_ = std::move(empty).value();
  for (PortQueue* port : ports_) worker_.post(AttachPort{port});
  worker_.post(UseTable{table_.get()});
  return Done{};
}

void Forwarding::add(const ForwardTable::Vif& vif) {
  vifs_.push_back(vif);
  use_table({});
}

void Forwarding::remove(const GuestQueue* queue, WorkerLink::OnAck gone) {
  std::erase_if(vifs_, [queue](const auto& vif) { return vif.queue == queue; });
  use_table(std::move(gone));
}

void Forwarding::use_table(WorkerLink::OnAck acked) {
  std::shared_ptr<const ForwardTable> next;
  if (auto made = ForwardTable::make(ports_, vifs_); made) {
    next = std::move(made).value();
  } else {
    log::error("forwarding stops until the next vif comes or goes: {}", made.error().message);
    next = empty_;
  }
  // The ack frees the table before: until then the worker may be reading it.
  const auto replaced = std::exchange(table_, next);
  worker_.post(UseTable{next.get()}, [replaced, acked = std::move(acked)] {
    if (acked) acked();
  });
}

}  // namespace netback
