// Grant tables: references given, used and ended.
#pragma once

#include <optional>
#include <string_view>

#include <xen/grant_table.h>

#include "lib/xenlab/abi/machine.hpp"

namespace xenlab {

inline constexpr uint32_t first_free_reference = 8;  // GNTTAB_NR_RESERVED_ENTRIES

// Under the lock. A new page granted to domain number `grantee`: its reference, or nothing.
std::optional<uint32_t> share_page(Here& here, uint32_t slot, uint16_t grantee, bool writable,
                                   uint32_t owner);
// Under the lock. At once, or with the last unmap of one that is mapped: until then it stays as it
// is, as Linux's gntalloc cannot end it either.
void end_share(Here& here, uint32_t slot, uint32_t reference);

// GNTST_okay and the page, or why domain `user` may not use the granter's reference.
inline int16_t look_up(const Domain& granter, uint16_t user, uint32_t reference, bool write,
                       uint32_t& page) {
  if (reference >= grants_per_domain) return GNTST_bad_gntref;
  const uint64_t word = granter.grants[reference].word.load(std::memory_order_acquire);
  if ((word & Grant::in_use) == 0 || Grant::grantee(word) != user) return GNTST_general_error;
  if (write && (word & Grant::read_only) != 0) return GNTST_general_error;
  page = Grant::page(word);
  return GNTST_okay;
}
// The same, of a domain by its number.
int16_t look_up(const Machine& machine, uint16_t user, uint32_t granter_number, uint32_t reference,
                bool write, uint32_t& page);

// Under the lock. Notes a mapping of a reference that look_up() allowed: its index, or nothing.
std::optional<uint32_t> note_mapping(Here& here, uint32_t granter, uint32_t reference);
// Under the lock. Ends it: clears the byte, notifies, frees what waited for it.
void end_mapping(Here& here, uint32_t mapping);

}  // namespace xenlab
