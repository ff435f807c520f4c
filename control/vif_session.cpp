#include "control/vif_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "control/startup.hpp"
#include "lib/base/log.hpp"
#include "lib/xen/number.hpp"

namespace netback {
namespace {

using namespace std::chrono_literals;
namespace keys = netif::keys;

constexpr auto strike_memory = 10min;
constexpr auto offer_delay_first = 1s;
constexpr auto offer_delay_max = 10s;
constexpr size_t strikes_max = 8;  // more do not make the delay longer
constexpr int steps_at_once = 8;   // a guest that writes faster than we do waits for its turn

XenbusState parse_state(const std::optional<std::string>& text) {
  const auto number = text ? parse_number<uint8_t>(*text) : std::nullopt;
  return number && *number <= XenbusStateReconfigured ? XenbusState(*number) : XenbusState::unknown;
}

Hotplug parse_hotplug(const std::optional<std::string>& text) {
  if (text == "connected") return Hotplug::connected;
  return text == "error" ? Hotplug::error : Hotplug::pending;
}

}  // namespace

VifSession::VifSession(VifWorld& world, const VifId& id, std::string directory, uint16_t index)
    : world_(world), id_(id), directory_(std::move(directory)), index_(index) {
  frontend_ = world_.store.read(path(keys::frontend)).value_or("");
  domain_known_ = world_.store.is_introduced(id_.domain);
  if (const auto carrier = world_.store.read(path(keys::carrier))) carrier_ = carrier == "1";
  const Status watched = world_.store.watch(frontend_ + "/state", "frontend:" + id_.text());
  if (!watched) log::error("vif {}: {}", id_.text(), watched.error().message);
}

VifSession::~VifSession() {
  NETBACK_CHECK(!busy_);  // or an ack would call into nothing
  if (multicast_) world_.store.unwatch(multicast_path(), "frontend:" + id_.text());
  world_.store.unwatch(frontend_ + "/state", "frontend:" + id_.text());
}

std::string VifSession::path(std::string_view key) const {
  return fmt::format("{}/{}", directory_, key);
}

std::string_view VifSession::state() const {
  const auto stalled = [](const GuestQueue* queue) { return queue->stalled.load(); };
  return shown_state(facts_, connection_ && std::ranges::any_of(connection_->queues(), stalled));
}

// What the guest was told when it was offered, by us or by the process before us: after a restart
// with another setting its queues are what they were.
uint32_t VifSession::queues_offered() const {
  const auto text = world_.store.read(path(keys::multi_queue_max_queues));
  const auto offered = text ? parse_number<uint32_t>(*text) : std::nullopt;
  return std::min(offered.value_or(1), limits::vif_queues_max);
}

Loop::Clock::duration VifSession::rearm_wait() const {
  const auto now = Loop::Clock::now();
  return offer_at_ <= now ? Loop::Clock::duration::zero() : offer_at_ - now;
}

// What gather() reads. The rest of what we write ourselves makes events too.
bool VifSession::depends_on(std::string_view key) {
  return key.empty() || key == keys::state || key == keys::online || key == keys::hotplug_status;
}

void VifSession::gather() {
  const Store& store = world_.store;
  facts_.own = parse_state(store.read(path(keys::state)));
  facts_.frontend =
      domain_dead_ ? XenbusState::unknown : parse_state(store.read(frontend_ + "/state"));
  facts_.hotplug = world_.plans.config.wait_for_hotplug
                       ? parse_hotplug(store.read(path(keys::hotplug_status)))
                       : Hotplug::connected;
  facts_.online = store.read(path(keys::online)) != "0";
}

// What we know without asking.
void VifSession::gather_own() {
  facts_.connected = connection_ != nullptr;
  facts_.quarantined = quarantined_;
  facts_.may_offer = rearm_wait() == Loop::Clock::duration::zero();
  facts_.refused = refused_;
}

// Once when the vif appears, and again each time its frontend starts anew.
bool VifSession::plan_is_due() const {
  if (planned_ || facts_.own == XenbusState::unknown || facts_.hotplug == Hotplug::error)
    return false;
  return facts_.own != XenbusState::closed || facts_.frontend == XenbusState::initialising ||
         facts_.frontend == XenbusState::connected;
}

void VifSession::make_plan() {
  planned_ = true;
  refused_ = false;
  identity_ = identify_vif(world_.store, id_, directory_);
  auto plan = plan_vif(world_.plans, identity_, directory_);
  if (!plan) {
    plan_.reset();
    return refuse(plan.error());
  }
  plan_ = std::move(plan).value();
  for (const auto& warning : plan_->settings.warnings) log::warn("vif {}: {}", id_.text(), warning);
}

void VifSession::refuse(const Error& error) {
  refused_ = true;
  const std::string message = with_fix(error);
  log::warn("vif {}: refused: {}", id_.text(), message);
  write_error(message);
}

void VifSession::write_error(const std::string& message) {
  error_ = message;
  // Not a node that would bring a removed directory back.
  const Status status = world_.store.transact([&](StoreTransaction& transaction) -> Status {
    if (!transaction.read(path(keys::state))) return Done{};
    return transaction.write(path(keys::error), message);
  });
  if (!status) log::error("vif {}: {}", id_.text(), status.error().message);
}

VifStep VifSession::next_step() const {
  const VifStep step = next(facts_);
  // libxl runs the hotplug script only after InitWait, and only the script can make xl print why
  // the vif is refused: so go there, offering nothing. A frontend that connects is sent away.
  const bool script_waits = facts_.refused && facts_.online && facts_.hotplug != Hotplug::error &&
                            facts_.own == XenbusState::initialising;
  if (step.nothing() && script_waits) return {.write = XenbusState::init_wait};
  // Not refused any more, and the frontend has not looked yet: the offer is made up for.
  if (step.nothing() && !facts_.refused && unoffered_ && facts_.own == XenbusState::init_wait)
    return {.offer = true, .write = XenbusState::init_wait};
  return step;
}

void VifSession::advance() {
  if (std::exchange(rate_changed_, false)) follow_rate();
  if (busy_ || draining_) return;
  // Once: what others write meanwhile makes events, and a thousand vifs make many round trips.
  gather();
  look_at_multicast();
  reconfigured_ = reconfigured_ && facts_.frontend == XenbusState::reconfiguring;
  for (int i = 0; i < steps_at_once; ++i) {
    if (plan_is_due()) make_plan();
    gather_own();
    VifStep step = std::exchange(rest_, {});
    if (step.nothing()) step = next_step();
    if (step.nothing() || !perform(step)) return;
  }
  world_.wake(id_);
}

// Whether to look again at once.
bool VifSession::perform(const VifStep& step) {
  if (step.disconnect && connection_) {
    rest_ = step;
    rest_.disconnect = false;
    disconnect(false);
    return false;
  }
  VifStep now = step;
  if (step.connect) {
    if (Status status = connect(facts_.own != XenbusState::init_wait); !status) {
      refuse(status.error());
      delay_offer();
      now.write = XenbusState::closing;
    }
  }
  if (now.write == XenbusState::reconfigured && connection_ && !reconfigured_) {
    reconfigure();
    return false;
  }
  if (now.write && !write_state(*now.write, now.offer)) return false;
  // What is forgotten while its directory is there keeps its re-arm time.
  if (now.forget) over_ = facts_.own == XenbusState::unknown;
  return !now.forget;
}

ReadKey VifSession::read_frontend() const {
  return [this](std::string_view key) {
    return world_.store.read(fmt::format("{}/{}", frontend_, key));
  };
}

Status VifSession::connect(bool resume) {
  if (!plan_) return Error{"no settings"};  // refused: the table does not ask for it then
  const auto agreement = agree(read_frontend(), queues_offered());
  if (!agreement) return agreement.error();
  if (Status status = connect(Result(agreement).value(), resume); !status) return status;
  watch_multicast(Result(agreement).value().multicast_control, resume);
  world_.forwarding.add({.queue = &connection_->queue(),
                         .port = plan_->port->queue().port,
                         .mac = plan_->queue.mac,
                         .filtered = plan_->settings.rx_filter.value,
                         .vlan = plan_->queue.vlan,
                         .isolated = !plan_->settings.switching.value});
  const size_t queues = connection_->queues().size();
  log::info("vif {}: {} to domain '{}', mac {}, port '{}', cpu {}, {} queue{}", id_.text(),
            resume ? "attached again" : "connected", identity_.domain, plan_->settings.mac.value,
            plan_->port->config().name, cpu(), queues, queues == 1 ? "" : "s");
  show_link();
  return Done{};
}

// Of those that it may have the one with the fewest queues; its port's, if that has as few.
uint16_t VifSession::choose_worker() const {
  const auto& workers = world_.workers;
  const uint16_t own = plan_->port->queue().worker;
  size_t best = plan_->workers.front();
  for (const size_t worker : plan_->workers)
    if (workers[worker].queues < workers[best].queues ||
        (worker == own && workers[worker].queues == workers[best].queues))
      best = worker;
  return static_cast<uint16_t>(best);
}

// The rings and channels, all or none.
Status VifSession::connect(const Agreement& agreement, bool resume) {
  const uint16_t number = choose_worker();
  worker_ = &world_.workers[number];
  auto opened = Connection::open(
      world_.grants, worker_->events,
      {.index = index_, .domain = id_.domain, .worker = number, .settings = plan_->queue},
      agreement, resume);
  if (!opened) return opened.error();
  auto connection = std::move(opened).value();
  if (agreement.control_reference != 0) {
    GuestQueue* queue = &connection->queue();
    const std::string& directory = world_.state_directory;
    auto ring = ControlRing::open(
        {.grants = world_.grants,
         .events = world_.control_events,
         .worker = worker_->link,
         .queue = *queue,
         .file = directory.empty() ? "" : fmt::format("{}/staging-{}", directory, id_.text()),
         .hash_file = directory.empty() ? "" : fmt::format("{}/hashing-{}", directory, id_.text()),
         .broken =
             [this, queue](uint32_t slot) {
               quarantine({queue, Violation::impossible_producer, slot});
             }},
        agreement, resume);
    if (!ring) return ring.error();
    control_ring_ = std::move(ring).value();
  }
  connection_ = std::move(connection);
  worker_->queues += connection_->queues().size();
  apply_rates();
  set_headroom(agreement.xdp_headroom);
  return Done{};
}

// Outline: no table of any worker leads to the queues; their worker lets them go, each in its time;
// then ports, pages and queues go.
void VifSession::disconnect(bool drain) {
  busy_ = true;
  if (control_ring_) control_ring_->stop();
  world_.filters.remove(id_.text());
  world_.forwarding.remove(&connection_->queue(), [this, drain] {
    world_.filters.left(id_.text());
    const auto left = std::make_shared<size_t>(connection_->queues().size());
    for (GuestQueue* queue : connection_->queues())
      worker_->link.post(DetachQueue{queue, drain}, [this, drain, left] {
        if (--*left == 0) detached(drain);
      });
  });
}

void VifSession::detached(bool drain) {
  if (control_ring_ && !drain) control_ring_->forget();
  control_ring_.reset();
  world_.store.unwatch(multicast_path(), "frontend:" + id_.text());
  drain ? multicast_->keep() : multicast_->forget();
  multicast_.reset();
  worker_->queues -= connection_->queues().size();
  connection_.reset();
  busy_ = false;
  log::info("vif {}: disconnected", id_.text());
  if (drained_) return std::exchange(drained_, {})();
  world_.wake(id_);
}

// False: the store did not take it. Nothing is written when our state is not what we decided by any
// more: somebody else wrote it, or the directory is gone and is not brought back.
bool VifSession::write_state(XenbusState state, bool offer) {
  bool written = false;
  const Status status = world_.store.transact([&](StoreTransaction& transaction) -> Status {
    written = false;
    const auto own = transaction.read(path(keys::state));
    if (!own || parse_state(own) != facts_.own) return Done{};
    if (offer) {
      for (const auto& [key, value] : offered_features())
        if (Status done = transaction.write(path(key), value); !done) return done;
      NETBACK_CHECK(plan_);  // what is offered is not refused
      const std::string queues = std::to_string(plan_->settings.queues_max.value);
      if (Status done = transaction.write(path(keys::multi_queue_max_queues), queues); !done)
        return done;
      if (transaction.read(path(keys::error)))
        if (Status done = transaction.remove(path(keys::error)); !done) return done;
    }
    written = true;
    return transaction.write(path(keys::state), std::to_string(unsigned(state)));
  });
  if (!status) {
    log::error("vif {}: {}", id_.text(), status.error().message);
    return false;
  }
  if (!written) {
    gather();
    return true;
  }
  facts_.own = state;
  unoffered_ = state == XenbusState::init_wait && !offer;
  log::debug("vif {}: state {}", id_.text(), unsigned(state));
  if (offer) {
    quarantined_ = false;
    error_.clear();
  }
  if (state == XenbusState::closed) planned_ = false;  // the next life may have other settings
  return true;
}

void VifSession::quarantine(const Quarantined& report) {
  if (quarantined_) return;
  quarantined_ = true;
  const std::string message = fmt::format("the guest broke the protocol at slot {}: {}",
                                          report.slot, violation_text[size_t(report.violation)]);
  delay_offer();
  const auto wait = std::chrono::ceil<std::chrono::seconds>(rearm_wait());
  log::warn("vif {}: quarantined for {} s: {}", id_.text(), wait.count(), message);
  write_error(message);
  world_.wake(id_);
}

// 1 s, doubled by each strike within 10 minutes, up to 10 s.
void VifSession::delay_offer() {
  const auto now = Loop::Clock::now();
  while (!strikes_.empty() &&
         (strikes_.front() + strike_memory < now || strikes_.size() >= strikes_max))
    strikes_.pop_front();
  const auto doubled = offer_delay_first * (1u << strikes_.size());
  strikes_.push_back(now);
  offer_at_ = now + std::min<Loop::Clock::duration>(doubled, offer_delay_max);
  world_.loop.at(offer_at_, [wake = world_.wake, id = id_] { wake(id); });
}

void VifSession::rearm() {
  offer_at_ = Loop::Clock::time_point::min();
  planned_ = planned_ && !refused_;
  world_.wake(id_);
}

void VifSession::drain(std::function<void()> done) {
  draining_ = true;
  if (busy_) {
    drained_ = std::move(done);
    return;
  }
  if (!connection_) return done();
  drained_ = std::move(done);
  disconnect(true);
}

bool VifSession::note_domain(bool introduced) {
  const bool was_dead = domain_dead_;
  domain_dead_ = domain_known_ && !introduced;
  domain_known_ |= introduced;
  return domain_dead_ != was_dead;
}

void VifSession::show_link() {
  if (!plan_) return;
  const bool up = plan_->port->link_up();
  if (carrier_.value_or(true) == up) return;  // absent says up
  const Status status = world_.store.transact([&](StoreTransaction& transaction) -> Status {
    if (!transaction.read(path(keys::state))) return Done{};
    return transaction.write(path(keys::carrier), up ? "1" : "0");
  });
  if (!status) return log::error("vif {}: {}", id_.text(), status.error().message);
  carrier_ = up;
}

}  // namespace netback
