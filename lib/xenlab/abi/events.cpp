#include "lib/xenlab/abi/events.hpp"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <xen/xen.h>

#include <bit>
#include <cstring>

#include "lib/xenlab/abi/costs.hpp"
#include "lib/xenlab/abi/domains.hpp"
#include "lib/xenlab/abi/faults.hpp"

namespace xenlab {
namespace {

int free_port(const Domain& domain) {
  for (uint32_t port = 1; port < ports_per_domain; ++port)
    if (domain.ports[port].kind == Port::closed) return static_cast<int>(port);
  return -ENOSPC;
}

void open_port(Port& port, Port::Kind kind, uint32_t remote_domain, uint32_t remote_port,
               uint32_t handle) {
  port.remote_domain = remote_domain;
  port.remote_port = remote_port;
  port.handle = handle;
  port.state = 0;
  port.kind = kind;
}

sockaddr_un address_of(const Here& here, uint32_t handle) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = handle_path(here.directory, handle);
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size() + 1, sizeof(address.sun_path)));
  return address;
}

void wake(Here& here, uint32_t handle) {
  if (here.machine->handles[handle].told.exchange(1) != 0) return;
  const sockaddr_un address = address_of(here, handle);
  const char byte = 1;
  sendto(here.teller, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL,
         reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

// The port is masked by now: its event waits in the handle until it is read.
void deliver(Here& here, Port& port, uint32_t number) {
  const uint32_t handle = port.handle;
  if (handle == nobody) return;
  here.machine->handles[handle].waiting[number / 64] |= 1ULL << (number % 64);
  wake(here, handle);
}

void raise(Here& here, uint32_t slot, uint32_t number) {
  Port& port = here.machine->domains[slot].ports[number];
  uint32_t state = port.state;
  const auto raised = [&] { return state & Port::masked ? state | Port::pending : Port::masked; };
  while (!port.state.compare_exchange_weak(state, raised())) {
  }
  if ((state & Port::masked) == 0) deliver(here, port, number);
}

}  // namespace

int bind_unbound(Machine& machine, uint32_t slot, uint32_t remote_number, uint32_t handle) {
  Domain& domain = machine.domains[slot];
  const int port = free_port(domain);
  if (port > 0) open_port(domain.ports[port], Port::unbound, remote_number, 0, handle);
  return port;
}

int bind_interdomain(Here& here, uint32_t slot, uint32_t remote_number, uint32_t remote_port,
                     uint32_t handle) {
  Machine& machine = *here.machine;
  const auto remote_slot = find_domain(machine, remote_number);
  if (!remote_slot) return -ESRCH;
  if (remote_port >= ports_per_domain) return -EINVAL;
  Port& remote = machine.domains[*remote_slot].ports[remote_port];
  Domain& domain = machine.domains[slot];
  if (remote.kind != Port::unbound || remote.remote_domain != domain.number) return -EINVAL;
  const int port = free_port(domain);
  if (port < 0) return port;
  open_port(domain.ports[port], Port::interdomain, *remote_slot, remote_port, handle);
  remote.remote_domain = slot;
  remote.remote_port = static_cast<uint32_t>(port);
  remote.kind = Port::interdomain;
  // Xen raises the new end: what the other sent before was lost.
  raise(here, slot, static_cast<uint32_t>(port));
  return port;
}

int bind_virq(Machine& machine, uint32_t slot, uint32_t virq, uint32_t handle) {
  if (virq >= NR_VIRQS) return -EINVAL;
  Domain& domain = machine.domains[slot];
  for (const Port& port : domain.ports)
    if (port.kind == Port::virq && port.remote_port == virq) return -EEXIST;
  const int port = free_port(domain);
  if (port > 0) open_port(domain.ports[port], Port::virq, slot, virq, handle);
  return port;
}

void close_port(Machine& machine, uint32_t slot, uint32_t number) {
  Port& port = machine.domains[slot].ports[number];
  if (port.kind == Port::interdomain) {
    Port& remote = machine.domains[port.remote_domain].ports[port.remote_port];
    remote.kind = Port::unbound;
    remote.remote_domain = machine.domains[slot].number.load();
  }
  port.kind = Port::closed;
  const uint32_t handle = port.handle;
  if (handle != nobody) machine.handles[handle].waiting[number / 64] &= ~(1ULL << (number % 64));
}

void notify(Here& here, uint32_t slot, uint32_t number) {
  const Port& port = here.machine->domains[slot].ports[number];
  if (port.kind != Port::interdomain) return;
  ++here.own_client().notifications;
  charge(*here.machine, {.notifications = 1});
  if (strikes(*here.machine, FaultKind::notification_lost)) return;
  raise(here, port.remote_domain, port.remote_port);
  if (strikes(*here.machine, FaultKind::notification_twice))
    raise(here, port.remote_domain, port.remote_port);
}

void raise_virq(Here& here, uint32_t virq) {
  for (uint32_t slot = 0; slot < domains_max; ++slot) {
    const Domain& domain = here.machine->domains[slot];
    if (domain.state != Domain::alive) continue;
    for (uint32_t number = 1; number < ports_per_domain; ++number)
      if (domain.ports[number].kind == Port::virq && domain.ports[number].remote_port == virq)
        raise(here, slot, number);
  }
}

void unmask(Here& here, uint32_t slot, uint32_t number) {
  Port& port = here.machine->domains[slot].ports[number];
  uint32_t state = port.state;
  const auto unmasked = [&] { return state & Port::pending ? Port::masked : 0U; };
  while (!port.state.compare_exchange_weak(state, unmasked())) {
  }
  if (state & Port::pending) deliver(here, port, number);
}

std::optional<OpenHandle> open_handle(Here& here, uint32_t slot, bool inherited_by_exec) {
  for (uint32_t index = 0; index < handles_max; ++index) {
    Handle& handle = here.machine->handles[index];
    if (handle.in_use) continue;
    const int fd = socket(AF_UNIX, SOCK_DGRAM | (inherited_by_exec ? 0 : SOCK_CLOEXEC), 0);
    if (fd < 0) return {};
    const sockaddr_un address = address_of(here, index);
    unlink(address.sun_path);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      close(fd);
      return {};
    }
    handle.client = here.client;
    handle.domain = slot;
    for (auto& word : handle.waiting) word = 0;
    handle.told = 0;
    handle.last_read = 0;
    handle.in_use = 1;
    return OpenHandle{index, fd};
  }
  errno = EMFILE;
  return {};
}

