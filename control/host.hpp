// What the machine says before we start: other owners of the vifs, hugepages, cpus, one of us only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lib/base/result.hpp"

namespace netback {

// Fails when the kernel's xen-netback owns this domain's vifs. `root` goes before /sys and /proc.
Status check_no_kernel_netback(const std::string& root = {});

// Whether `memory_mb` of free hugepages are there, on a mounted hugetlbfs.
bool hugepages_available(uint32_t memory_mb, const std::string& root = {});

unsigned last_cpu();

// Held while the process lives; the second one to ask is refused.
class InstanceLock {
 public:
  // Makes the directory of `path` if it is absent.
  static Result<std::unique_ptr<InstanceLock>> take(const std::string& path);
  ~InstanceLock();
  InstanceLock(const InstanceLock&) = delete;
  InstanceLock& operator=(const InstanceLock&) = delete;

 private:
  explicit InstanceLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace netback
