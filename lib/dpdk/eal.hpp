// DPDK's environment, started once per process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.hpp"

namespace netback {

struct EalOptions {
  std::string file_prefix = "dpdk-netback";  // names its files in the runtime directory
  bool hugepages = false;
  uint32_t memory_mb = 256;  // the whole of it: fixed at start without hugepages
  std::vector<unsigned>
      worker_cpus;  // worker i runs as lcore i + 1 on this cpu; control is lcore 0
  std::vector<std::string> pci_allowed;  // "ADDRESS,ARGUMENTS"; none: the PCI bus is left alone
};

// Ends with the process's only EAL when it goes; files it made are removed.
class Eal {
 public:
  static Result<std::unique_ptr<Eal>> start(const EalOptions& options);
  ~Eal();
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

 private:
  explicit Eal(std::string runtime_dir) : runtime_dir_(std::move(runtime_dir)) {}
  std::string runtime_dir_;
};

}  // namespace netback