void close_handle(Here& here, uint32_t index) {
  Handle& handle = here.machine->handles[index];
  Domain& domain = here.machine->domains[handle.domain];
  for (uint32_t number = 1; number < ports_per_domain; ++number)
    if (domain.ports[number].kind != Port::closed && domain.ports[number].handle == index)
      close_port(*here.machine, handle.domain, number);
  unlink(handle_path(here.directory, index).c_str());
  handle.in_use = 0;
}

std::optional<uint32_t> next_event(Here& here, uint32_t index, int fd) {
  Handle& handle = here.machine->handles[index];
  std::optional<uint32_t> found;
  bool more = false;
  for (uint32_t i = 0; i < handle.waiting.size() && !more; ++i) {
    uint64_t word = handle.waiting[i];
    if (word == 0) continue;
    if (!found) {
      const auto bit = static_cast<uint32_t>(std::countr_zero(word));
      handle.waiting[i] &= ~(1ULL << bit);
      found = i * 64 + bit;
      word &= word - 1;
    }
    more = word != 0;
  }
  if (found) handle.last_read = *found;
  if (more) return found;
  // The last one: the socket is emptied before the look that makes sure.
  char byte;
  const bool told = recv(fd, &byte, 1, MSG_DONTWAIT) == 1;
  handle.told = 0;
  for (const auto& word : handle.waiting)
    if (word != 0) {
      wake(here, index);
      return found;
    }
  if (found || !told || handle.last_read == 0) return found;
  // Told late, of one that was read at once. Whoever was woken by that finds an event: for nothing,
  // which Xen's may be, and does not wait for the next.
  return handle.last_read;
}

}  // namespace xenlab
