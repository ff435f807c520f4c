// xenlab: a Xen host without Xen. Every process of a lab is an ordinary process with the lab's
// library preloaded.
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/xenlab/tool/hypervisor.hpp"
#include "lib/xenlab/tool/processes.hpp"
#include "lib/xenlab/tool/toolstack.hpp"

using namespace xenlab;
namespace fs = std::filesystem;

namespace {

struct Options {
  std::string lab = "/tmp/xenlab";
  bool json = false, in_batch = false;
  std::string xenstored, domain;
  std::vector<std::string> words, command;
  FaultWords fault;
  CostWords costs;
  uint32_t milliseconds = 0, count = 1, entries = 1000;
};

// The library is beside the tool, or where it was installed.
std::string library_path() {
  const fs::path tool = fs::read_symlink("/proc/self/exe").parent_path();
  for (const fs::path& path : {tool / "libxenlab.so", tool / "../lib/xenlab/libxenlab.so"})
    if (fs::exists(path)) return fs::canonical(path);
  throw std::runtime_error(fmt::format("no libxenlab.so beside {}", tool.string()));
}

std::string find_xenstored(const std::string& asked) {
  std::vector<std::string> places{asked};
  if (asked.empty()) places = {"/usr/lib/xen-4.17/bin/xenstored", "/usr/sbin/xenstored"};
  for (const auto& place : places)
    if (access(place.c_str(), X_OK) == 0) return place;
  throw std::runtime_error(
      fmt::format("no xenstored at {} (fix: apt-get install xen-utils-4.17, "
                  "or --xenstored PATH)",
                  fmt::join(places, ", ")));
}

bool answers(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool good = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return good;
}

pid_t hypervisor_pid(const std::string& lab) {
  pid_t pid = 0;
  std::ifstream(lab + "/pid") >> pid;
  return pid > 0 && kill(pid, 0) == 0 ? pid : 0;
}

// The hypervisor's process: apart from the terminal, its words in LAB/log.
[[noreturn]] void be_hypervisor(const Options& options, const std::string& program) {
  setsid();
  if (freopen((options.lab + "/log").c_str(), "w", stderr) == nullptr ||
      freopen("/dev/null", "r", stdin) == nullptr || freopen("/dev/null", "w", stdout) == nullptr)
    _exit(1);
  try {
    const std::vector<std::string> xenstored{program, "--no-fork", "--internal-db", "--entry-nb",
                                             std::to_string(options.entries)};
    Hypervisor hypervisor(options.lab, xenstored, library_path());
    std::ofstream(options.lab + "/pid") << getpid();
    hypervisor.run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "xenlab: {}\n", error.what());
    _exit(1);
  }
  _exit(0);
}

