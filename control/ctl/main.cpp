// netbackctl: asks the daemon and shows what it answers.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <ctime>
#include <thread>

#include "control/ctl/client.hpp"
#include "control/ctl/rates.hpp"
#include "control/ctl/text.hpp"
#include "control/startup.hpp"

using namespace netback;
using namespace netback::ctl;

namespace {

constexpr int stop_patience_s = 15;  // drain_ms and the time to close ports
constexpr int remove_patience_s = 5;

struct Options {
  std::string socket = "/run/dpdk-netback/control.sock";
  bool json = false;
  std::string vif, port;
  bool watch = false, all = false, drain = false, force = false;
  unsigned count = 0;     // 0: until interrupted
  double interval = 1.0;  // seconds
};

void print(const Options& options, const Json& json, const std::string& text) {
  if (options.json)
    fmt::print("{}\n", json.dump(2));
  else
    fmt::print("{}", text);
}

void watch_stats(Client& client, const Options& options, const Json& args) {
  const bool terminal = isatty(STDOUT_FILENO) && !options.json;
  Json before = client.ask("stats", args);
  for (unsigned i = 0; options.count == 0 || i < options.count; ++i) {
    std::this_thread::sleep_for(std::chrono::duration<double>(options.interval));
    Json after = client.ask("stats", args);
    const Rates rates = rates_between(before, after);
    if (options.json) {
      fmt::print("{}\n", rates_json(rates).dump());
    } else {
      // Redrawn from the top: clearing first would flicker.
      std::string text = fmt::format("dpdk-netback   {:%H:%M:%S}   {:.1f} s\n\n",
                                     fmt::localtime(std::time(nullptr)), rates.seconds) +
                         rates_text(rates, terminal);
      if (terminal) {
        for (size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 4))
          text.insert(at, "\x1b[K");
        text = "\x1b[H" + text + "\x1b[J";
        if (i == 0) text = "\x1b[2J" + text;
      }
      fmt::print("{}{}", text, terminal ? "" : "\n");
    }
    std::fflush(stdout);
    before = std::move(after);
  }
}

void show_stats(Client& client, const Options& options) {
  const Json args = options.vif.empty() ? Json::object() : Json{{"vif", options.vif}};
  if (options.watch) return watch_stats(client, options, args);
  const Json stats = client.ask("stats", args);
  print(options, stats, options.json ? "" : stats_text(stats, options.all));
}

void stop(Client& client, const Options& options) {
  const Json result = client.ask("stop", {{"drain", options.drain}});
  if (!client.wait_for_end(stop_patience_s))
    throw Failure{exit_code::failed, "dpdk-netback has not stopped yet", "see its log"};
  print(options, result, "stopped\n");
}

// Until its worker has let it go and its device is closed.
void remove_port(Client& client, const Options& options) {
  const Json result = client.ask("port-remove", {{"port", options.port}, {"force", options.force}});
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(remove_patience_s);
  while (client.ask("port")["leaving"] != Json::array()) {
    if (std::chrono::steady_clock::now() > end)
      throw Failure{exit_code::failed, "port '" + options.port + "' is not closed yet",
                    "see the daemon's log"};
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  print(options, result, "removed\n");
}

// What it is now.
void add_port(Client& client, const Options& options) {
  client.ask("port-add", {{"port", options.port}});
  const Json ports = client.ask("port", {{"port", options.port}});
  print(options, ports, ports_text(ports));
}

void add_port_verbs(CLI::App& port, Client& client, Options& options) {
  auto* add = port.add_subcommand("add",
                                  "Open a port that dpdk-netback.toml has now, or that was "
                                  "removed");
  add->add_option("NAME", options.port, "its name in dpdk-netback.toml")->required();
  add->callback([&] { add_port(client, options); });
  auto* remove = port.add_subcommand("remove", "Close a port; refused while it has vifs");
  remove->add_option("NAME", options.port, "its name")->required();
  remove->add_flag("--force", options.force,
                   "with vifs too: they have no carrier until it is added again");
  remove->callback([&] { remove_port(client, options); });
}

void add_verbs(CLI::App& app, Client& client, Options& options) {
  const std::string vif_help = "DOMID.DEVID, NAME.DEVID or a MAC";
  app.add_subcommand("info", "Show what runs: version, memory, workers")->callback([&] {
    const Json info = client.ask("info");
    print(options, info, info_text(info));
  });
  app.add_subcommand("list", "List the vifs and their states")->callback([&] {
    const Json list = client.ask("list");
    print(options, list, list_text(list));
  });
  auto* show = app.add_subcommand("show", "Show one vif: settings and where each comes from");
  show->add_option("VIF", options.vif, vif_help)->required();
  show->callback([&] {
    const Json vif = client.ask("show", {{"vif", options.vif}});
    print(options, vif, show_text(vif));
  });
  auto* stats = app.add_subcommand("stats", "Show counters, or with --watch rates");
  stats->add_option("VIF", options.vif, vif_help + "; default: all");
  stats->add_flag("--all", options.all, "counters that are 0 too");
  stats->add_flag("--watch", options.watch, "a live table of rates");
  stats->add_option("--interval", options.interval, "seconds between two looks")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  stats->add_option("--count", options.count, "end after this many; 0: when interrupted")
      ->capture_default_str();
  stats->callback([&] { show_stats(client, options); });
  auto* port = app.add_subcommand("port", "Show the ports; add or remove one");
  port->add_option("NAME", options.port, "a port of dpdk-netback.toml; default: all");
  add_port_verbs(*port, client, options);
  port->callback([&, port] {
    if (!port->get_subcommands().empty()) return;
    const Json ports =
        client.ask("port", options.port.empty() ? Json::object() : Json{{"port", options.port}});
    print(options, ports, ports_text(ports));
  });
  auto* rearm = app.add_subcommand("rearm", "End a vif's wait after a quarantine");
  rearm->add_option("VIF", options.vif, vif_help)->required();
  rearm->callback([&] {
    const Json result = client.ask("rearm", {{"vif", options.vif}});
    print(options, result, "");
  });
  auto* stop_verb = app.add_subcommand("stop", "Stop the daemon; refused while a vif is connected");
  stop_verb->add_flag("--drain", options.drain,
                      "with vifs connected too: they stay connected and wait for the next start");
  stop_verb->callback([&] { stop(client, options); });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Shows and steers dpdk-netback.", "netbackctl"};
  Options options;
  app.add_flag("--json", options.json, "answers as JSON");
  app.add_option("--socket", options.socket, "the daemon's control socket")->capture_default_str();
  app.set_version_flag("--version", "netbackctl " NETBACK_VERSION);
  app.fallthrough();
  Client client(options.socket);  // by reference: read when it connects, after parsing
  add_verbs(app, client, options);
  try {
    app.parse(argc, argv);
    // Not require_subcommand(): that would hide which word was wrong.
    if (app.get_subcommands().empty())
      throw CLI::RequiredError("a verb: info, list, show, stats, port, rearm or stop");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_code::done : exit_code::usage;
  } catch (const Failure& failure) {
    const std::string fix = failure.fix.empty() ? "" : fmt::format(" (fix: {})", failure.fix);
    fmt::print(stderr, "netbackctl: {}{}\n", failure.error, fix);
    return failure.code;
  }
  return exit_code::done;
}
