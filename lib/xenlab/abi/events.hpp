// Event channels: ports, their ends, and the handles that read them.
#pragma once

#include <optional>

#include "lib/xenlab/abi/machine.hpp"

namespace xenlab {

// Under the lock. Each gives a port of the domain in `slot`, or -errno as Xen's hypercall does.
// `handle` reads its events: an index, or `nobody`.
int bind_unbound(Machine& machine, uint32_t slot, uint32_t remote_number, uint32_t handle);
int bind_interdomain(Here& here, uint32_t slot, uint32_t remote_number, uint32_t remote_port,
                     uint32_t handle);
int bind_virq(Machine& machine, uint32_t slot, uint32_t virq, uint32_t handle);
// Under the lock. The other end stays, unbound, for whoever had this one.
void close_port(Machine& machine, uint32_t slot, uint32_t port);

// Raises the other end of a port of `slot`. Needs no lock; a port that leads nowhere is silent.
void notify(Here& here, uint32_t slot, uint32_t port);
// Raises a VIRQ wherever it is bound.
void raise_virq(Here& here, uint32_t virq);
// An event of this port may be delivered again: one that came meanwhile is delivered now.
void unmask(Here& here, uint32_t slot, uint32_t port);

// Under the lock. A handle of this process for ports of `slot`, with its socket; nothing with
// errno.
struct OpenHandle {
  uint32_t index;
  int fd;
};
std::optional<OpenHandle> open_handle(Here& here, uint32_t slot, bool inherited_by_exec);
// Under the lock. With all its ports.
void close_handle(Here& here, uint32_t handle);
// The next port with an event; nothing when there is none. Settles the socket's state with it.
std::optional<uint32_t> next_event(Here& here, uint32_t handle, int fd);

}  // namespace xenlab
