// The vif files as they are now, for each vif that appears.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/config.hpp"

namespace netback {

// Reads a file again only when it has changed: each of a thousand vifs that appear would have the
// files of all of them read otherwise.
class VifFiles {
 public:
  // `defaults`: as for read_vif_configs(), constant from the first read() on; they outlive it.
  VifFiles(std::string directory, const VifConfig& defaults)
      : directory_(std::move(directory)), defaults_(defaults) {}

  // As read_vif_configs() gives them. What is wrong with a file is in its own error; it is no
  // concern of other vifs. One that does not say which vif it is about has a line of the log.
  const std::vector<VifConfig>& read();

  uint64_t files_read() const { return files_read_; }

 private:
  // What changes when a file does.
  struct Stamp {
    uint64_t device = 0, inode = 0, bytes = 0;
    int64_t modified_ns = 0, changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  struct File {
    Stamp stamp;
    bool settled = false;  // another change since would show: clocks of file systems tick
    VifConfig config;
  };
  static Stamp stamp_of(const std::string& name);
  bool refresh(const std::vector<std::string>& names);

  const std::string directory_;
  const VifConfig& defaults_;
  std::map<std::string, File> files_;  // by name
  std::vector<VifConfig> configs_;     // of those that say which vif they are about
  uint64_t files_read_ = 0;
};

}  // namespace netback
