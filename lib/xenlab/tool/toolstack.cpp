#include "lib/xenlab/tool/toolstack.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <thread>

#include "lib/base/mac_text.hpp"
#include "lib/xen/c_api.hpp"
#include "lib/xenlab/abi/machine.hpp"
#include "lib/xenlab/tool/xenbus_device.hpp"

namespace xenlab {
namespace {

constexpr const char* init_wait = "2";
constexpr const char* closing = "5";
constexpr const char* closed = "6";
constexpr int init_timeout_s = 10;     // LIBXL_INIT_TIMEOUT
constexpr int hotplug_timeout_s = 40;  // LIBXL_HOTPLUG_TIMEOUT
constexpr int destroy_timeout_s = 10;  // LIBXL_DESTROY_TIMEOUT

using Clock = std::chrono::steady_clock;
using Nodes = std::vector<std::pair<std::string, std::string>>;

xs_handle* handle_of(void* store) {
  return static_cast<xs_handle*>(store);
}

std::string random_uuid() {
  std::random_device random;
  std::string uuid;
  for (const int bytes : {4, 2, 2, 2, 6}) {
    if (!uuid.empty()) uuid += '-';
    for (int i = 0; i < bytes; ++i) uuid += fmt::format("{:02x}", random() & 0xff);
  }
  return uuid;
}

// The address `further` ones behind `mac`.
std::string mac_after(const std::string& mac, uint32_t further) {
  unsigned bytes[6];
  if (sscanf(mac.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
             &bytes[4], &bytes[5]) != 6)
    throw std::runtime_error(fmt::format("'{}' is no Ethernet address", mac));
  const uint32_t last = (bytes[3] << 16 | bytes[4] << 8 | bytes[5]) + further;
  const auto byte = [](uint32_t number) { return static_cast<uint8_t>(number); };
  const std::array after = {byte(bytes[0]),   byte(bytes[1]),  byte(bytes[2]),
                            byte(last >> 16), byte(last >> 8), byte(last)};
  return netback::mac_text(after);
}

// Owner first, then who may read; as libxl's roperm, rwperm and device permissions.
using Permissions = std::vector<xs_permissions>;
Permissions owned_by(uint32_t owner, uint32_t reader) {
  return {{owner, XS_PERM_NONE}, {reader, XS_PERM_READ}};
}

// A directory and its nodes, in a transaction: all or nothing.
class Writer {
 public:
  explicit Writer(void* store) : store_(handle_of(store)) {}

  void directory(const std::string& path, Permissions permissions) {
    steps_.push_back([=, this](xs_transaction_t t) {
      return xs_mkdir(store_, t, path.c_str()) && permit(t, path, permissions);
    });
  }
  void nodes(const std::string& path, const Nodes& nodes, const Permissions& permissions) {
    directory(path, permissions);
    for (const auto& [key, value] : nodes) {
      const std::string node = path + "/" + key;
      steps_.push_back([=, this](xs_transaction_t t) {
        return xs_write(store_, t, node.c_str(), value.data(),
                        static_cast<unsigned>(value.size())) &&
               permit(t, node, permissions);
      });
    }
  }
  void commit() {
    for (bool again = true; again;) {
      const xs_transaction_t transaction = xs_transaction_start(store_);
      bool good = transaction != XBT_NULL;
      for (size_t i = 0; good && i < steps_.size(); ++i) good = steps_[i](transaction);
      const int why = errno;
      const bool ended = xs_transaction_end(store_, transaction, !good);
      if (!good) throw std::runtime_error(fmt::format("xenstore: {}", std::strerror(why)));
      again = !ended && errno == EAGAIN;
      if (!ended && !again)
        throw std::runtime_error(fmt::format("xenstore: {}", std::strerror(errno)));
    }
  }

