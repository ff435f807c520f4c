// xengnttab_grant_copy: the data path's only hypercall. Takes no lock.
#include <algorithm>
#include <cstring>

#include "lib/xenlab/abi/faults.hpp"
#include "lib/xenlab/abi/grant_handle.hpp"
#include "lib/xenlab/abi/grants.hpp"

using namespace xenlab;

namespace {

// gntdev hands the hypervisor this many at a time (GNTDEV_COPY_BATCH).
constexpr uint32_t operations_per_hypercall = 16;

using Segment = xengnttab_grant_copy_segment_t;

bool crosses_page(const Segment& segment) {
  const auto crosses = [&](const auto& side) {
    return uint32_t{side.foreign.offset} + segment.len > page_bytes;
  };
  return ((segment.flags & GNTCOPY_source_gref) && crosses(segment.source)) ||
         ((segment.flags & GNTCOPY_dest_gref) && crosses(segment.dest));
}

// Where one side's bytes are; a status other than okay when the guest does not let us.
int16_t place(const Here& lab, uint16_t user, bool granted, bool write,
              const Segment::xengnttab_copy_ptr& side, uint8_t*& bytes) {
  if (!granted) {
    bytes = static_cast<uint8_t*>(side.virt);
    return GNTST_okay;
  }
  uint32_t page;
  const int16_t status =
      look_up(*lab.machine, user, side.foreign.domid, side.foreign.ref, write, page);
  if (status == GNTST_okay) bytes = lab.page(page) + side.foreign.offset;
  return status;
}

int16_t copy(const Here& lab, uint16_t user, const Segment& segment) {
  uint8_t *source, *dest;
  int16_t status =
      place(lab, user, segment.flags & GNTCOPY_source_gref, false, segment.source, source);
  if (status != GNTST_okay) return status;
  status = place(lab, user, segment.flags & GNTCOPY_dest_gref, true, segment.dest, dest);
  if (status == GNTST_okay) std::memcpy(dest, source, segment.len);
  return status;
}

// The pieces that the kernel makes of a segment: one for each local page.
uint32_t operations_of(const Segment& segment) {
  if (segment.len == 0) return 0;
  const auto& local = segment.flags & GNTCOPY_source_gref ? segment.dest : segment.source;
  const auto at = reinterpret_cast<uintptr_t>(local.virt) % page_bytes;
  return static_cast<uint32_t>((at + segment.len + page_bytes - 1) / page_bytes);
}

}  // namespace

extern "C" int xengnttab_grant_copy(xengnttab_handle* handle, uint32_t count,
                                    xengnttab_grant_copy_segment_t* segments) {
  Here& lab = *handle->lab;
  const auto user = static_cast<uint16_t>(lab.own_domain().number);
  uint32_t operations = 0;
  // A call that fails has copied some of it, and every status still says okay.
  const uint32_t fails_at = strikes(*lab.machine, FaultKind::copy_call) ? count / 2 : UINT32_MAX;
  bool good = true;
  ++lab.own_client().in_copies;
  for (uint32_t i = 0; i < count && good; ++i) {
    segments[i].status = GNTST_okay;
    good = i != fails_at && !crosses_page(segments[i]);
    if (!good || segments[i].len == 0) continue;
    segments[i].status = strikes(*lab.machine, FaultKind::copy_operation)
                             ? int16_t{GNTST_general_error}
                             : copy(lab, user, segments[i]);
    operations += operations_of(segments[i]);
  }
  --lab.own_client().in_copies;
  lab.own_client().copy_calls += 1;
  lab.own_client().copy_operations += operations;
  lab.own_client().copy_hypercalls +=
      (operations + operations_per_hypercall - 1) / operations_per_hypercall;
  return good ? 0 : fail(EINVAL);
}
