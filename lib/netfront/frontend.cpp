#include "lib/netfront/frontend.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <bit>
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
    : devices_(devices),
      options_(options),
      path_(fmt::format("device/vif/{}", options.devid)),
      under_way_(slots),
      posted_(slots),
      posted_at_(slots) {
  for (uint32_t i = slots; i > 0; --i) free_.push_back(static_cast<uint16_t>(i - 1));
}

// The backend stops using the rings before they go.
Frontend::~Frontend() {
  if (from_guest_ != nullptr) {
    (void)devices_.store().write(path_ + "/state", "5");
    (void)wait_for_backend({XenbusState::closing, XenbusState::closed, XenbusState::unknown});
    (void)devices_.store().write(path_ + "/state", "6");
    (void)wait_for_backend({XenbusState::closed, XenbusState::init_wait, XenbusState::unknown});
  }
  for (int i = 0; i < 2; ++i) {
    if (ring_pages_[i] != nullptr) xengntshr_unshare(devices_.sharing(), ring_pages_[i], 1);
    if (pages_[i] != nullptr) xengntshr_unshare(devices_.sharing(), pages_[i], slots);
    if (ports_[i] != 0 && (i == 0 || ports_[1] != ports_[0]))
      xenevtchn_unbind(devices_.events(), ports_[i]);
  }
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
  for (const auto step :
       {&Frontend::share, &Frontend::bind, &Frontend::open_control, &Frontend::publish})
    if (Status status = (this->*step)(); !status) return status;
  return Done{};
}

Status Frontend::finish() {
  if (Status come = wait_for_backend({XenbusState::connected}); !come) return come;
  if (Status staged = stage(); !staged) return staged;
  return devices_.watch(backend_.substr(0, backend_.rfind('/')));
}

Status Frontend::share() {
  for (int i = 0; i < 2; ++i) {
    const bool writable = i == 1;  // the backend reads frames from the guest and writes the others
    refs_[i].resize(slots);
    ring_pages_[i] = xengntshr_share_pages(devices_.sharing(), backend_id_, 1, &ring_refs_[i], 1);
    pages_[i] = static_cast<uint8_t*>(xengntshr_share_pages(
        devices_.sharing(), backend_id_, int{slots}, refs_[i].data(), writable ? 1 : 0));
    if (ring_pages_[i] == nullptr || pages_[i] == nullptr)
      return errno_error("cannot share pages", "raise xen_gntalloc.limit");
  }
  return Done{};
}

Status Frontend::bind() {
  const bool split = options_.split_event_channels &&
                     devices_.store().read(backend_ + "/feature-split-event-channels") == "1";
  for (int i = 0; i < 2; ++i) {
    if (i == 1 && !split) {
      ports_[1] = ports_[0];
      break;
    }
    const int port = xenevtchn_bind_unbound_port(devices_.events(), backend_id_);
    if (port < 0) return errno_error("cannot make an event channel");
    ports_[i] = static_cast<evtchn_port_t>(port);
  }
  return Done{};
}

Status Frontend::open_control() {
  if (!options_.staging ||
      devices_.store().read(backend_ + "/" + netif::keys::feature_ctrl_ring) != "1")
    return Done{};
  auto opened = ControlChannel::open(devices_, backend_id_, options_.timeout_s);
  if (!opened) return opened.error();
  control_ = std::move(opened).value();
  return Done{};
}

// Every buffer: those of frames from here read-only, as they are granted.
Status Frontend::stage() {
  if (!control_) return Done{};
  std::vector<netif::StaticGrant> list;
  for (const uint32_t reference : refs_[0])
    list.push_back({.ref = reference, .flags = XEN_NETIF_CTRLF_GREF_readonly, .status = 0});
  for (const uint32_t reference : refs_[1])
    list.push_back({.ref = reference, .flags = 0, .status = 0});
  return control_->stage(list);
}

