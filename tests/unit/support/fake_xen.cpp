#include "tests/unit/support/fake_xen.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "lib/xen/c_api.hpp"

#include <cerrno>
#include <cstring>

#include "lib/netif/netif.hpp"

using netback::netif::page_bytes;
using netback::test::FakeXen;

struct xengntdev_handle {
  std::multimap<void*, std::pair<uint16_t, uint32_t>> mapped;
};
struct xenevtchn_handle {
  int fd;
};

namespace netback::test {
FakeXen& FakeXen::instance() {
  static FakeXen xen;
  return xen;
}

void FakeXen::reset() {
  grants.clear();
  failing_domain = -1;
  failing_errno = EINVAL;
  failing_operations.clear();
  during_copy = nullptr;
  open_fails = false;
  records = true;
  copy_calls = copy_operations = impossible_copies = 0;
  operations_per_call.clear();
  notifications.clear();
  bound.clear();
  event_reads = unmasked = unmasked_last = 0;
  pending_.clear();
}

uint32_t FakeXen::mapped(uint16_t domain, uint32_t first) const {
  uint32_t count = 0;
  for (const auto& [key, grant] : grants)
    if (key.first == domain && key.second >= first) count += grant.mapped;
  return count;
}

void FakeXen::kick(uint32_t port) {
  const std::lock_guard lock(pending_lock_);
  pending_.push_back(port);
  eventfd_write(events_fd_, 1);
}

int FakeXen::take_event(int fd) {
  const std::lock_guard lock(pending_lock_);
  ++event_reads;
  if (pending_.empty() || fd != events_fd_) return -1;
  const int port = static_cast<int>(pending_.back());
  pending_.pop_back();
  eventfd_t count;
  if (pending_.empty()) eventfd_read(fd, &count);
  return port;
}
}  // namespace netback::test

using netback::test::xen;

namespace {

using Side = decltype(xengnttab_grant_copy_segment_t::source);

// Where the bytes of one side are; a status other than okay when its guest does not let us.
int16_t place(const Side& side, bool granted, bool write, uint8_t*& bytes) {
  bytes = static_cast<uint8_t*>(side.virt);
  if (!granted) return GNTST_okay;
  const auto grant = xen().grants.find({side.foreign.domid, side.foreign.ref});
  if (grant == xen().grants.end()) return GNTST_bad_gntref;
  if (write && grant->second.read_only) return GNTST_permission_denied;
  bytes = grant->second.page + side.foreign.offset;
  return GNTST_okay;
}

int16_t copy_one(xengnttab_grant_copy_segment_t& segment) {
  uint8_t *from, *to;
  int16_t status = place(segment.source, segment.flags & GNTCOPY_source_gref, false, from);
  if (status == GNTST_okay)
    status = place(*reinterpret_cast<const Side*>(&segment.dest), segment.flags & GNTCOPY_dest_gref,
                   true, to);
  if (status == GNTST_okay) std::memcpy(to, from, segment.len);
  return status;
}

// Whether a side of the segment makes the whole call fail.
bool fails_call(const xengnttab_grant_copy_segment_t& segment) {
  const auto fails = [&](const auto& side) {
    return side.foreign.domid == xen().failing_domain ||
           side.foreign.offset + segment.len > page_bytes;
  };
  return ((segment.flags & GNTCOPY_source_gref) && fails(segment.source)) ||
         ((segment.flags & GNTCOPY_dest_gref) && fails(segment.dest));
}

// Beyond a page of a guest's, or across pages of ours.
bool is_impossible(const xengnttab_grant_copy_segment_t& segment) {
  const auto crosses = [&](const auto& side, bool granted) {
    const uint64_t offset =
        granted ? side.foreign.offset : reinterpret_cast<uintptr_t>(side.virt) % page_bytes;
    return offset + segment.len > page_bytes;
  };
  return crosses(segment.source, segment.flags & GNTCOPY_source_gref) ||
         crosses(segment.dest, segment.flags & GNTCOPY_dest_gref);
}

}  // namespace

