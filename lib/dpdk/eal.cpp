#include "lib/dpdk/eal.hpp"

#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
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
    args.push_back(fmt::format("--socket-mem={}", options.memory_mb));
  } else {
    args.insert(args.end(),
                {"--no-huge", "--iova-mode=va", "-m", std::to_string(options.memory_mb)});
  }
  if (options.pci_allowed.empty()) args.push_back("--no-pci");
  for (const auto& address : options.pci_allowed) args.insert(args.end(), {"-a", address});
  return args;
}

}  // namespace

Result<std::unique_ptr<Eal>> Eal::start(const EalOptions& options) {
  auto args = arguments(options);
  std::vector<char*> argv;
  for (auto& arg : args) argv.push_back(arg.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    return Error{fmt::format("DPDK does not start: {}", rte_strerror(rte_errno)),
                 options.hugepages ? "reserve hugepages (vm.nr_hugepages) or set memory = \"pages\""
                                   : "see the lines that DPDK printed above"};
  }
  return std::unique_ptr<Eal>(new Eal(rte_eal_get_runtime_dir()));
}

Eal::~Eal() {
  rte_eal_cleanup();
  std::error_code ignored;  // DPDK leaves its lock files for a next start to clean
  std::filesystem::remove_all(runtime_dir_, ignored);
}

}  // namespace netback