Status Frontend::publish() {
  from_guest_ = std::make_unique<FromGuestFrontRing>(ring_pages_[0]);
  to_guest_ = std::make_unique<ToGuestFrontRing>(ring_pages_[1]);
  for (uint32_t i = 0; i < slots; ++i) post(i);
  to_guest_->push();
  backend_segments_ =
      devices_.store().read(backend_ + "/" + netif::keys::feature_gso_tcpv4) == "1" &&
      devices_.store().read(backend_ + "/" + netif::keys::feature_gso_tcpv6) == "1";
  const Status written = devices_.store().transact([&](StoreTransaction& transaction) {
    std::vector<std::pair<const char*, uint32_t>> keys{
        {netif::keys::tx_ring_ref, ring_refs_[0]},
        {netif::keys::rx_ring_ref, ring_refs_[1]},
        {netif::keys::request_rx_copy, 1},
        {"feature-sg", options_.scatter_gather},
        {netif::keys::feature_rx_notify, options_.rx_notify},
        {netif::keys::feature_no_csum_offload, options_.no_csum_offload},
        {netif::keys::feature_ipv6_csum_offload, options_.ipv6_csum_offload},
        {netif::keys::feature_gso_tcpv4, options_.gso},
        {netif::keys::feature_gso_tcpv6, options_.gso}};
    // What a frontend before us may have left would count.
    for (const char* key :
         {netif::keys::event_channel, netif::keys::event_channel_tx, netif::keys::event_channel_rx,
          netif::keys::ctrl_ring_ref, netif::keys::event_channel_ctrl})
      if (Status status = transaction.remove(path_ + "/" + key); !status) return status;
    if (ports_[0] == ports_[1]) {
      keys.emplace_back(netif::keys::event_channel, ports_[0]);
    } else {
      keys.emplace_back(netif::keys::event_channel_tx, ports_[0]);
      keys.emplace_back(netif::keys::event_channel_rx, ports_[1]);
    }
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
  backend_closes_ = backend_state() != XenbusState::connected;
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

int Frontend::take_buffer() {
  if (free_.empty()) return -1;
  const int buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void Frontend::put(uint32_t buffer, uint32_t bytes, uint16_t flags) {
  netif::FromGuestRequest request{};
  request.gref = refs_[0][buffer];
  request.flags = flags;
  request.id = static_cast<uint16_t>(buffer);
  request.size = static_cast<uint16_t>(bytes);
  under_way_[buffer] = true;
  from_guest_->put(request);
}

void Frontend::put_segmentation(const Segmentation& segmentation) {
  netif::ExtraInfo extra{};
  extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
  extra.u.gso.size = segmentation.segment_bytes;
  extra.u.gso.type = segmentation.type;
  from_guest_->put(extra);
}

void Frontend::push_from_guest() {
  if (from_guest_->push()) notify(ports_[0]);
}

uint32_t Frontend::reap() {
  uint32_t count = 0;
  netif::FromGuestResponse answer;
  while (from_guest_->take(answer)) {
    ++count;
    if (answer.status == NETIF_RSP_NULL) continue;
    if (answer.id >= slots || !under_way_[answer.id]) {
      ++bad_answers_;
      continue;
    }
    under_way_[answer.id] = false;
    if (options_.spoil_answered) std::fill_n(from_guest_page(answer.id), page, 0xa5);
    free_.push_back(answer.id);
    if (answer.status != NETIF_RSP_OKAY) ++errors_;
  }
  return count;
}

bool Frontend::receive(Received& received) {
  netif::ToGuestResponse response;
  while (to_guest_->take(response)) {
    if (response.id >= slots || !posted_[response.id]) {
      ++bad_answers_;
      continue;
    }
    posted_[response.id] = false;
    received = {response.id, response.offset, response.status, response.flags, {}};
    if (response.flags & NETRXF_extra_info) received.segmentation = take_segmentation();
    return true;
  }
  return false;
}

// The slots of extra info behind a first slot. Their buffers are as they were: posted once more.
Segmentation Frontend::take_segmentation() {
  Segmentation segmentation;
  netif::ToGuestResponse slot;
  bool more = true;
  while (more && to_guest_->take(slot)) {
    const uint16_t buffer = posted_at_[(to_guest_->consumed() - 1) % slots];
    if (posted_[buffer]) post(buffer);
    const auto extra = std::bit_cast<netif::ExtraInfo>(slot);
    more = extra.flags & XEN_NETIF_EXTRA_FLAG_MORE;
    if (extra.type == XEN_NETIF_EXTRA_TYPE_GSO)
      segmentation = {extra.u.gso.size, extra.u.gso.type};
    else
      ++bad_answers_;
  }
  if (more) ++bad_answers_;
  return segmentation;
}

void Frontend::post(uint32_t buffer) {
  netif::ToGuestRequest request{};
  request.id = static_cast<uint16_t>(buffer);
  request.gref = refs_[1][buffer];
  posted_[buffer] = true;
  posted_at_[to_guest_->produced() % slots] = request.id;
  to_guest_->put(request);
}

void Frontend::push_to_guest() {
  if (to_guest_->push()) notify(ports_[1]);
}

void Frontend::notify(evtchn_port_t port) {
  xenevtchn_notify(devices_.events(), port);
}

bool Frontend::ask_events() {
  from_guest_->ask_event();
  to_guest_->ask_event();
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return from_guest_->has_response() || to_guest_->has_response();
}

void Frontend::wait(int timeout_ms, int other_fd) {
  if (ask_events()) return;
  devices_.wait(timeout_ms, other_fd);
  heed_changes();
}

}  // namespace netback
