// dpdk-netback: the daemon.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "control/daemon.hpp"
#include "lib/base/log.hpp"

using namespace netback;

namespace {

int check(const DaemonOptions& options) {
  const auto config = read_all_config(options.config_directory);
  if (config) {
    fmt::print("{}: good\n", options.config_directory);
    return exit_code::done;
  }
  fmt::print(stderr, "dpdk-netback: {}\n", with_fix(config.error()));
  return exit_code::usage;
}

int serve(const DaemonOptions& options) {
  Daemon daemon(options);
  Startup startup(daemon.steps());
  std::string message;
  const int status = startup.run(message);
  if (status != exit_code::done) {
    fmt::print(stderr, "dpdk-netback: cannot start: {}\n", message);
    return status;
  }
  daemon.serve();
  startup.undo();
  log::info("stopped");
  return exit_code::done;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Poll-mode Xen network backend on DPDK.", "dpdk-netback"};
  DaemonOptions options;
  bool check_only = false;
  app.add_option("--config", options.config_directory, "directory of dpdk-netback.toml and vif.d/")
      ->capture_default_str();
  app.add_flag("--check", check_only, "read all configuration files, say what is wrong, exit");
  app.add_option("--socket", options.socket, "control socket")->capture_default_str();
  app.add_option("--log-level", options.log_level, "error, warn, info or debug")
      ->check(CLI::IsMember({"error", "warn", "info", "debug"}));
  bool foreground = true;
  app.add_flag("--foreground", foreground, "stay in the foreground; it always does");
  app.set_version_flag("--version", "dpdk-netback " NETBACK_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_code::done : exit_code::usage;
  }
  return check_only ? check(options) : serve(options);
}