void up(const Options& options) {
  if (hypervisor_pid(options.lab) != 0)
    throw std::runtime_error(fmt::format("the lab {} is up (fix: xenlab down)", options.lab));
  const std::string xenstored = find_xenstored(options.xenstored);
  library_path();
  fs::remove_all(options.lab);
  fs::create_directories(options.lab);
  if (fork() == 0) be_hypervisor(options, xenstored);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!answers(options.lab + "/xenstored/socket")) {
    if (std::chrono::steady_clock::now() > until) {
      std::ifstream log(options.lab + "/log");
      const std::string why{std::istreambuf_iterator<char>(log), {}};
      throw std::runtime_error("the lab did not come up: " + why);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  Toolstack(options.lab).init_domain_0();
}

void down(const Options& options) {
  const pid_t pid = hypervisor_pid(options.lab);
  if (pid == 0) throw std::runtime_error(fmt::format("no lab in {}", options.lab));
  kill(pid, SIGTERM);
  while (fs::exists(options.lab + "/hypervisor"))  // its last act is to remove it
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  fs::remove_all(options.lab);
}

void show(const Options& options, const std::vector<DomainInfo>& domains) {
  nlohmann::json all = nlohmann::json::array();
  for (const auto& domain : domains) {
    all.push_back({{"domid", domain.number}, {"name", domain.name}});
    if (!options.json) fmt::print("{:5} {}\n", domain.number, domain.name);
  }
  if (options.json) fmt::print("{}\n", all.dump());
}

// key=value, as in xl's vif.
VifWords vif_words(const std::vector<std::string>& words) {
  VifWords vif;
  for (const auto& word : words) {
    const size_t equals = word.find('=');
    if (equals == word.npos) throw std::runtime_error(fmt::format("'{}' is no KEY=VALUE", word));
    const std::string key = word.substr(0, equals), value = word.substr(equals + 1);
    if (key == "mac")
      vif.mac = value;
    else if (key == "script")
      vif.script = value;
    else if (key == "devid")
      vif.devid = std::stoi(value);
    else
      vif.more[key] = value;
  }
  if (vif.mac.empty()) throw std::runtime_error("a vif needs mac=");
  return vif;
}

void add_vifs(const Options& options) {
  const auto devids =
      Toolstack(options.lab).add_vifs(options.domain, vif_words(options.words), options.count);
  for (const int devid : devids)
    fmt::print("{}\n",
               options.json ? nlohmann::json{{"devid", devid}}.dump() : fmt::to_string(devid));
}

void execute(const Options& options) {
  if (options.in_batch) throw std::runtime_error("exec would end the batch");
  const auto environment = Toolstack(options.lab).environment(options.domain, library_path());
  for (const auto& [key, value] : environment) setenv(key.c_str(), value.c_str(), 1);
  std::vector<char*> words;
  for (const auto& word : options.command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  execvp(words[0], words.data());
  throw std::runtime_error(fmt::format("{}: {}", words[0], std::strerror(errno)));
}

void show_processes(const Options& options) {
  nlohmann::json all = nlohmann::json::array();
  for (const auto& each : processes(options.lab)) {
    all.push_back({{"pid", each.process},
                   {"domid", each.domain_number},
                   {"ports", each.ports},
                   {"mappings", each.mappings},
                   {"copy_calls", each.copy_calls},
                   {"copy_hypercalls", each.copy_hypercalls},
                   {"copy_operations", each.copy_operations},
                   {"notifications", each.notifications}});
    if (!options.json)
      fmt::print(
          "{:8} of domain {}: {} ports, {} mappings, {} copies in {} hypercalls, "
          "{} notifications\n",
          each.process, each.domain_number, each.ports, each.mappings, each.copy_operations,
          each.copy_hypercalls, each.notifications);
  }
  if (options.json) fmt::print("{}\n", all.dump());
}

void add_cost_verbs(CLI::App& app, Options& options) {
  app.add_subcommand("processes", "what each process holds and has done")->callback([&] {
    show_processes(options);
  });
  auto* cost = app.add_subcommand("cost", "let things take their time, in ns; not given: none");
  cost->add_option("--hypercall", options.costs.hypercall,
                   "of 16 grant copies, a map, an unmap, a bind, an unbind");
  cost->add_option("--copy", options.costs.copy, "a grant-copy operation, beside its bytes");
  cost->add_option("--notify", options.costs.notify, "a notification");
  cost->callback([&] { Toolstack(options.lab).set_costs(options.costs); });
}

void add_fault_verbs(CLI::App& app, Options& options) {
  auto* fault = app.add_subcommand("fault", "arm a fault; says how often it has struck so far");
  fault->add_option("FAULT", options.fault.name, fmt::format("{}", fmt::join(fault_names, ", ")))
      ->required();
  Aim& aim = options.fault.aim;
  fault->add_option("--one-in", aim.one_in, "strikes one chance in so many, on average");
  fault->add_option("--seed", aim.seed, "the same seed, the same strikes")->capture_default_str();
  fault->add_option("--at", aim.at, "strikes once: at the so-manieth chance from now");
  fault->add_option("--index", aim.index, "only operations of this index in their grant-copy call");
  fault->add_option("--domain", options.fault.domain, "only those on pages of this domain");
  fault->callback([&] {
    const uint64_t happened = Toolstack(options.lab).arm_fault(options.fault);
    fmt::print("{}\n", options.json ? nlohmann::json{{"happened", happened}}.dump()
                                    : fmt::to_string(happened));
  });
  auto* pause = app.add_subcommand("pause-xenstore", "xenstored answers nobody for a while");
  pause->add_option("MS", options.milliseconds)->required();
  pause->callback([&] { Toolstack(options.lab).pause_xenstore(options.milliseconds); });
}

void run_lines(const Options& given);

void add_verbs(CLI::App& app, Options& options) {
  app.require_subcommand(1);
  app.add_option("--lab", options.lab, "directory of the lab; several may be up")
      ->envname("XENLAB")
      ->capture_default_str();
  app.add_flag("--json", options.json, "answers as JSON");
  auto* up_verb = app.add_subcommand("up", "start a lab: a hypervisor and xenstored");
  up_verb->add_option("--xenstored", options.xenstored,
                      "the program, where Debian has it elsewhere");
  up_verb->add_option("--entries", options.entries, "nodes that a domain may have in xenstore")
      ->capture_default_str();
  up_verb->callback([&] { up(options); });
  app.add_subcommand("down", "end it, with every process in it")->callback([&] { down(options); });

  auto* domain = app.add_subcommand("domain", "domains")->require_subcommand(1);
  domain->add_subcommand("list", "number and name")->callback([&] {
    show(options, Toolstack(options.lab).domains());
  });
  auto* create = domain->add_subcommand("create", "a new one, without vifs");
  create->add_option("NAME", options.domain)->required();
  create->callback([&] { show(options, {Toolstack(options.lab).create(options.domain)}); });
  auto* destroy = domain->add_subcommand("destroy", "end it now, with its processes and vifs");
  destroy->add_option("DOMAIN", options.domain, "number or name")->required();
  destroy->callback([&] { Toolstack(options.lab).destroy(options.domain); });

  auto* vif = app.add_subcommand("vif", "network devices of domains")->require_subcommand(1);
  auto* add = vif->add_subcommand("add", "waits for the backend and runs the script, as xl does");
  add->add_option("DOMAIN", options.domain, "number or name")->required();
  add->add_option("WORD", options.words, "mac=, devid=, script=, bridge=, rate=, mtu=, ip=");
  add->add_option("--count", options.count, "so many at once, with addresses from mac= on")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add->callback([&] { add_vifs(options); });
  auto* remove = vif->add_subcommand("remove", "as xl network-detach");
  remove->add_option("DOMAIN", options.domain, "number or name")->required();
  remove->add_option("DEVID", options.words)->required()->expected(1);
  remove->callback(
      [&] { Toolstack(options.lab).remove_vif(options.domain, std::stoi(options.words.front())); });

  add_fault_verbs(app, options);
  add_cost_verbs(app, options);
  auto* exec = app.add_subcommand("exec", "run a command as a process of a domain");
  exec->add_option("DOMAIN", options.domain, "number or name")->required();
  exec->add_option("COMMAND", options.command, "after --")->required();
  exec->callback([&] { execute(options); });
  auto* environment = app.add_subcommand("environment", "what exec sets, as KEY=VALUE lines");
  environment->add_option("DOMAIN", options.domain, "number or name")->required();
  environment->callback([&] {
    for (const auto& [key, value] :
         Toolstack(options.lab).environment(options.domain, library_path()))
      fmt::print("{}={}\n", key, value);
  });
  app.add_subcommand("batch",
                     "commands from the input, one a line; each is answered by what it "
                     "prints and by 'ok' or 'failed: WHY'")
      ->callback([&] { run_lines(options); });
}

// Spares programs that do much the start of a process for each command.
void run_lines(const Options& given) {
  setenv("XENLAB", given.lab.c_str(), 1);
  for (std::string line; std::getline(std::cin, line);) {
    CLI::App app;
    Options options;
    add_verbs(app, options);
    options.json = given.json;
    options.in_batch = true;
    std::string outcome = "ok";
    try {
      app.parse(line);
    } catch (const std::exception& error) {
      outcome = fmt::format("failed: {}", error.what());
    }
    fmt::print("{}\n", outcome);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A Xen host without Xen: domains, grants, event channels, xenstored.", "xenlab"};
  Options options;
  add_verbs(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "xenlab: {}\n", error.what());
    return 1;
  }
  return 0;
}
