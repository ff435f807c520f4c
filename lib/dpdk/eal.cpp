#include "lib/dpdk/eal.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_log.h>
#include <sys/io.h>
#include <unistd.h>

#include <filesystem>

namespace netback {
namespace {

std::string lcores_option(const EalOptions& options) {
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  std::string lcores = cpus > 1 ? fmt::format("0@(0-{})", cpus - 1) : "0@0";
  for (size_t i = 0; i < options.worker_cpus.size(); ++i)
    lcores += fmt::format(",{}@{}", i + 1, options.worker_cpus[i]);
  return "--lcores=" + lcores;
}

std::vector<std::string> arguments(const EalOptions& options) {
  std::vector<std::string> args = {"dpdk-netback",   lcores_option(options),
                                   "--main-lcore=0", "--file-prefix=" + options.file_prefix,
                                   "--no-telemetry", "--log-level=*:4"};
  if (options.hugepages) {
    // Unlinked at once, they are free again when this process ends, however it does.
    args.insert(args.end(), {fmt::format("--socket-mem={}", options.memory_mb), "--huge-unlink"});
  } else {
    args.insert(args.end(),
                {"--no-huge", "--iova-mode=va", "-m", std::to_string(options.memory_mb)});
  }
  if (options.pci_allowed.empty()) args.push_back("--no-pci");
  for (const auto& device : options.pci_allowed) args.insert(args.end(), {"-a", device});
  return args;
}

// Whether another process runs on these files: it holds a lock on one of them.
bool in_use(const std::string& runtime_dir) {
  const int fd = open((runtime_dir + "/config").c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  const bool held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  close(fd);
  return held;
}

// DPDK leaves its lock files for a next start to clean.
void remove_files_of(const std::string& runtime_dir) {
  std::error_code ignored;
  if (!runtime_dir.empty()) std::filesystem::remove_all(runtime_dir, ignored);
}

// Once started, DPDK may abort for want of a descriptor, in a thread of its own, or keep what it
// has when it fails: so there must be plenty before.
Status check_descriptors() {
  constexpr size_t wanted = 32;
  std::vector<int> taken;
  while (taken.size() < wanted) {
    const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0) break;
    taken.push_back(fd);
  }
  Status status = Done{};
  if (taken.size() < wanted)
    status = errno_error(
        fmt::format("{} descriptors are free and DPDK and its ports want {}", taken.size(), wanted),
        "raise ulimit -n");
  for (const int fd : taken) close(fd);
  return status;
}

// DPDK's virtio driver asks for all of them when it is loaded, for old PCI devices; threads have
// what the one that makes them has. In a PV domain the kernel tells Xen so in a hypercall whenever
// such a thread returns from a system call. Control and the workers give them up; DPDK's own thread
// for interrupts, which sleeps, keeps them.
void give_up_io_ports() {
  const auto give_up = [](void*) { return iopl(0); };
  rte_eal_mp_remote_launch(give_up, nullptr, CALL_MAIN);
  rte_eal_mp_wait_lcore();
}

}  // namespace

Result<std::unique_ptr<Eal>> Eal::start(const EalOptions& options) {
  auto args = arguments(options);
  std::vector<char*> argv;
  for (auto& arg : args) argv.push_back(arg.data());
  if (Status status = check_descriptors(); !status) return status.error();
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    const std::string why = rte_strerror(rte_errno);
    const std::string runtime_dir = rte_eal_get_runtime_dir();
    if (!in_use(runtime_dir)) remove_files_of(runtime_dir);
    return Error{fmt::format("DPDK does not start: {}", why),
                 options.hugepages ? "reserve hugepages (vm.nr_hugepages) or set memory = \"pages\""
                                   : "see the lines that DPDK printed above"};
  }
  if (options.pci_allowed.empty()) give_up_io_ports();
  return std::unique_ptr<Eal>(new Eal(rte_eal_get_runtime_dir()));
}

Eal::~Eal() {
  rte_eal_cleanup();
  remove_files_of(runtime_dir_);
}

}  // namespace netback
