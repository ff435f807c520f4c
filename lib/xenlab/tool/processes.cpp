#include "lib/xenlab/tool/processes.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <stdexcept>

#include "lib/xenlab/abi/machine.hpp"

namespace xenlab {
namespace {

uint32_t ports_of(const Machine& machine, uint32_t client) {
  uint32_t count = 0;
  for (uint32_t index = 0; index < handles_max; ++index) {
    const Handle& handle = machine.handles[index];
    if (!handle.in_use || handle.client != client) continue;
    for (const Port& port : machine.domains[handle.domain].ports)
      count += port.kind != Port::closed && port.handle == index;
  }
  return count;
}

uint32_t mappings_of(const Machine& machine, uint32_t client) {
  uint32_t count = 0;
  for (const Mapping& mapping : machine.mappings) count += mapping.client == client;
  return count;
}

}  // namespace

std::vector<ProcessInfo> processes(const std::string& directory) {
  setenv("XENLAB", directory.c_str(), 1);
  setenv("XENLAB_DOMAIN", "0", 1);
  const Here* lab = here();  // as a process of domain 0, which is left out
  if (lab == nullptr)
    throw std::runtime_error(
        fmt::format("no lab in {} (fix: xenlab up --lab {})", directory, directory));
  const Machine& machine = *lab->machine;
  const Locked locked(*lab->machine);
  std::vector<ProcessInfo> all;
  for (uint32_t index = 0; index < clients_max; ++index) {
    const Client& client = machine.clients[index];
    if (!client.in_use || index == lab->client) continue;
    all.push_back({.process = client.process,
                   .domain_number = machine.domains[client.domain].number,
                   .ports = ports_of(machine, index),
                   .mappings = mappings_of(machine, index),
                   .copy_calls = client.copy_calls,
                   .copy_hypercalls = client.copy_hypercalls,
                   .copy_operations = client.copy_operations,
                   .notifications = client.notifications});
  }
  return all;
}

}  // namespace xenlab
