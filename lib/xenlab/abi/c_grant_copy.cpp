// xengnttab_grant_copy: the data path's only hypercall. Takes no lock.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>

#include "lib/base/copy_bytes.hpp"
#include "lib/xenlab/abi/costs.hpp"
#include "lib/xenlab/abi/domains.hpp"
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

// The guests' side of a call. Neighbouring segments are mostly of one domain: it is looked up once,
// as Xen keeps its lock.
class Granters {
 public:
  explicit Granters(const Here& lab) : lab_(lab), user_(lab.own_domain().number) {}

  // Where the bytes are; a status other than okay when the guest does not let us.
  int16_t place(const Segment::xengnttab_copy_ptr& side, bool write, uint8_t*& bytes) {
    if (domain_ == nullptr || side.foreign.domid != number_) {
      const auto slot = find_domain(*lab_.machine, side.foreign.domid);
      if (!slot) return GNTST_bad_domain;
      number_ = side.foreign.domid;
      domain_ = &lab_.machine->domains[*slot];
    }
    uint32_t page;
    const int16_t status = look_up(*domain_, user_, side.foreign.ref, write, page);
    if (status == GNTST_okay) bytes = lab_.page(page) + side.foreign.offset;
    return status;
  }

  // The domain of the last segment may be gone.
  void forget() { domain_ = nullptr; }

 private:
  const Here& lab_;
  const uint16_t user_;
  uint32_t number_ = 0;  // of domain_
  const Domain* domain_ = nullptr;
};

// From where to where, when the status is okay.
struct Copy {
  const uint8_t* source;
  uint8_t* dest;
  uint32_t bytes;
  int16_t status;
};

Copy look_up(Granters& granters, const Segment& segment) {
  auto* source = static_cast<uint8_t*>(segment.source.virt);
  auto* dest = static_cast<uint8_t*>(segment.dest.virt);
  int16_t status = GNTST_okay;
  if (segment.len == 0) return {source, dest, 0, status};  // no operation at all for the kernel
  if (segment.flags & GNTCOPY_source_gref) status = granters.place(segment.source, false, source);
  if (status == GNTST_okay && (segment.flags & GNTCOPY_dest_gref))
    status = granters.place(segment.dest, true, dest);
  return {source, dest, segment.len, status};
}

int16_t copy_one(Granters& granters, const Segment& segment) {
  const Copy copy = look_up(granters, segment);
  if (copy.status == GNTST_okay) netback::copy_bytes(copy.dest, copy.source, copy.bytes);
  return copy.status;
}

// The guest dies now. Copies are not under way meanwhile: the hypervisor waits for them.
void kill_domain(Here& lab, uint32_t number) {
  --lab.own_client().in_copies;
  Answer answer;
  int file = -1;
  const int connection =
      ask(lab.directory, {.kind = Request::destroy_domain, .domain_number = number}, answer, file);
  if (connection >= 0) close(connection);
  ++lab.own_client().in_copies;
}

int16_t copy_under_faults(Here& lab, Granters& granters, const Segment& segment, uint32_t index) {
  const auto fails = [&](uint16_t domain) {
    const Chance chance{.index = index, .domain = domain};
    if (strikes(*lab.machine, FaultKind::domain_dies, chance)) {
      kill_domain(lab, domain);
      granters.forget();
    }
    return strikes(*lab.machine, FaultKind::copy_operation, chance);
  };
  if ((segment.flags & GNTCOPY_source_gref) && fails(segment.source.foreign.domid))
    return GNTST_general_error;
  if ((segment.flags & GNTCOPY_dest_gref) && fails(segment.dest.foreign.domid))
    return GNTST_general_error;
  return copy_one(granters, segment);
}

// The pieces that the kernel makes of a segment: one for each local page, if it has any.
uint32_t operations_of(const Segment& segment) {
  if (segment.len == 0) return 0;
  if ((segment.flags & GNTCOPY_source_gref) && (segment.flags & GNTCOPY_dest_gref)) return 1;
  const auto& local = segment.flags & GNTCOPY_source_gref ? segment.dest : segment.source;
  const auto at = reinterpret_cast<uintptr_t>(local.virt) % page_bytes;
  return static_cast<uint32_t>((at + segment.len + page_bytes - 1) / page_bytes);
}

struct Call {
  Here& lab;
  Granters granters;
  bool operations_may_fail;
  uint32_t fails_at;  // the segment at which the call fails; or none
};

// Both ends of each copy are looked up, and fetched, so many copies before: a guest's pages are
// mostly neither in the cache nor in the TLB, and come together then.
constexpr size_t fetched_ahead = 32;

void copy_all(Granters& granters, std::span<Segment> segments) {
  std::array<Copy, fetched_ahead> fetched;
  for (size_t i = 0; i < segments.size() + fetched_ahead; ++i) {
    Copy& copy = fetched[i % fetched_ahead];
    if (i >= fetched_ahead) {
      segments[i - fetched_ahead].status = copy.status;
      if (copy.status == GNTST_okay) netback::copy_bytes(copy.dest, copy.source, copy.bytes);
    }
    if (i >= segments.size()) continue;
    copy = look_up(granters, segments[i]);
    __builtin_prefetch(copy.source);
    __builtin_prefetch(copy.dest, 1);
  }
}

// How many segments were copied before one failed the call. Its status still says okay.
size_t copy_some(Call& call, std::span<Segment> segments) {
  size_t count = 0;
  for (; count < segments.size(); ++count) {
    segments[count].status = GNTST_okay;
    if (count == call.fails_at || crosses_page(segments[count])) break;
  }
  if (!call.operations_may_fail) {
    copy_all(call.granters, segments.first(count));
    return count;
  }
  for (uint32_t i = 0; i < count; ++i)
    if (segments[i].len > 0)  // no operation, no chance
      segments[i].status = copy_under_faults(call.lab, call.granters, segments[i], i);
  return count;
}

}  // namespace

extern "C" int xengnttab_grant_copy(xengnttab_handle* handle, uint32_t count,
                                    xengnttab_grant_copy_segment_t* segments) {
  Here& lab = *handle->lab;
  Call call{.lab = lab,
            .granters = Granters(lab),
            .operations_may_fail = is_armed(*lab.machine, FaultKind::copy_operation) ||
                                   is_armed(*lab.machine, FaultKind::domain_dies),
            // A call that fails has copied some of it, and every status still says okay.
            .fails_at = strikes(*lab.machine, FaultKind::copy_call) ? count / 2 : UINT32_MAX};
  ++lab.own_client().in_copies;
  const size_t copied = copy_some(call, {segments, count});
  uint32_t operations = 0;
  for (const Segment& segment : std::span(segments, copied)) operations += operations_of(segment);
  --lab.own_client().in_copies;
  const uint32_t hypercalls =
      (operations + operations_per_hypercall - 1) / operations_per_hypercall;
  lab.own_client().copy_calls += 1;
  lab.own_client().copy_operations += operations;
  lab.own_client().copy_hypercalls += hypercalls;
  charge(*lab.machine, {.hypercalls = hypercalls, .copies = operations});
  return copied == count ? 0 : fail(EINVAL);
}
