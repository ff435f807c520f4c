// One line per event, to stderr: the daemon's log is journald's or the terminal's. Control thread
// only; workers report by message (dataplane/messages.hpp).
#pragma once

#include <spdlog/spdlog.h>

namespace netback::log {

// "error", "warn", "info" or "debug"; anything else leaves "info".
void start(const std::string& level);

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

}  // namespace netback::log
