#include "control/staging.hpp"

#include <filesystem>
#include <fstream>

#include "lib/base/log.hpp"

namespace netback {

Staging::Staging(Grants& grants, uint16_t domain, std::string file, uint32_t pages_max)
    : grants_(grants), domain_(domain), file_(std::move(file)), pages_max_(pages_max) {}

bool Staging::map(const netif::StaticGrant& wanted, std::vector<uint32_t>& added) {
  if (wanted.ref < netif::first_reference || (wanted.flags & ~XEN_NETIF_CTRLF_GREF_readonly) != 0)
    return false;
  if (const auto here = pages_.find(wanted.ref); here != pages_.end())
    return here->second.flags == wanted.flags;
  if (pages_.size() == pages_max_ || pages_of_process_ == pages_of_process_max) return false;
  const bool read_only = (wanted.flags & XEN_NETIF_CTRLF_GREF_readonly) != 0;
  auto page = grants_.map(domain_, wanted.ref,
                          read_only ? Grants::Access::read_only : Grants::Access::read_write);
  if (!page) return false;
  pages_.emplace(wanted.ref, Page{std::move(page).value(), wanted.flags});
  ++pages_of_process_;
  added.push_back(wanted.ref);
  return true;
}

bool Staging::add(std::span<const netif::StaticGrant> list) {
  std::vector<uint32_t> added;
  for (const auto& wanted : list) {
    if (map(wanted, added)) continue;
    for (const uint32_t reference : added) pages_.erase(reference);
    pages_of_process_ -= static_cast<uint32_t>(added.size());
    return false;
  }
  save();
  return true;
}

std::vector<MappedPage> Staging::remove(std::span<netif::StaticGrant> list) {
  std::vector<MappedPage> removed;
  for (auto& unwanted : list) {
    auto found = pages_.extract(unwanted.ref);
    unwanted.status =
        found ? XEN_NETIF_CTRL_STATUS_SUCCESS : XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
    if (found) removed.push_back(std::move(found.mapped().mapped));
  }
  pages_of_process_ -= static_cast<uint32_t>(removed.size());
  save();
  return removed;
}

std::shared_ptr<const StagingTable> Staging::table() const {
  if (pages_.empty()) return nullptr;
  std::vector<StagingTable::Page> pages;
  pages.reserve(pages_.size());
  for (const auto& [reference, page] : pages_)
    pages.push_back({.bytes = static_cast<uint8_t*>(page.mapped.data()),
                     .reference = reference,
                     .writable = (page.flags & XEN_NETIF_CTRLF_GREF_readonly) == 0});
  return std::make_shared<const StagingTable>(pages);
}

// Before the guest has its answer: what it was told is kept.
void Staging::save() const {
  if (file_.empty()) return;
  const std::string fresh = file_ + ".new";
  std::ofstream out(fresh, std::ios::trunc);
  for (const auto& [reference, page] : pages_) out << reference << ' ' << page.flags << '\n';
  out.close();
  std::error_code failed;
  if (out) std::filesystem::rename(fresh, file_, failed);
  if (!out || failed)
    log::warn("cannot write {}: after a restart its frames are copied by the hypervisor", file_);
}

// Outline: the file is trusted no more than the guest is, and every entry is tried for itself: the
// guest may have revoked some meanwhile, whose frames the hypervisor copies then, or refuses to.
void Staging::restore() {
  std::ifstream in(file_);
  std::vector<uint32_t> added;
  netif::StaticGrant wanted{};
  while (pages_.size() < pages_max_ && in >> wanted.ref >> wanted.flags) map(wanted, added);
}

void Staging::unmap_all() {
  pages_of_process_ -= static_cast<uint32_t>(pages_.size());
  pages_.clear();
}

void Staging::forget() {
  unmap_all();
  std::error_code absent;
  if (!file_.empty()) std::filesystem::remove(file_, absent);
}

}  // namespace netback
