// Runs the unit tests inside one DPDK environment, with ordinary pages and no devices.
#define CATCH_CONFIG_RUNNER
#include <unistd.h>

#include <catch2/catch.hpp>

#include "lib/dpdk/eal.hpp"

int main(int argc, char** argv) {
  netback::EalOptions options;
  options.file_prefix = "netback-unit-" + std::to_string(getpid());
  options.memory_mb = 192;
  auto eal = netback::Eal::start(options);
  if (!eal) {
    Catch::cerr() << eal.error().message << "\n";
    return 1;
  }
  return Catch::Session().run(argc, argv);
}
