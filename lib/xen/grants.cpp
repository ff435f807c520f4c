#include "lib/xen/grants.hpp"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>

#include "lib/base/copy_bytes.hpp"

namespace netback {

MappedPage::~MappedPage() {
  if (page_ != nullptr) NETBACK_CHECK(xengnttab_unmap(handle_, page_, 1) == 0);
}

Result<std::unique_ptr<Grants>> Grants::open() {
  xengnttab_handle* handle = xengnttab_open(nullptr, 0);
  if (handle == nullptr)
    return errno_error("cannot open /dev/xen/gntdev",
                       "run in a Xen domain, as root, with the module xen-gntdev loaded");
  return std::unique_ptr<Grants>(new Grants(handle));
}

Grants::~Grants() {
  xengnttab_close(handle_);
}

Result<MappedPage> Grants::map(uint32_t domain, uint32_t reference, Access access) {
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void* page = xengnttab_map_grant_ref(handle_, domain, reference, protection);
  if (page == nullptr)
    return errno_error(fmt::format("cannot map grant {} of domain {}", reference, domain));
  return MappedPage(handle_, page);
}

bool Grants::copy(std::span<xengnttab_grant_copy_segment_t> segments) {
  return xengnttab_grant_copy(handle_, static_cast<uint32_t>(segments.size()), segments.data()) ==
         0;
}

CopyPlan::CopyPlan(Direction direction, uint32_t segments_max)
    : direction_(direction),
      segments_max_(segments_max),
      segments_(segments_max),
      staged_(segments_max) {
  vif_starts_.reserve(segments_max);
}

void CopyPlan::clear() {
  count_ = staged_count_ = 0;
  vif_starts_.clear();
}

void CopyPlan::begin_vif(uint16_t domain, const StagingTable* staging) {
  domain_ = domain;
  staging_ = staging;
  if (!vif_starts_.empty() && vif_starts_.back() == count_) return;  // the last vif planned nothing
  NETBACK_CHECK(vif_starts_.size() < vif_starts_.capacity());
  vif_starts_.push_back(count_);
}

bool CopyPlan::add_pieces(uint32_t reference, uint32_t offset, uint8_t* local, uint32_t bytes) {
  const uint32_t before = count_;
  while (bytes > 0) {
    const auto page_left =
        netif::page_bytes -
        static_cast<uint32_t>(reinterpret_cast<uintptr_t>(local) % netif::page_bytes);
    const uint32_t piece = std::min(bytes, page_left);
    if (count_ == segments_max_) {
      count_ = before;
      return false;
    }
    add_piece(reference, offset, local, piece);
    local += piece;
    offset += piece;
    bytes -= piece;
  }
  return true;
}

bool CopyPlan::add_between(const Elsewhere& from, uint32_t reference, uint32_t offset,
                           uint32_t bytes) {
  NETBACK_CHECK(direction_ == Direction::to_guest);
  const auto within = [bytes](uint32_t ref, uint32_t at) {
    return ref >= netif::first_reference && at <= netif::page_bytes &&
           bytes <= netif::page_bytes - at;
  };
  if (!within(from.reference, from.offset) || !within(reference, offset)) return false;
  if (count_ == segments_max_) return false;
  auto& segment = segments_[count_++];
  segment.source.foreign = {
      .ref = from.reference, .offset = static_cast<uint16_t>(from.offset), .domid = from.domain};
  segment.dest.foreign = {
      .ref = reference, .offset = static_cast<uint16_t>(offset), .domid = domain_};
  segment.len = static_cast<uint16_t>(bytes);
  segment.flags = GNTCOPY_source_gref | GNTCOPY_dest_gref;
  segment.status = GNTST_general_error;
  return true;
}

uint32_t CopyPlan::run(Grants& grants) {
  for (uint32_t i = 0; i < staged_count_; ++i)
    copy_bytes(staged_[i].to, staged_[i].from, staged_[i].bytes);
  if (count_ == 0) return 0;
  if (grants.copy({segments_.data(), count_})) return 1;
  run_vif_by_vif(grants);
  return 1 + static_cast<uint32_t>(vif_starts_.size());
}

void CopyPlan::run_vif_by_vif(Grants& grants) {
  for (size_t i = 0; i < vif_starts_.size(); ++i) {
    const uint32_t first = vif_starts_[i];
    const uint32_t end = i + 1 < vif_starts_.size() ? vif_starts_[i + 1] : count_;
    const std::span range(segments_.data() + first, end - first);
    if (range.empty() || grants.copy(range)) continue;
    for (auto& segment : range) segment.status = GNTST_general_error;
  }
}

}  // namespace netback
