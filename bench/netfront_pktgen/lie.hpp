// What a guest must not do, for trying a backend.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "lib/netfront/frontend.hpp"

namespace netback {

// The kinds of lies, by name.
std::vector<std::string> lies();

// Puts a few honest frames on each queue and a lie behind those of the last, and waits until the
// backend serves the vif no longer, or 5 s. "faults": it still does, or gave an answer to nothing.
nlohmann::json lie(Frontend& frontend, const std::string& kind);

}  // namespace netback
