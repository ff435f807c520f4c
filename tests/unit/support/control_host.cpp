#include "tests/unit/support/control_host.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>

#include "lib/netfront/front_ring.hpp"

namespace netback::test {
namespace {

template <class T>
std::unique_ptr<T> made(Result<std::unique_ptr<T>> result) {
  INFO((result ? "" : result.error().message));
  REQUIRE(result);
  return std::move(result).value();
}

}  // namespace

ControlHost::ControlHost() {
  nodes.reset();
  FakeXen::instance().reset();
  config.lcores = {1};
  // Of those without hardware the one whose link goes down when told to.
  config.ports = {{.name = port_name, .device = "net_ring9"}};
  config.defaults.nic = port_name;
  config.wait_for_hotplug = false;
  loop = made(Loop::make());
  store = made(Store::open());
  grants = made(Grants::open());
  events = made(EventChannels::open());
  control_channels = made(EventChannels::open());
  pool = make_pool(2047);
  auto device = check_device(config.ports[0]);
  REQUIRE(device);
  ports.push_back(made(Port::open(config.ports[0], device.value(), *pool)));
  link = std::make_unique<WorkerLink>(mailbox);
  link->on_quarantined([this](const Quarantined& report) { watcher->quarantine(report); });
  forwarding = std::make_unique<Forwarding>(std::vector{link.get()});
  REQUIRE(forwarding->attach_ports({&ports[0]->queue()}));
  REQUIRE(loop->add(
      mailbox.control_fd(), [this](uint32_t) { link->handle_reports(); }, EPOLLIN));
  filters = std::make_unique<FilterControl>(*loop);
  control_events = std::make_unique<ControlEvents>(*loop, *control_channels);
  world.reset(new VifWorld{.loop = *loop,
                           .store = *store,
                           .grants = *grants,
                           .control_events = *control_events,
                           .forwarding = *forwarding,
                           .filters = *filters,
                           .workers = {{config.lcores[0], *events, *link}},
                           .plans = {*store, config, vif_files, ports},
                           .state_directory = state_files.path()});
  watcher = std::make_unique<VifWatcher>(*world);
  REQUIRE(control_events->start());
  REQUIRE(watcher->start());
  settle();
}

ControlHost::~ControlHost() {
  worker_runs = true;
  watcher->drain([] {});
  settle();
  watcher.reset();
  filters.reset();
  forwarding.reset();
  link.reset();
  ports.clear();
}

VifId ControlHost::add_connected_vif(uint16_t domain) {
  const VifId id = add_vif(domain);
  settle();
  connect(id);
  settle();
  REQUIRE(state(id) == 4);
  return id;
}

std::string ControlHost::backend(const VifId& id) {
  return "/local/domain/0/backend/vif/" + std::to_string(id.domain) + "/" +
         std::to_string(id.devid);
}

std::string ControlHost::frontend(const VifId& id) {
  return "/local/domain/" + std::to_string(id.domain) + "/device/vif/" + std::to_string(id.devid);
}

VifId ControlHost::add_vif(uint16_t domain) {
  const VifId id{domain, 0};
  nodes.introduce(domain);
  nodes.write("/local/domain/" + std::to_string(domain) + "/name", "g" + std::to_string(domain));
  nodes.set(frontend(id) + "/state", "1");
  nodes.set(backend(id) + "/frontend", frontend(id));
  nodes.set(backend(id) + "/online", "1");
  nodes.set(backend(id) + "/mac", fmt::format("00:16:3e:00:00:{:02x}", domain));
  nodes.write(backend(id) + "/state", "1");
  return id;
}

void ControlHost::connect(const VifId& id, uint32_t queues) {
  if (queues > 1) nodes.set(frontend(id) + "/multi-queue-num-queues", std::to_string(queues));
  for (uint32_t queue = 0; queue < queues; ++queue)
    make_rings(id, queues > 1 ? fmt::format("queue-{}/", queue) : "");
  nodes.set(frontend(id) + "/request-rx-copy", "1");
  set_frontend(id, 4);
}

void ControlHost::make_rings(const VifId& id, const std::string& prefix) {
  const std::pair<const char*, const char*> ring_keys[] = {{"tx-ring-ref", "event-channel-tx"},
                                                           {"rx-ring-ref", "event-channel-rx"}};
  for (const auto& [reference_key, channel_key] : ring_keys) {
    pages_.push_back(std::make_unique<Page>());
    FromGuestFrontRing initialised(pages_.back()->bytes);  // both rings begin alike
    const auto number = static_cast<uint32_t>(100 + pages_.size());
    FakeXen::instance().grant(id.domain, number, pages_.back()->bytes);
    nodes.set(frontend(id) + "/" + prefix + reference_key, std::to_string(number));
    nodes.set(frontend(id) + "/" + prefix + channel_key, std::to_string(number));
  }
}

void ControlHost::set_frontend(const VifId& id, int state) {
  nodes.write(frontend(id) + "/state", std::to_string(state));
}

const Command* ControlHost::next_command() {
  Command command;
  if (!taken_ && mailbox.next_command(command)) taken_ = command;
  return taken_ ? &*taken_ : nullptr;
}

void ControlHost::ack() {
  REQUIRE(next_command() != nullptr);
  if (const auto* use = std::get_if<UseTable>(&taken_->what)) {
    if (table_ != nullptr) CHECK(table_->segment(ports[0]->queue().port) != nullptr);
    table_ = use->table;
  }
  if (const auto* use = std::get_if<UseStaging>(&taken_->what)) {
    if (use->queue->staging != nullptr) CHECK(use->queue->staging->find(0, false) == nullptr);
    use->queue->staging = use->table;
  } else if (const auto* hash = std::get_if<UseHashing>(&taken_->what)) {
    hash->queue->hashing = hash->hashing;
  }
  mailbox.report(Acked{taken_->sequence});
  taken_.reset();
}

void ControlHost::settle() {
  for (int quiet = 0; quiet < 3; ++quiet) {
    while (worker_runs && next_command() != nullptr) {
      ack();
      quiet = 0;
    }
    const uint32_t before = nodes.transactions;
    loop->run_once(Loop::Clock::duration::zero());
    if (nodes.transactions != before) quiet = 0;
  }
}

bool ControlHost::soon(const std::function<bool()>& done) {
  const auto until = Loop::Clock::now() + std::chrono::seconds(2);
  for (settle(); !done(); settle()) {
    if (Loop::Clock::now() > until) return false;
    loop->run_once(std::chrono::milliseconds(1));
  }
  return true;
}

void ControlHost::restart() {
  bool drained = false;
  watcher->drain([&] { drained = true; });
  settle();
  REQUIRE(drained);
  watcher = std::make_unique<VifWatcher>(*world);
  REQUIRE(watcher->start());
  settle();
}

void ControlHost::quarantine(const VifId& id, Violation violation, uint32_t queue) {
  REQUIRE(vif(id).connection() != nullptr);
  mailbox.report(Quarantined{&vif(id).connection()->queue(queue), violation, 7});
  settle();
}

VifSession& ControlHost::vif(const VifId& id) {
  VifSession* found = watcher->find(id.text());
  REQUIRE(found != nullptr);
  return *found;
}

int ControlHost::state(const VifId& id) const {
  const auto text = nodes.read(backend(id) + "/state");
  return text ? std::stoi(*text) : -1;
}

std::vector<int> ControlHost::states(const VifId& id) const {
  std::vector<int> all;
  for (const auto& commit : nodes.commits)
    if (const auto found = commit.find(backend(id) + "/state"); found != commit.end())
      all.push_back(std::stoi(found->second));
  return all;
}

}  // namespace netback::test
