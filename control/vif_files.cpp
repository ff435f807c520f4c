#include "control/vif_files.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>

#include "control/config_vif.hpp"
#include "lib/base/log.hpp"

namespace netback {
namespace {

constexpr auto settles_after = std::chrono::seconds(2);

int64_t nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

int64_t settled_before() {
  const auto now = std::chrono::system_clock::now().time_since_epoch() - settles_after;
  return std::chrono::nanoseconds(now).count();
}

}  // namespace

VifFiles::Stamp VifFiles::stamp_of(const std::string& name) {
  struct stat found {};
  if (stat(name.c_str(), &found) != 0) return {};
  return {.device = found.st_dev,
          .inode = found.st_ino,
          .bytes = static_cast<uint64_t>(found.st_size),
          .modified_ns = nanoseconds(found.st_mtim),
          .changed_ns = nanoseconds(found.st_ctim)};
}

const std::vector<VifConfig>& VifFiles::read() {
  std::vector<Error> errors;
  if (!refresh(vif_file_names(directory_, errors))) return configs_;
  configs_.clear();
  for (const auto& [name, file] : files_)
    if (is_identified(file.config)) configs_.push_back(file.config);
  return configs_;
}

// Whether anything is new.
bool VifFiles::refresh(const std::vector<std::string>& names) {
  const int64_t settled = settled_before();
  bool changed = std::erase_if(files_, [&](const auto& file) {
                   return !std::binary_search(names.begin(), names.end(), file.first);
                 }) > 0;
  for (const std::string& name : names) {
    const Stamp stamp = stamp_of(name);  // before the file is read
    File& file = files_[name];
    if (file.settled && file.stamp == stamp) continue;
    std::vector<Error> errors;
    file = {.stamp = stamp,
            .settled = std::max(stamp.modified_ns, stamp.changed_ns) < settled,
            .config = read_vif_file(name, errors, defaults_)};
    if (!is_identified(file.config))
      log::warn("{}; no vif has these settings", errors.front().message);
    ++files_read_;
    changed = true;
  }
  return changed;
}

}  // namespace netback
