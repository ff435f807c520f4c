// The processes of a lab: what each holds of others and what it has done.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace xenlab {

struct ProcessInfo {
  uint32_t process, domain_number;
  uint32_t ports;     // event channels
  uint32_t mappings;  // other domains' pages
  uint64_t copy_calls, copy_hypercalls, copy_operations, notifications;
};

// Throws std::runtime_error when there is no lab in `directory`.
std::vector<ProcessInfo> processes(const std::string& directory);

}  // namespace xenlab
