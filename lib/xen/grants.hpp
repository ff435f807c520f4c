// Grant references of guests through libxengnttab: mapping of ring pages, and the copies of a turn.
#pragma once

#include "lib/xen/c_api.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/check.hpp"
#include "lib/base/result.hpp"
#include "lib/netif/netif.hpp"
#include "lib/xen/staging_table.hpp"

namespace netback {

// A guest's page mapped here; unmapped when this goes.
class MappedPage {
 public:
  MappedPage() = default;
  MappedPage(xengnttab_handle* handle, void* page) : handle_(handle), page_(page) {}
  MappedPage(MappedPage&& other) noexcept { swap(other); }
  MappedPage& operator=(MappedPage&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedPage();

  void* data() const { return page_; }

 private:
  void swap(MappedPage& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(page_, other.page_);
  }
  xengnttab_handle* handle_ = nullptr;
  void* page_ = nullptr;
};

// One handle of /dev/xen/gntdev. A worker has one for its copies, control one for its mappings.
class Grants {
 public:
  static Result<std::unique_ptr<Grants>> open();
  ~Grants();
  Grants(const Grants&) = delete;
  Grants& operator=(const Grants&) = delete;

  enum class Access { read_only, read_write };
  // Maps one page. Errors name domain and reference.
  Result<MappedPage> map(uint32_t domain, uint32_t reference, Access access = Access::read_write);

  // One library call, one direction. False: the call failed and no status of it may be trusted
  // (the kernel presets them to okay and forgets those it did not run).
  bool copy(std::span<xengnttab_grant_copy_segment_t> segments);

 private:
  explicit Grants(xengnttab_handle* handle) : handle_(handle) {}
  xengnttab_handle* handle_;
};

// The copies of one direction in one turn: planned, run once, then asked. Those whose page of the
// guest is mapped are made here, the others by the hypervisor.
class CopyPlan {
 public:
  enum class Direction { from_guest, to_guest };

  CopyPlan(Direction direction, uint32_t segments_max);

  void clear();
  // The segments from here on belong to another vif: the unit of a second try after a failed call.
  // `staging`: those of its pages that are mapped, if any; until run() it stays.
  void begin_vif(uint16_t domain, const StagingTable* staging = nullptr);

  // Plans one slot's bytes from or to `local`, cut where a local page ends (a straddling copy would
  // be two operations for the kernel anyway). False, and nothing planned, when the guest's side is
  // out of bounds (reference reserved, offset + bytes beyond the page) or the plan is full.
  bool add(uint32_t reference, uint32_t offset, void* local, uint32_t bytes) {
    if (reference < netif::first_reference) return false;
    if (offset > netif::page_bytes || bytes > netif::page_bytes - offset) return false;
    if (staging_ != nullptr && stage(reference, offset, local, bytes)) return true;
    const auto at_in_page = reinterpret_cast<uintptr_t>(local) % netif::page_bytes;
    if (at_in_page + bytes > netif::page_bytes || count_ == segments_max_) [[unlikely]]
      return add_pieces(reference, offset, static_cast<uint8_t*>(local), bytes);
    if (bytes > 0) add_piece(reference, offset, local, bytes);
    return true;
  }

  // Where bytes of another guest's lie.
  struct Elsewhere {
    uint16_t domain;
    uint32_t reference;
    uint32_t offset;
  };
  // Plans bytes from a page of another guest's straight to one of this vif's. False, and nothing
  // planned, when either is out of bounds or the plan is full.
  bool add_between(const Elsewhere& from, uint32_t reference, uint32_t offset, uint32_t bytes);

  // Makes the copies from and to mapped pages. Runs everything else in one call; when the call
  // fails, once more vif by vif, so that only the vif at fault loses its frames. Returns the number
  // of library calls made.
  uint32_t run(Grants& grants);

  // Whether the segments [first, first + count) were all copied. After run().
  bool ok(uint32_t first, uint32_t count) const {
    NETBACK_CHECK(first + count <= count_);
    int failed = 0;
    for (uint32_t i = first; i < first + count; ++i) failed |= segments_[i].status;
    return failed == GNTST_okay;
  }
  bool all_ok() const { return ok(0, count_); }

  uint32_t count() const { return count_; }          // segments for the hypervisor
  uint32_t staged() const { return staged_count_; }  // copies that need none
  uint32_t room() const { return segments_max_ - count_; }
  std::span<const xengnttab_grant_copy_segment_t> segments() const {
    return {segments_.data(), count_};
  }

 private:
  struct StagedCopy {
    uint8_t* to;
    const uint8_t* from;
    uint32_t bytes;
  };

  // False: its page is not mapped so that we may.
  bool stage(uint32_t reference, uint32_t offset, void* local, uint32_t bytes) {
    const bool from_guest = direction_ == Direction::from_guest;
    uint8_t* page = staging_->find(reference, !from_guest);
    if (page == nullptr || staged_count_ == segments_max_) return false;
    uint8_t* guest = page + offset;
    auto* ours = static_cast<uint8_t*>(local);
    // All pages are fetched before the first is copied.
    if (from_guest) {
      __builtin_prefetch(guest);
      staged_[staged_count_++] = {ours, guest, bytes};
    } else {
      __builtin_prefetch(guest, 1);
      staged_[staged_count_++] = {guest, ours, bytes};
    }
    return true;
  }
  bool add_pieces(uint32_t reference, uint32_t offset, uint8_t* local, uint32_t bytes);
  void run_vif_by_vif(Grants& grants);

  void add_piece(uint32_t reference, uint32_t offset, void* local, uint32_t bytes) {
    auto& segment = segments_[count_++];
    const bool from_guest = direction_ == Direction::from_guest;
    auto& foreign = from_guest ? segment.source : segment.dest;
    auto& ours = from_guest ? segment.dest : segment.source;
    foreign.foreign = {.ref = reference, .offset = static_cast<uint16_t>(offset), .domid = domain_};
    ours.virt = local;
    segment.len = static_cast<uint16_t>(bytes);
    segment.flags = from_guest ? GNTCOPY_source_gref : GNTCOPY_dest_gref;
    segment.status = GNTST_general_error;
  }

  const Direction direction_;
  const uint32_t segments_max_;  // also of staged copies
  uint16_t domain_ = 0;
  uint32_t count_ = 0;
  std::vector<xengnttab_grant_copy_segment_t> segments_;
  std::vector<uint32_t> vif_starts_;
  const StagingTable* staging_ = nullptr;
  uint32_t staged_count_ = 0;
  std::vector<StagedCopy> staged_;
};

}  // namespace netback
