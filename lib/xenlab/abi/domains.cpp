#include "lib/xenlab/abi/domains.hpp"

#include <xen/grant_table.h>
#include <xen/xen.h>

#include "lib/xenlab/abi/events.hpp"
#include "lib/xenlab/abi/grants.hpp"

namespace xenlab {
namespace {

// Numbers go up and come again only after all others, as Xen's do.
uint32_t next_free_number(Machine& machine) {
  while (machine.slot_of[machine.next_number] != 0)
    machine.next_number = (machine.next_number + 1) % first_reserved_domid;
  const uint32_t number = machine.next_number;
  machine.next_number = (number + 1) % first_reserved_domid;
  return number;
}

bool give_store_ring(Here& here, uint32_t slot) {
  Domain& domain = here.machine->domains[slot];
  domain.store_page = take_page(here);
  if (domain.store_page == no_page) return false;
  Grant& grant = domain.grants[GNTTAB_RESERVED_XENSTORE];
  grant.maps = 0;
  grant.owner = nobody;
  grant.word = Grant::make(0, domain.store_page, true);
  ++domain.grant_count;
  domain.store_port = static_cast<uint32_t>(bind_unbound(*here.machine, slot, 0, nobody));
  return true;
}

}  // namespace

std::optional<uint32_t> find_domain(const Machine& machine, uint32_t number) {
  if (number >= first_reserved_domid) return {};
  const uint32_t slot = machine.slot_of[number];
  if (slot == 0) return {};
  return slot - 1;
}

std::optional<uint32_t> create_domain(Here& here) {
  Machine& machine = *here.machine;
  for (uint32_t slot = 0; slot < domains_max; ++slot) {
    Domain& domain = machine.domains[slot];
    if (domain.state != Domain::absent) continue;
    domain.next_grant = first_free_reference;
    domain.grant_count = 0;
    if (!give_store_ring(here, slot)) return {};
    const uint32_t number = next_free_number(machine);
    domain.number = number;
    domain.state = Domain::alive;
    machine.slot_of[number] = static_cast<uint16_t>(slot + 1);
    return slot;
  }
  return {};
}

void destroy_domain(Here& here, uint32_t slot) {
  Machine& machine = *here.machine;
  Domain& domain = machine.domains[slot];
  machine.slot_of[domain.number] = 0;
  for (uint32_t handle = 0; handle < handles_max; ++handle)
    if (machine.handles[handle].in_use && machine.handles[handle].domain == slot)
      close_handle(here, handle);
  for (uint32_t port = 1; port < ports_per_domain; ++port)
    if (domain.ports[port].kind != Port::closed) close_port(machine, slot, port);
  domain.state = Domain::dying;  // until its last grant is gone
  for (uint32_t reference = 0; reference < grants_per_domain; ++reference)
    if (domain.grants[reference].word != 0) end_share(here, slot, reference);
  raise_virq(here, VIRQ_DOM_EXC);
}

void release_client(Here& here, uint32_t index) {
  Machine& machine = *here.machine;
  Client& client = machine.clients[index];
  client.in_copies = 0;  // it died in them: nobody is to wait
  for (uint32_t mapping = 0; mapping < mappings_max; ++mapping)
    if (machine.mappings[mapping].client == index) end_mapping(here, mapping);
  for (uint32_t handle = 0; handle < handles_max; ++handle)
    if (machine.handles[handle].in_use && machine.handles[handle].client == index)
      close_handle(here, handle);
  Domain& domain = machine.domains[client.domain];
  for (uint32_t reference = first_free_reference; reference < grants_per_domain; ++reference)
    if (domain.grants[reference].word != 0 && domain.grants[reference].owner == index)
      end_share(here, client.domain, reference);
  client.in_use = 0;
}

}  // namespace xenlab
