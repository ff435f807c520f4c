#include "lib/netfront/frontend.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>

#include "lib/xen/number.hpp"

namespace netback {
namespace {

using netif::XenbusState;
using Clock = std::chrono::steady_clock;

}  // namespace

Result<std::vector<std::unique_ptr<Frontend>>> Frontend::connect(GuestDevices& devices,
                                                                 FrontendOptions options,
                                                                 uint32_t count) {
  std::vector<std::unique_ptr<Frontend>> made;
  for (uint32_t i = 0; i < count; ++i, ++options.devid)
    made.emplace_back(new Frontend(devices, options));
  for (const auto step : {&Frontend::begin, &Frontend::offer, &Frontend::finish})
    for (const auto& frontend : made)
      if (const Status status = (frontend.get()->*step)(); !status) return status.error();
  return made;
}

Frontend::Frontend(GuestDevices& devices, const FrontendOptions& options)
    : devices_(devices), options_(options), path_(fmt::format("device/vif/{}", options.devid)) {}

// The backend stops using the rings before they go.
Frontend::~Frontend() {
  if (queues_.empty()) return;
  (void)devices_.store().write(path_ + "/state", "5");
  (void)wait_for_backend({XenbusState::closing, XenbusState::closed, XenbusState::unknown});
  (void)devices_.store().write(path_ + "/state", "6");
  (void)wait_for_backend({XenbusState::closed, XenbusState::init_wait, XenbusState::unknown});
}

// A backend that has closed comes back when the frontend begins anew.
Status Frontend::begin() {
  Store& store = devices_.store();
  const auto backend = store.read(path_ + "/backend");
  const auto id = store.read(path_ + "/backend-id");
  if (!backend || !id) return Error{fmt::format("this domain has no vif {}", options_.devid)};
  backend_ = *backend;
  backend_id_ = parse_number<uint16_t>(*id).value_or(0);
  mac_ = store.read(path_ + "/mac").value_or("");
  if (store.read(path_ + "/state") == "1") return Done{};
  return store.write(path_ + "/state", "1");
}

Status Frontend::offer() {
  if (Status come = wait_for_backend({XenbusState::init_wait}); !come) return come;
  for (const auto step : {&Frontend::open_queues, &Frontend::open_control, &Frontend::publish})
    if (Status status = (this->*step)(); !status) return status;
  return Done{};
}

Status Frontend::finish() {
  if (Status come = wait_for_backend({XenbusState::connected}); !come) return come;
  if (Status staged = stage(); !staged) return staged;
  if (options_.hash_types != 0) {
    if (!control_) return Error{"the backend offers no control ring"};
    if (Status set = control_->hash(options_.hash_types, options_.hash_key, options_.hash_mapping);
        !set)
      return set;
  }
  return devices_.watch(backend_.substr(0, backend_.rfind('/')));
}

// As many as are wanted and the backend takes.
Status Frontend::open_queues() {
  const Store& store = devices_.store();
  const auto offered = store.read(backend_ + "/" + netif::keys::multi_queue_max_queues);
  const auto queues_max = offered ? parse_number<uint32_t>(*offered) : std::nullopt;
  const bool split = options_.split_event_channels &&
                     store.read(backend_ + "/feature-split-event-channels") == "1";
  for (uint32_t i = 0; i < std::min(options_.queues, queues_max.value_or(1)); ++i) {
    auto opened = FrontQueue::open(*this, devices_,
                                   {.backend_id = backend_id_,
                                    .split_event_channels = split,
                                    .spoil_answered = options_.spoil_answered,
                                    .rx_notify = options_.rx_notify,
                                    .posted_buffers = options_.posted_buffers});
    if (!opened) return opened.error();
    queues_.push_back(std::move(opened).value());
  }
  return Done{};
}

Status Frontend::open_control() {
  if (!(options_.staging || options_.control_ring || options_.hash_types != 0) ||
      devices_.store().read(backend_ + "/" + netif::keys::feature_ctrl_ring) != "1")
    return Done{};
  auto opened = ControlChannel::open(devices_, backend_id_, options_.timeout_s);
  if (!opened) return opened.error();
  control_ = std::move(opened).value();
  return Done{};
}

// Every buffer: those of frames from here read-only, as they are granted.
Status Frontend::stage() {
  if (!control_ || !options_.staging) return Done{};
  for (uint32_t number = 0; number < queues_.size(); ++number) {
    std::vector<netif::StaticGrant> list;
    for (const uint32_t reference : queues_[number]->from_guest_references())
      list.push_back({.ref = reference, .flags = XEN_NETIF_CTRLF_GREF_readonly, .status = 0});
    for (const uint32_t reference : queues_[number]->to_guest_references())
      list.push_back({.ref = reference, .flags = 0, .status = 0});
    if (Status staged = control_->stage(number, list); !staged) return staged;
  }
  return Done{};
}

// What a frontend before us may have left would count.
Status Frontend::clear_keys(StoreTransaction& transaction) const {
  for (const char* key : {netif::keys::event_channel, netif::keys::event_channel_tx,
                          netif::keys::event_channel_rx, netif::keys::ctrl_ring_ref,
                          netif::keys::event_channel_ctrl, netif::keys::multi_queue_num_queues,
                          netif::keys::xdp_headroom, netif::keys::request_multicast_control})
    if (Status status = transaction.remove(path_ + "/" + key); !status) return status;
  for (size_t number = 0; number < queues_.size(); ++number)
    if (Status status = transaction.remove(fmt::format("{}/queue-{}", path_, number)); !status)
      return status;
  return Done{};
}

// One queue's keys are the device's own, those of several each in a directory.
Status Frontend::publish() {
  backend_segments_ =
      devices_.store().read(backend_ + "/" + netif::keys::feature_gso_tcpv4) == "1" &&
      devices_.store().read(backend_ + "/" + netif::keys::feature_gso_tcpv6) == "1";
  const Status written = devices_.store().transact([&](StoreTransaction& transaction) {
    if (Status cleared = clear_keys(transaction); !cleared) return cleared;
    std::vector<std::pair<std::string, uint32_t>> keys{
        {netif::keys::request_rx_copy, 1},
        {"feature-sg", options_.scatter_gather},
        {netif::keys::feature_rx_notify, options_.rx_notify},
        {netif::keys::feature_no_csum_offload, options_.no_csum_offload},
        {netif::keys::feature_ipv6_csum_offload, options_.ipv6_csum_offload},
        {netif::keys::feature_gso_tcpv4, options_.gso},
        {netif::keys::feature_gso_tcpv6, options_.gso},
    };
    // Absent is as good as 0, and a domain's nodes are few.
    if (options_.xdp_headroom > 0)
      keys.emplace_back(netif::keys::xdp_headroom, options_.xdp_headroom);
    if (options_.multicast_control) keys.emplace_back(netif::keys::request_multicast_control, 1);
    const auto count = static_cast<uint32_t>(queues_.size());
    if (count > 1) keys.emplace_back(netif::keys::multi_queue_num_queues, count);
    for (uint32_t number = 0; number < count; ++number)
      for (const auto& [key, value] : queues_[number]->keys())
        keys.emplace_back(count > 1 ? fmt::format("queue-{}/{}", number, key) : key, value);
    if (control_) {
      keys.emplace_back(netif::keys::ctrl_ring_ref, control_->ring_reference());
      keys.emplace_back(netif::keys::event_channel_ctrl, control_->port());
    }
    for (const auto& [key, value] : keys)
      if (Status status = transaction.write(path_ + "/" + key, std::to_string(value)); !status)
        return status;
    return Status{Done{}};
  });
  if (!written) return written;
  return devices_.store().write(path_ + "/state", "4");
}

XenbusState Frontend::backend_state() const {
  const auto text = devices_.store().read(backend_ + "/state");
  return static_cast<XenbusState>(parse_number<uint8_t>(text.value_or("0")).value_or(0));
}

void Frontend::look_at_backend() {
  devices_.look_at_store();
  heed_changes();
}

// Another vif may have taken the event that was ours.
void Frontend::heed_changes() {
  if (devices_.store_changes() == changes_seen_) return;
  changes_seen_ = devices_.store_changes();
  const XenbusState state = backend_state();
  backend_closes_ = state != XenbusState::connected && state != XenbusState::reconfigured;
}

Status Frontend::wait_for_backend(std::initializer_list<XenbusState> wanted) {
  const std::string path = backend_ + "/state";
  if (Status watched = devices_.store().watch(path, "backend"); !watched) return watched;
  const auto until = Clock::now() + std::chrono::seconds(options_.timeout_s);
  XenbusState state = backend_state();
  while (std::find(wanted.begin(), wanted.end(), state) == wanted.end() && Clock::now() < until) {
    pollfd change{devices_.store().fd(), POLLIN, 0};
    poll(&change, 1, 100);
    devices_.look_at_store();
    state = backend_state();
  }
  devices_.store().unwatch(path, "backend");
  if (std::find(wanted.begin(), wanted.end(), state) != wanted.end()) return Done{};
  return Error{fmt::format("the backend's state is {} after {} s, {} was waited for",
                           static_cast<int>(state), options_.timeout_s,
                           static_cast<int>(*wanted.begin()))};
}

void Frontend::wait(std::chrono::nanoseconds timeout, int other_fd) {
  for (const auto& queue : queues_)
    if (queue->ask_events()) return;
  devices_.wait(timeout, other_fd);
  heed_changes();
}

}  // namespace netback
