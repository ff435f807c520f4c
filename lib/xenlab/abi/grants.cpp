#include "lib/xenlab/abi/grants.hpp"

#include <xen/grant_table.h>

#include "lib/xenlab/abi/domains.hpp"
#include "lib/xenlab/abi/events.hpp"

namespace xenlab {
namespace {

// Ended and not mapped: its page goes, and a dying domain with its last one.
void forget(Here& here, uint32_t slot, Grant& grant) {
  const uint32_t page = Grant::page(grant.word);
  grant.word = 0;
  free_page(here, page);
  Domain& domain = here.machine->domains[slot];
  if (--domain.grant_count == 0 && domain.state == Domain::dying) domain.state = Domain::absent;
}

}  // namespace

std::optional<uint32_t> share_page(Here& here, uint32_t slot, uint16_t grantee, bool writable,
                                   uint32_t owner) {
  Domain& domain = here.machine->domains[slot];
  for (uint32_t tried = 0; tried < grants_per_domain; ++tried) {
    const uint32_t reference = domain.next_grant;
    domain.next_grant = reference + 1 < grants_per_domain ? reference + 1 : first_free_reference;
    Grant& grant = domain.grants[reference];
    if (grant.word != 0) continue;
    const uint32_t page = take_page(here);
    if (page == no_page) return {};
    ++domain.grant_count;
    grant.maps = 0;
    grant.owner = owner;
    grant.word = Grant::make(grantee, page, writable);
    return reference;
  }
  return {};
}

void end_share(Here& here, uint32_t slot, uint32_t reference) {
  Grant& grant = here.machine->domains[slot].grants[reference];
  const uint64_t word = grant.word;
  if ((word & Grant::in_use) == 0) return;
  grant.word = word | Grant::ended;
  if (grant.maps == 0) forget(here, slot, grant);
}

int16_t look_up(const Machine& machine, uint16_t user, uint32_t granter_number, uint32_t reference,
                bool write, uint32_t& page) {
  const auto slot = find_domain(machine, granter_number);
  if (!slot) return GNTST_bad_domain;
  return look_up(machine.domains[*slot], user, reference, write, page);
}

std::optional<uint32_t> note_mapping(Here& here, uint32_t granter, uint32_t reference) {
  for (uint32_t i = 0; i < mappings_max; ++i) {
    Mapping& mapping = here.machine->mappings[(here.machine->next_mapping + i) % mappings_max];
    if (mapping.client != nobody) continue;
    mapping = {here.client, granter, reference, nobody, nobody};
    ++here.machine->domains[granter].grants[reference].maps;
    const auto index = static_cast<uint32_t>(&mapping - here.machine->mappings.data());
    here.machine->next_mapping = index + 1;
    return index;
  }
  return {};
}

void end_mapping(Here& here, uint32_t index) {
  Mapping& mapping = here.machine->mappings[index];
  Grant& grant = here.machine->domains[mapping.granter].grants[mapping.reference];
  const uint64_t word = grant.word;
  if (mapping.clear_byte != nobody) here.page(Grant::page(word))[mapping.clear_byte] = 0;
  if (mapping.notify_port != nobody)
    notify(here, here.machine->clients[mapping.client].domain, mapping.notify_port);
  mapping.client = nobody;
  if (--grant.maps == 0 && (word & Grant::ended) != 0) forget(here, mapping.granter, grant);
}

}  // namespace xenlab
