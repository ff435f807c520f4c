#include "control/host.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "lib/xen/number.hpp"

namespace netback {
namespace {

namespace fs = std::filesystem;

bool has_word(const std::string& file, size_t field, std::string_view word) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string value;
    for (size_t i = 0; i <= field; ++i) fields >> value;
    if (value == word) return true;
  }
  return false;
}

}  // namespace

Status check_no_kernel_netback(const std::string& root) {
  std::error_code ignored;
  if (fs::exists(root + "/sys/bus/xen-backend/drivers/vif", ignored) ||
      has_word(root + "/proc/modules", 0, "xen_netback"))
    return Error{"the kernel's xen-netback is loaded and owns this domain's vifs",
                 "rmmod xen-netback; add \"blacklist xen-netback\" to /etc/modprobe.d", true};
  return Done{};
}

bool hugepages_available(uint32_t memory_mb, const std::string& root) {
  if (!has_word(root + "/proc/mounts", 2, "hugetlbfs")) return false;
  uint64_t free_kb = 0;
  std::error_code error;
  for (const auto& size : fs::directory_iterator(root + "/sys/kernel/mm/hugepages", error)) {
    // hugepages-2048kB
    const std::string name = size.path().filename();
    uint64_t page_kb = 0, pages = 0;
    if (std::sscanf(name.c_str(), "hugepages-%lukB", &page_kb) != 1) continue;
    std::ifstream(size.path() / "free_hugepages") >> pages;
    free_kb += page_kb * pages;
  }
  return free_kb >= uint64_t{memory_mb} * 1024;
}

unsigned last_cpu() {
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  return cpus > 1 ? static_cast<unsigned>(cpus - 1) : 0;
}

Result<std::unique_ptr<InstanceLock>> InstanceLock::take(const std::string& path) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return errno_error("cannot open " + path, "run as root, or choose another --socket");
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 32> holder{};
    [[maybe_unused]] const ssize_t count = read(fd, holder.data(), holder.size() - 1);
    close(fd);
    return Error{fmt::format("another dpdk-netback runs here, process {}", holder.data()),
                 "netbackctl stop --drain", true};
  }
  const std::string pid = std::to_string(getpid());
  if (ftruncate(fd, 0) != 0 || write(fd, pid.data(), pid.size()) < 0) {
    Error failed = errno_error("cannot write " + path);
    close(fd);
    return failed;
  }
  return std::unique_ptr<InstanceLock>(new InstanceLock(fd));
}

// The file stays: who opened it to wait for the lock must not get one of a removed file.
InstanceLock::~InstanceLock() {
  close(fd_);
}

}  // namespace netback
