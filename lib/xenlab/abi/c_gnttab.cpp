// xengnttab_*: other domains' grants, mapped and copied. Errors as Linux's gntdev and libxengnttab
// 4.17 give them.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/xenlab/abi/costs.hpp"
#include "lib/xenlab/abi/domains.hpp"
#include "lib/xenlab/abi/grant_handle.hpp"
#include "lib/xenlab/abi/grants.hpp"
#include "lib/xenlab/abi/regions.hpp"

using namespace xenlab;

namespace xenlab {

xengntdev_handle* open_grant_handle() {
  Here* lab = here();
  if (lab == nullptr) return nullptr;
  const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  return new xengntdev_handle{lab, fd, {}, {}, {}};
}

}  // namespace xenlab

namespace {

void end_mappings(Here& lab, const std::vector<uint32_t>& mappings) {
  const Locked locked(*lab.machine);
  for (const uint32_t mapping : mappings) end_mapping(lab, mapping);
}

// Notes the mapping of each reference, all or none: their pages.
bool note_mappings(Here& lab, uint32_t count, const uint32_t* domids, const uint32_t* refs,
                   bool write, std::vector<uint32_t>& mappings, std::vector<uint32_t>& pages) {
  const Locked locked(*lab.machine);
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t page = no_page;
    std::optional<uint32_t> noted;
    if (look_up(*lab.machine, static_cast<uint16_t>(lab.own_domain().number), domids[i], refs[i],
                write, page) == GNTST_okay)
      noted = note_mapping(lab, *find_domain(*lab.machine, domids[i]), refs[i]);
    if (!noted) {
      for (const uint32_t mapping : mappings) end_mapping(lab, mapping);
      errno = EINVAL;
      return false;
    }
    mappings.push_back(*noted);
    pages.push_back(page);
  }
  return true;
}

void* map_references(xengnttab_handle* handle, uint32_t count, const uint32_t* domids,
                     const uint32_t* refs, int protection) {
  Here& lab = *handle->lab;
  std::vector<uint32_t> mappings, pages;
  charge(*lab.machine, {.hypercalls = 1});
  if (!note_mappings(lab, count, domids, refs, (protection & PROT_WRITE) != 0, mappings, pages))
    return nullptr;
  void* start = map_pages(lab, pages, protection);
  if (start == nullptr) {
    end_mappings(lab, mappings);
    return nullptr;
  }
  const std::lock_guard guard(handle->lock);
  handle->regions[start] = std::move(mappings);
  return start;
}

}  // namespace

extern "C" {

xengnttab_handle* xengnttab_open(xentoollog_logger*, unsigned) {
  return open_grant_handle();
}

int xengnttab_close(xengnttab_handle* handle) {
  if (handle == nullptr) return 0;
  for (const auto& [start, mappings] : handle->regions) {
    unmap_pages(start, mappings.size());
    end_mappings(*handle->lab, mappings);
  }
  close(handle->fd);
  delete handle;
  return 0;
}

int xengnttab_fd(xengnttab_handle* handle) {
  return handle->fd;
}

int xengnttab_set_max_grants(xengnttab_handle*, uint32_t) {
  return 0;  // Linux has had no such limit since 2.6.39, and the library says it is done
}

void* xengnttab_map_grant_refs(xengnttab_handle* handle, uint32_t count, uint32_t* domids,
                               uint32_t* refs, int protection) {
  return map_references(handle, count, domids, refs, protection);
}

void* xengnttab_map_domain_grant_refs(xengnttab_handle* handle, uint32_t count, uint32_t domid,
                                      uint32_t* refs, int protection) {
  const std::vector<uint32_t> domids(count, domid);
  return map_references(handle, count, domids.data(), refs, protection);
}

void* xengnttab_map_grant_ref(xengnttab_handle* handle, uint32_t domid, uint32_t ref,
                              int protection) {
  return map_references(handle, 1, &domid, &ref, protection);
}

void* xengnttab_map_grant_ref_notify(xengnttab_handle* handle, uint32_t domid, uint32_t ref,
                                     int protection, uint32_t notify_offset,
                                     evtchn_port_t notify_port) {
  const uint32_t clear_byte = notify_offset < page_bytes ? notify_offset : nobody;
  if (clear_byte != nobody && (protection & PROT_WRITE) == 0) {
    errno = EINVAL;
    return nullptr;
  }
  void* start = map_references(handle, 1, &domid, &ref, protection);
  if (start == nullptr) return nullptr;
  const Locked locked(*handle->lab->machine);
  Mapping& mapping = handle->lab->machine->mappings[handle->regions[start].front()];
  mapping.clear_byte = clear_byte;
  mapping.notify_port = notify_port;
  return start;
}

int xengnttab_unmap(xengnttab_handle* handle, void* start, uint32_t count) {
  std::vector<uint32_t> mappings;
  {
    const std::lock_guard guard(handle->lock);
    const auto found = handle->regions.find(start);
    if (found == handle->regions.end() || found->second.size() != count) return fail(EINVAL);
    mappings = std::move(found->second);
    handle->regions.erase(found);
  }
  charge(*handle->lab->machine, {.hypercalls = 1});
  unmap_pages(start, count);
  end_mappings(*handle->lab, mappings);
  return 0;
}

// Buffers of the graphics stack: Debian's kernel is built without them for Xen.
int xengnttab_dmabuf_exp_from_refs(xengnttab_handle*, uint32_t, uint32_t, uint32_t, const uint32_t*,
                                   uint32_t*) {
  return fail(ENOTTY);
}

int xengnttab_dmabuf_exp_wait_released(xengnttab_handle*, uint32_t, uint32_t) {
  return fail(ENOTTY);
}

int xengnttab_dmabuf_imp_to_refs(xengnttab_handle*, uint32_t, uint32_t, uint32_t, uint32_t*) {
  return fail(ENOTTY);
}

int xengnttab_dmabuf_imp_release(xengnttab_handle*, uint32_t) {
  return fail(ENOTTY);
}

}  // extern "C"
