#include "lib/xen/evtchn.hpp"

#include <fcntl.h>
#include <fmt/core.h>

namespace netback {

Result<std::unique_ptr<EventChannels>> EventChannels::open() {
  xenevtchn_handle* handle = xenevtchn_open(nullptr, 0);
  if (handle == nullptr)
    return errno_error("cannot open /dev/xen/evtchn",
                       "run in a Xen domain, as root, with the module xen-evtchn loaded");
  std::unique_ptr<EventChannels> events(new EventChannels(handle));
  const int flags = fcntl(events->fd(), F_GETFL);
  if (flags < 0 || fcntl(events->fd(), F_SETFL, flags | O_NONBLOCK) < 0)
    return errno_error("cannot make /dev/xen/evtchn nonblocking");
  return events;
}

EventChannels::~EventChannels() {
  xenevtchn_close(handle_);
}

Result<evtchn_port_t> EventChannels::bind(uint32_t domain, evtchn_port_t remote_port) {
  const xenevtchn_port_or_error_t port = xenevtchn_bind_interdomain(handle_, domain, remote_port);
  if (port < 0)
    return errno_error(
        fmt::format("cannot bind event channel {} of domain {}", remote_port, domain));
  return static_cast<evtchn_port_t>(port);
}

void EventChannels::unbind(evtchn_port_t port) {
  xenevtchn_unbind(handle_, port);
}

std::optional<evtchn_port_t> EventChannels::next() {
  const xenevtchn_port_or_error_t port = xenevtchn_pending(handle_);
  if (port < 0) return std::nullopt;
  return static_cast<evtchn_port_t>(port);
}

uint32_t EventChannels::drain() {
  uint32_t count = 0;
  // Bounded: a guest that kicks as fast as we unmask must not keep us here.
  for (; count < 1024; ++count) {
    const auto port = next();
    if (!port) break;
    unmask(*port);
  }
  return count;
}

}  // namespace netback
