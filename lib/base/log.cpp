#include "lib/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>

namespace netback::log {

void start(const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>("dpdk-netback",
                                                 std::make_shared<spdlog::sinks::stderr_sink_st>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %n %l: %v");
  spdlog::set_default_logger(logger);
  const auto parsed = spdlog::level::from_str(level);
  spdlog::set_level(parsed == spdlog::level::off ? spdlog::level::info : parsed);
}

}  // namespace netback::log