 private:
  bool permit(xs_transaction_t t, const std::string& path, Permissions permissions) {
    return xs_set_permissions(store_, t, path.c_str(), permissions.data(),
                              static_cast<unsigned>(permissions.size()));
  }
  xs_handle* store_;
  std::vector<std::function<bool(xs_transaction_t)>> steps_;
};

// errno, 0: done.
int ask_hypervisor(const std::string& directory, Request request, Answer& answer) {
  int file = -1;
  request.process = static_cast<uint32_t>(getpid());
  const int connection = ask(directory, request, answer, file);
  if (connection >= 0) close(connection);
  return connection < 0 ? errno : 0;
}

}  // namespace

Toolstack::Toolstack(std::string directory) : directory_(std::move(directory)) {
  setenv("XENSTORED_PATH", (directory_ + "/xenstored/socket").c_str(), 1);
  store_ = xs_open(0);
  if (store_ == nullptr)
    throw std::runtime_error(
        fmt::format("no lab in {} (fix: xenlab up --lab {})", directory_, directory_));
}

Toolstack::~Toolstack() {
  xs_close(handle_of(store_));
}

std::string Toolstack::read(const std::string& path) const {
  unsigned bytes = 0;
  char* value = static_cast<char*>(xs_read(handle_of(store_), XBT_NULL, path.c_str(), &bytes));
  if (value == nullptr) return {};
  std::string text(value, bytes);
  free(value);
  return text;
}

void Toolstack::write(const std::string& path, const std::string& value) {
  if (!xs_write(handle_of(store_), XBT_NULL, path.c_str(), value.data(),
                static_cast<unsigned>(value.size())))
    throw std::runtime_error(fmt::format("xenstore: {}: {}", path, std::strerror(errno)));
}

void Toolstack::init_domain_0() {
  write("/local/domain/0/domid", "0");
  write("/local/domain/0/name", "Domain-0");
}

std::vector<DomainInfo> Toolstack::domains() {
  unsigned count = 0;
  char** names = xs_directory(handle_of(store_), XBT_NULL, "/local/domain", &count);
  std::vector<DomainInfo> all;
  for (unsigned i = 0; i < count; ++i)
    all.push_back({static_cast<uint32_t>(std::stoul(names[i])),
                   read(fmt::format("/local/domain/{}/name", names[i]))});
  free(names);
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  return all;
}

DomainInfo Toolstack::find(const std::string& domain) {
  for (const auto& info : domains())
    if (info.name == domain || std::to_string(info.number) == domain) return info;
  throw std::runtime_error(fmt::format("no domain '{}' (fix: xenlab domain list)", domain));
}

DomainInfo Toolstack::create(const std::string& name) {
  for (const auto& info : domains())
    if (info.name == name) throw std::runtime_error(fmt::format("domain '{}' is there", name));
  Answer answer{};
  if (const int error = ask_hypervisor(directory_, {.kind = Request::create_domain}, answer))
    throw std::runtime_error(fmt::format("cannot create '{}': {}", name, std::strerror(error)));
  const uint32_t number = answer.domain_number;
  const std::string path = fmt::format("/local/domain/{}", number);
  const std::string uuid = random_uuid();
  const auto read_only = owned_by(0, number);
  Writer writer(store_);
  writer.nodes("/vm/" + uuid, {{"name", name}, {"uuid", uuid}}, read_only);
  writer.nodes(path, {{"vm", "/vm/" + uuid}, {"name", name}, {"domid", std::to_string(number)}},
               read_only);
  for (const char* part : {"/cpu", "/memory", "/device", "/control"})
    writer.directory(path + part, read_only);
  for (const char* part : {"/control/shutdown", "/device/suspend/event-channel", "/data", "/error",
                           "/drivers", "/attr"})
    writer.directory(path + part, {{number, XS_PERM_NONE}});
  writer.commit();
  if (!xs_introduce_domain(handle_of(store_), number, answer.store_page, answer.store_port))
    throw std::runtime_error(fmt::format("xenstored takes no domain: {}", std::strerror(errno)));
  return {number, name};
}

void Toolstack::destroy(const std::string& domain) {
  const DomainInfo info = find(domain);
  const std::string vifs = fmt::format("/local/domain/0/backend/vif/{}", info.number);
  Answer answer{};
  const int error = ask_hypervisor(
      directory_, {.kind = Request::destroy_domain, .domain_number = info.number}, answer);
  if (error != 0 && error != ESRCH)  // one that has died is still in xenstore
    throw std::runtime_error(fmt::format("cannot destroy '{}': {}", domain, std::strerror(error)));
  unsigned count = 0;
  char** names = xs_directory(handle_of(store_), XBT_NULL, vifs.c_str(), &count);
  for (unsigned i = 0; i < count; ++i) remove_vif(std::to_string(info.number), std::stoi(names[i]));
  free(names);
  const std::string path = fmt::format("/local/domain/{}", info.number);
  const std::string vm = read(path + "/vm");
  xs_rm(handle_of(store_), XBT_NULL, vifs.c_str());
  xs_rm(handle_of(store_), XBT_NULL, path.c_str());
  if (!vm.empty()) xs_rm(handle_of(store_), XBT_NULL, vm.c_str());
  xs_release_domain(handle_of(store_), info.number);
}

Toolstack::Paths Toolstack::paths_of(uint32_t domain, int devid) {
  return {fmt::format("/local/domain/{}/device/vif/{}", domain, devid),
          fmt::format("/local/domain/0/backend/vif/{}/{}", domain, devid)};
}

void Toolstack::write_vif(const DomainInfo& domain, int devid, const VifWords& words) {
  const Paths paths = paths_of(domain.number, devid);
  const std::string number = std::to_string(domain.number), handle = std::to_string(devid);
  Nodes back{
      {"frontend", paths.frontend}, {"frontend-id", number}, {"online", "1"},    {"state", "1"},
      {"script", words.script},     {"mac", words.mac},      {"handle", handle}, {"type", "vif"}};
  for (const auto& [key, value] : words.more) back.emplace_back(key, value);
  const Nodes front{{"backend", paths.backend}, {"backend-id", "0"}, {"state", "1"},
                    {"handle", handle},         {"mac", words.mac},  {"trusted", "1"}};
  Writer writer(store_);
  writer.nodes(paths.frontend, front, owned_by(domain.number, 0));
  writer.nodes(paths.backend, back, owned_by(0, domain.number));
  writer.commit();
}

std::vector<int> Toolstack::free_devids(const DomainInfo& domain, const VifWords& words,
                                        uint32_t count) {
  const auto taken = [&](int devid) {
    return !read(paths_of(domain.number, devid).backend + "/state").empty();
  };
  std::vector<int> devids;
  for (int devid = std::max(words.devid, 0); devids.size() < count; ++devid)
    if (!taken(devid))
      devids.push_back(devid);
    else if (words.devid >= 0)
      throw std::runtime_error(fmt::format("'{}' has a vif {}", domain.name, devid));
  return devids;
}

std::vector<int> Toolstack::add_vifs(const std::string& domain, const VifWords& words,
                                     uint32_t count) {
  const DomainInfo info = find(domain);
  const std::vector<int> devids = free_devids(info, words, count);
  try {
    for (uint32_t i = 0; i < count; ++i) {
      VifWords its = words;
      if (i > 0) its.mac = mac_after(words.mac, i);
      write_vif(info, devids[i], its);
    }
    for (const int devid : devids) {
      const Paths paths = paths_of(info.number, devid);
      wait_for_state(paths.backend + "/state", init_wait, init_timeout_s);
      run_script(words.script, "online", paths);
    }
  } catch (...) {
    for (const int devid : devids) forget_vif(paths_of(info.number, devid));
    throw;
  }
  return devids;
}

void Toolstack::remove_vif(const std::string& domain, int devid) {
  const DomainInfo info = find(domain);
  const Paths paths = paths_of(info.number, devid);
  if (read(paths.backend + "/state").empty())
    throw std::runtime_error(fmt::format("'{}' has no vif {}", domain, devid));
  const std::string script = read(paths.backend + "/script");
  write(paths.backend + "/online", "0");
  if (read(paths.backend + "/state") != closed) write(paths.backend + "/state", closing);
  try {
    wait_for_state(paths.backend + "/state", closed, destroy_timeout_s);
  } catch (const std::runtime_error&) {  // forced, as libxl does
  }
  run_script(script, "offline", paths);
  forget_vif(paths);
}

void Toolstack::forget_vif(const Paths& paths) {
  xs_rm(handle_of(store_), XBT_NULL, paths.frontend.c_str());
  xs_rm(handle_of(store_), XBT_NULL, paths.backend.c_str());
}

void Toolstack::wait_for_state(const std::string& path, const std::string& wanted, int seconds) {
  xs_watch(handle_of(store_), path.c_str(), "state");
  const auto until = Clock::now() + std::chrono::seconds(seconds);
  std::string state;
  while ((state = read(path)) != wanted && Clock::now() < until) {
    pollfd change{xs_fileno(handle_of(store_)), POLLIN, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (poll(&change, 1, static_cast<int>(left)) > 0) free(xs_check_watch(handle_of(store_)));
  }
  xs_unwatch(handle_of(store_), path.c_str(), "state");
  if (state != wanted)
    throw std::runtime_error(
        fmt::format("{} is '{}' after {} s, not '{}'", path, state, seconds, wanted));
}

void Toolstack::run_script(const std::string& script, const char* action, const Paths& paths) {
  if (script.empty()) return;
  const pid_t child = fork();
  if (child == 0) {
    setenv("XENBUS_PATH", paths.backend.substr(std::strlen("/local/domain/0/")).c_str(), 1);
    setenv("XENBUS_TYPE", "vif", 1);
    execl(script.c_str(), script.c_str(), action, "type_if=vif", nullptr);
    _exit(127);
  }
  int status = 0;
  const auto until = Clock::now() + std::chrono::seconds(hotplug_timeout_s);
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (Clock::now() > until) kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (status == 0) return;
  const std::string why = read(paths.backend + "/hotplug-error");
  throw std::runtime_error(
      fmt::format("{} {} failed{}{}", script, action, why.empty() ? "" : ": ", why));
}

uint64_t Toolstack::arm_fault(const FaultWords& words) {
  const auto named = std::find(fault_names.begin(), fault_names.end(), words.name);
  if (named == fault_names.end())
    throw std::runtime_error(
        fmt::format("no fault '{}'; there are {}", words.name, fmt::join(fault_names, ", ")));
  Answer answer{};
  const Request request{.kind = Request::arm_fault,
                        .fault = static_cast<uint32_t>(named - fault_names.begin()),
                        .one_in = words.aim.one_in,
                        .at = words.aim.at,
                        .index = words.aim.index,
                        .fault_domain = words.domain.empty() ? every : find(words.domain).number,
                        .seed = words.aim.seed};
  if (const int error = ask_hypervisor(directory_, request, answer))
    throw std::runtime_error(fmt::format("cannot arm the fault: {}", std::strerror(error)));
  return answer.happened;
}

void Toolstack::pause_xenstore(uint32_t milliseconds) {
  Answer answer{};
  const Request request{.kind = Request::pause_xenstore, .milliseconds = milliseconds};
  if (const int error = ask_hypervisor(directory_, request, answer))
    throw std::runtime_error(fmt::format("cannot pause xenstored: {}", std::strerror(error)));
}

void Toolstack::set_costs(const CostWords& words) {
  Answer answer{};
  const Request request{.kind = Request::set_costs,
                        .hypercall_ns = words.hypercall,
                        .copy_ns = words.copy,
                        .notify_ns = words.notify};
  if (const int error = ask_hypervisor(directory_, request, answer))
    throw std::runtime_error(fmt::format("cannot set costs: {}", std::strerror(error)));
}

std::map<std::string, std::string> Toolstack::environment(const std::string& domain,
                                                          const std::string& library) {
  const DomainInfo info = find(domain);
  return {{"LD_PRELOAD", library},
          {"XENLAB", directory_},
          {"XENLAB_DOMAIN", std::to_string(info.number)},
          {"XENSTORED_PATH", info.number == 0 ? directory_ + "/xenstored/socket"
                                              : XenbusDevice::path(directory_, info.number)}};
}

}  // namespace xenlab
