// Event channels through libxenevtchn. A port delivers one event and is then masked by the kernel
// until it is written back: a worker that polls its rings reads nothing, and a guest's kicks cost
// it nothing (XSA-332).
#pragma once

#include "lib/xen/c_api.hpp"

#include <cstdint>
#include <memory>
#include <optional>

#include "lib/base/result.hpp"

namespace netback {

class EventChannels {
 public:
  static Result<std::unique_ptr<EventChannels>> open();
  ~EventChannels();
  EventChannels(const EventChannels&) = delete;
  EventChannels& operator=(const EventChannels&) = delete;

  // Binds a local port to the guest's; the local port number. Control thread.
  Result<evtchn_port_t> bind(uint32_t domain, evtchn_port_t remote_port);
  void unbind(evtchn_port_t port);

  // Worker. A failed notify is a closed port: the guest is gone, control will hear of it.
  void notify(evtchn_port_t port) { xenevtchn_notify(handle_, port); }
  // Takes every event that is waiting and lets its port deliver again; how many there were.
  uint32_t drain();

  // The port of the next event that waits; it delivers no other before unmask().
  std::optional<evtchn_port_t> next();
  void unmask(evtchn_port_t port) { xenevtchn_unmask(handle_, port); }

  int fd() const { return xenevtchn_fd(handle_); }  // readable while an event waits; nonblocking

 private:
  explicit EventChannels(xenevtchn_handle* handle) : handle_(handle) {}
  xenevtchn_handle* handle_;
};

// A bound port; unbound when this goes, which leaves the guest's end open to be bound again.
class BoundPort {
 public:
  BoundPort() = default;
  BoundPort(EventChannels* events, evtchn_port_t port) : events_(events), port_(port) {}
  BoundPort(BoundPort&& other) noexcept { swap(other); }
  BoundPort& operator=(BoundPort&& other) noexcept {
    swap(other);
    return *this;
  }
  ~BoundPort() {
    if (events_ != nullptr) events_->unbind(port_);
  }

  evtchn_port_t port() const { return port_; }

 private:
  void swap(BoundPort& other) noexcept {
    std::swap(events_, other.events_);
    std::swap(port_, other.port_);
  }
  EventChannels* events_ = nullptr;
  evtchn_port_t port_ = 0;
};

}  // namespace netback
