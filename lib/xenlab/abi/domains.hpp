// Domains: which there are, how they come and go. All under the lock, but find_domain.
#pragma once

#include <optional>

#include "lib/xenlab/abi/machine.hpp"

namespace xenlab {

// The slot of the domain of that number; nothing when there is none, or it is dying.
std::optional<uint32_t> find_domain(const Machine& machine, uint32_t number);

// A new domain with its xenstore ring and the event channel beside it, both for domain 0. Its slot;
// nothing when there is no room.
std::optional<uint32_t> create_domain(Here& here);

// Ends it: ports are closed, grants are gone but for what is still mapped, and whoever asked for
// VIRQ_DOM_EXC is told. Its processes are the hypervisor's to kill first.
void destroy_domain(Here& here, uint32_t slot);

// What a client that died held: mappings, shared pages, handles.
void release_client(Here& here, uint32_t client);

}  // namespace xenlab
