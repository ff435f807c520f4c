// Who a vif is and what it shall get: its files, its xenstore keys and the ports, brought together.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/port.hpp"
#include "control/vif_files.hpp"
#include "dataplane/guest_queue.hpp"
#include "lib/base/result.hpp"
#include "lib/xen/store.hpp"

namespace netback {

struct VifId {
  uint16_t domain = 0;
  uint32_t devid = 0;
  auto operator<=>(const VifId&) const = default;
  std::string text() const;  // "DOMID.DEVID"
};

struct VifPlan {
  EffectiveVif settings;
  Port* port = nullptr;
  std::vector<size_t> workers;  // that may have it, at least one
  VifSettings queue;            // all but what is agreed with the guest
};

// Where plans come from.
struct PlanSources {
  const Store& store;
  const DaemonConfig& config;
  VifFiles& files;
  const std::vector<std::unique_ptr<Port>>& ports;
};

// Reads name, uuid and mac; what is absent stays empty.
VifIdentity identify_vif(const Store& store, const VifId& id, const std::string& directory);

// Reads the vif files again. Fails when the vif's file, a key or the port is wrong, or its mtu is
// more than the port's (seed S7, S14).
Result<VifPlan> plan_vif(const PlanSources& sources, const VifIdentity& identity,
                         const std::string& directory);

}  // namespace netback
