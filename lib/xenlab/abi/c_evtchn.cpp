// xenevtchn_*, with the errors of Linux's evtchn device.
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "lib/xenlab/abi/costs.hpp"
#include "lib/xenlab/abi/events.hpp"

extern "C" {
#include <xenevtchn.h>
}

using namespace xenlab;

struct xenevtchn_handle {
  Here* lab;
  uint32_t index;
  int fd;
  uint32_t only_domain = nobody;  // after xenevtchn_restrict
};

namespace {

// Whether the port is open and this handle's: no other may touch it.
bool owns(const xenevtchn_handle* handle, uint32_t number) {
  if (number >= ports_per_domain) return false;
  const Port& port = handle->lab->own_domain().ports[number];
  return port.kind != Port::closed && port.handle == handle->index;
}

bool allows(const xenevtchn_handle* handle, uint32_t domid) {
  return handle->only_domain == nobody || handle->only_domain == domid;
}

int result_of(int port) {
  return port < 0 ? fail(-port) : port;
}

}  // namespace

extern "C" {

xenevtchn_handle* xenevtchn_open(xentoollog_logger*, unsigned flags) {
  Here* lab = here();
  if (lab == nullptr) return nullptr;
  const Locked locked(*lab->machine);
  const auto opened = open_handle(*lab, lab->domain, (flags & XENEVTCHN_NO_CLOEXEC) != 0);
  return opened ? new xenevtchn_handle{lab, opened->index, opened->fd} : nullptr;
}

xenevtchn_handle* xenevtchn_fdopen(xentoollog_logger*, int fd, unsigned flags) {
  Here* lab = here();
  sockaddr_un address{};
  socklen_t bytes = sizeof(address);
  if (lab == nullptr) return nullptr;
  if (flags != 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    errno = EINVAL;
    return nullptr;
  }
  const std::string path = address.sun_path;
  const auto index = static_cast<uint32_t>(atol(path.substr(path.rfind('/') + 1).c_str()));
  return new xenevtchn_handle{lab, index, fd};
}

int xenevtchn_close(xenevtchn_handle* handle) {
  if (handle == nullptr) return 0;
  {
    const Locked locked(*handle->lab->machine);
    close_handle(*handle->lab, handle->index);
  }
  close(handle->fd);
  delete handle;
  return 0;
}

int xenevtchn_fd(xenevtchn_handle* handle) {
  return handle->fd;
}

int xenevtchn_notify(xenevtchn_handle* handle, evtchn_port_t port) {
  if (!owns(handle, port)) return fail(ENOTCONN);
  notify(*handle->lab, handle->lab->domain, port);
  return 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle* handle, uint32_t domid) {
  if (!allows(handle, domid)) return fail(EACCES);
  charge(*handle->lab->machine, {.hypercalls = 1});
  const Locked locked(*handle->lab->machine);
  return result_of(bind_unbound(*handle->lab->machine, handle->lab->domain, domid, handle->index));
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle* handle, uint32_t domid,
                                                     evtchn_port_t remote_port) {
  if (!allows(handle, domid)) return fail(EACCES);
  charge(*handle->lab->machine, {.hypercalls = 1});
  const Locked locked(*handle->lab->machine);
  return result_of(
      bind_interdomain(*handle->lab, handle->lab->domain, domid, remote_port, handle->index));
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle* handle, unsigned virq) {
  if (handle->only_domain != nobody) return fail(EACCES);
  charge(*handle->lab->machine, {.hypercalls = 1});
  const Locked locked(*handle->lab->machine);
  return result_of(bind_virq(*handle->lab->machine, handle->lab->domain, virq, handle->index));
}

int xenevtchn_unbind(xenevtchn_handle* handle, evtchn_port_t port) {
  if (port >= ports_per_domain) return fail(EINVAL);
  charge(*handle->lab->machine, {.hypercalls = 1});
  const Locked locked(*handle->lab->machine);
  if (!owns(handle, port)) return fail(ENOTCONN);
  close_port(*handle->lab->machine, handle->lab->domain, port);
  return 0;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle* handle) {
  while (true) {
    if (const auto port = next_event(*handle->lab, handle->index, handle->fd))
      return static_cast<int>(*port);
    char byte;  // waits, or says EAGAIN, as a read of the device would
    if (recv(handle->fd, &byte, 1, MSG_PEEK) < 0) return -1;
  }
}

int xenevtchn_unmask(xenevtchn_handle* handle, evtchn_port_t port) {
  if (owns(handle, port)) unmask(*handle->lab, handle->lab->domain, port);
  return 0;
}

int xenevtchn_restrict(xenevtchn_handle* handle, domid_t domid) {
  if (handle->only_domain != nobody) return fail(EACCES);
  handle->only_domain = domid;
  return 0;
}

}  // extern "C"
