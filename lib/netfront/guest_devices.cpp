#include "lib/netfront/guest_devices.hpp"

#include <poll.h>

#include <ctime>
#include <iterator>

namespace netback {

Result<std::unique_ptr<GuestDevices>> GuestDevices::open() {
  auto store = Store::open();
  if (!store) return store.error();
  std::unique_ptr<GuestDevices> made(new GuestDevices(std::move(store).value()));
  made->sharing_ = xengntshr_open(nullptr, 0);
  if (made->sharing_ == nullptr) return errno_error("cannot share pages", "modprobe xen-gntalloc");
  made->events_ = xenevtchn_open(nullptr, 0);
  if (made->events_ == nullptr)
    return errno_error("cannot open event channels", "modprobe xen-evtchn");
  return made;
}

GuestDevices::~GuestDevices() {
  if (events_ != nullptr) xenevtchn_close(events_);
  if (sharing_ != nullptr) xengntshr_close(sharing_);
}

Status GuestDevices::watch(const std::string& path) {
  if (!watched_.insert(path).second) return Done{};
  return store_->watch(path, "changes");
}

void GuestDevices::look_at_store() {
  pollfd change{store_->fd(), POLLIN, 0};
  if (poll(&change, 1, 0) <= 0) return;
  (void)store_->drain_watches([](std::string_view, std::string_view) {});
  ++store_changes_;
}

bool GuestDevices::wait(std::chrono::nanoseconds timeout, int other_fd) {
  const std::chrono::seconds whole = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timespec longest{whole.count(), (timeout - whole).count()};
  pollfd events[] = {
      {xenevtchn_fd(events_), POLLIN, 0}, {store_->fd(), POLLIN, 0}, {other_fd, POLLIN, 0}};
  if (ppoll(events, std::size(events), &longest, nullptr) <= 0) return false;
  if (events[1].revents != 0) look_at_store();
  if (events[0].revents == 0) return false;
  const int port = xenevtchn_pending(events_);
  if (port >= 0) xenevtchn_unmask(events_, static_cast<evtchn_port_t>(port));
  return port >= 0;
}

}  // namespace netback