extern "C" {

xengnttab_handle* xengnttab_open(xentoollog_logger*, unsigned) {
  if (xen().open_fails) {
    errno = ENOENT;
    return nullptr;
  }
  ++xen().open_handles;
  return new xengntdev_handle;
}

int xengnttab_close(xengnttab_handle* handle) {
  --xen().open_handles;
  delete handle;
  return 0;
}

void* xengnttab_map_grant_ref(xengnttab_handle* handle, uint32_t domain, uint32_t reference,
                              int protection) {
  const auto grant = xen().grants.find({static_cast<uint16_t>(domain), reference});
  if (grant == xen().grants.end() || (grant->second.read_only && (protection & PROT_WRITE) != 0)) {
    errno = EINVAL;
    return nullptr;
  }
  ++grant->second.mapped;
  grant->second.maps.push_back(protection);
  handle->mapped.emplace(grant->second.page, grant->first);
  return grant->second.page;
}

int xengnttab_unmap(xengnttab_handle* handle, void* page, uint32_t count) {
  const auto at = handle->mapped.find(page);
  if (count != 1 || at == handle->mapped.end()) {
    errno = EINVAL;
    return -1;
  }
  const auto grant = xen().grants.find(at->second);
  if (grant != xen().grants.end()) --grant->second.mapped;  // or it was revoked meanwhile
  handle->mapped.erase(at);
  return 0;
}

int xengnttab_grant_copy(xengnttab_handle*, uint32_t count,
                         xengnttab_grant_copy_segment_t* segments) {
  if (!xen().records) {
    for (uint32_t i = 0; i < count; ++i) segments[i].status = copy_one(segments[i]);
    return 0;
  }
  if (xen().during_copy) xen().during_copy();
  ++xen().copy_calls;
  xen().operations_per_call.push_back(count);
  for (uint32_t i = 0; i < count; ++i) segments[i].status = GNTST_okay;
  for (uint32_t i = 0; i < count; ++i) {
    auto& segment = segments[i];
    xen().impossible_copies += is_impossible(segment);
    if (fails_call(segment)) {
      errno = xen().failing_errno;
      return -1;
    }
    const bool fails = xen().failing_operations.contains(xen().copy_operations++);
    segment.status = fails ? int16_t{GNTST_general_error} : copy_one(segment);
  }
  return 0;
}

xenevtchn_handle* xenevtchn_open(xentoollog_logger*, unsigned) {
  if (xen().open_fails) {
    errno = ENOENT;
    return nullptr;
  }
  const int fd = eventfd(0, 0);
  xen().use_events_fd(fd);
  ++xen().open_handles;
  return new xenevtchn_handle{fd};
}

int xenevtchn_close(xenevtchn_handle* handle) {
  --xen().open_handles;
  close(handle->fd);
  delete handle;
  return 0;
}

int xenevtchn_fd(xenevtchn_handle* handle) {
  return handle->fd;
}

int xenevtchn_notify(xenevtchn_handle*, evtchn_port_t port) {
  if (xen().records) ++xen().notifications[port];
  return 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle*, uint32_t domain,
                                                     evtchn_port_t remote) {
  if (remote == 0) {  // never bound by a guest
    errno = EINVAL;
    return -1;
  }
  const uint32_t port = xen().next_port++;
  xen().bound[port] = {domain, remote};
  return static_cast<xenevtchn_port_or_error_t>(port);
}

int xenevtchn_unbind(xenevtchn_handle*, evtchn_port_t port) {
  return xen().bound.erase(port) == 1 ? 0 : -1;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle* handle) {
  const int port = xen().take_event(handle->fd);
  if (port < 0) errno = EAGAIN;
  return port;
}

int xenevtchn_unmask(xenevtchn_handle*, evtchn_port_t port) {
  ++xen().unmasked;
  xen().unmasked_last = port;
  return 0;
}

}  // extern "C"
