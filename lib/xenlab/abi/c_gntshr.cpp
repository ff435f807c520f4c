// xengntshr_*: pages of this domain, shared with others, as Linux's gntalloc does it.
#include <sys/mman.h>
#include <unistd.h>

#include "lib/xenlab/abi/events.hpp"
#include "lib/xenlab/abi/grant_handle.hpp"
#include "lib/xenlab/abi/grants.hpp"
#include "lib/xenlab/abi/regions.hpp"

using namespace xenlab;

namespace {

void end_shares(Here& lab, const std::vector<uint32_t>& references) {
  const Locked locked(*lab.machine);
  for (const uint32_t reference : references) end_share(lab, lab.domain, reference);
}

void* share(xengntshr_handle* handle, uint32_t domid, uint32_t count, uint32_t* refs,
            bool writable) {
  Here& lab = *handle->lab;
  std::vector<uint32_t> references, pages;
  {
    const Locked locked(*lab.machine);
    for (uint32_t i = 0; i < count; ++i) {
      const auto reference =
          share_page(lab, lab.domain, static_cast<uint16_t>(domid), writable, lab.client);
      if (!reference) break;
      references.push_back(*reference);
      pages.push_back(Grant::page(lab.own_domain().grants[*reference].word));
    }
  }
  void* start = nullptr;
  errno = ENOSPC;
  if (references.size() == count) start = map_pages(lab, pages, PROT_READ | PROT_WRITE);
  if (start == nullptr) {
    const int why = errno;
    end_shares(lab, references);
    errno = why;
    return nullptr;
  }
  std::copy(references.begin(), references.end(), refs);
  const std::lock_guard guard(handle->lock);
  handle->regions[start] = std::move(references);
  return start;
}

// The peer learns that the page goes.
void give_notice(const xengntshr_handle* handle, void* start) {
  const auto found = handle->notices.find(start);
  if (found == handle->notices.end()) return;
  if (found->second.clear_byte != nobody)
    static_cast<uint8_t*>(start)[found->second.clear_byte] = 0;
  if (found->second.port != nobody) notify(*handle->lab, handle->lab->domain, found->second.port);
}

}  // namespace

extern "C" {

xengntshr_handle* xengntshr_open(xentoollog_logger*, unsigned) {
  return open_grant_handle();
}

int xengntshr_close(xengntshr_handle* handle) {
  if (handle == nullptr) return 0;
  while (!handle->regions.empty()) {
    const auto& [start, references] = *handle->regions.begin();
    xengntshr_unshare(handle, start, static_cast<uint32_t>(references.size()));
  }
  close(handle->fd);
  delete handle;
  return 0;
}

int xengntshr_fd(xengntshr_handle* handle) {
  return handle->fd;
}

void* xengntshr_share_pages(xengntshr_handle* handle, uint32_t domid, int count, uint32_t* refs,
                            int writable) {
  return share(handle, domid, static_cast<uint32_t>(count), refs, writable != 0);
}

void* xengntshr_share_page_notify(xengntshr_handle* handle, uint32_t domid, uint32_t* ref,
                                  int writable, uint32_t notify_offset, evtchn_port_t notify_port) {
  const uint32_t clear_byte = notify_offset < page_bytes ? notify_offset : nobody;
  void* start = share(handle, domid, 1, ref, writable != 0);
  if (start != nullptr) handle->notices[start] = {clear_byte, notify_port};
  return start;
}

int xengntshr_unshare(xengntshr_handle* handle, void* start, uint32_t count) {
  const auto found = handle->regions.find(start);
  if (found == handle->regions.end() || found->second.size() != count) return fail(EINVAL);
  give_notice(handle, start);
  handle->notices.erase(start);
  unmap_pages(start, count);
  end_shares(*handle->lab, found->second);
  handle->regions.erase(found);
  return 0;
}

}  // extern "C"
