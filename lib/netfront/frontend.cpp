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

Result<std::unique_ptr<Frontend>> Frontend::connect(const FrontendOptions& options) {
  auto store = Store::open();
  if (!store) return store.error();
  std::unique_ptr<Frontend> made(new Frontend(options, std::move(store).value()));
  for (const auto step :
       {&Frontend::open_devices, &Frontend::share, &Frontend::bind, &Frontend::publish})
    if (const Status status = (made.get()->*step)(); !status) return status.error();
  return made;
}

Frontend::Frontend(const FrontendOptions& options, std::unique_ptr<Store> store)
    : options_(options),
      store_(std::move(store)),
      path_(fmt::format("device/vif/{}", options.devid)),
      under_way_(slots),
      posted_(slots) {
  for (uint32_t i = slots; i > 0; --i) free_.push_back(static_cast<uint16_t>(i - 1));
}

// The backend stops using the rings before they go.
Frontend::~Frontend() {
  if (from_guest_ != nullptr) {
    (void)store_->write(path_ + "/state", "5");
    (void)wait_for_backend({XenbusState::closing, XenbusState::closed, XenbusState::unknown});
    (void)store_->write(path_ + "/state", "6");
    (void)wait_for_backend({XenbusState::closed, XenbusState::init_wait, XenbusState::unknown});
  }
  for (int i = 0; i < 2; ++i) {
    if (ring_pages_[i] != nullptr) xengntshr_unshare(sharing_, ring_pages_[i], 1);
    if (pages_[i] != nullptr) xengntshr_unshare(sharing_, pages_[i], slots);
  }
  if (events_ != nullptr) xenevtchn_close(events_);
  if (sharing_ != nullptr) xengntshr_close(sharing_);
}

Status Frontend::open_devices() {
  const auto backend = store_->read(path_ + "/backend");
  const auto id = store_->read(path_ + "/backend-id");
  if (!backend || !id) return Error{fmt::format("this domain has no vif {}", options_.devid)};
  backend_ = *backend;
  backend_id_ = parse_number<uint16_t>(*id).value_or(0);
  mac_ = store_->read(path_ + "/mac").value_or("");
  sharing_ = xengntshr_open(nullptr, 0);
  if (sharing_ == nullptr) return errno_error("cannot share pages", "modprobe xen-gntalloc");
  events_ = xenevtchn_open(nullptr, 0);
  if (events_ == nullptr) return errno_error("cannot open event channels", "modprobe xen-evtchn");
  return Done{};
}

Status Frontend::share() {
  for (int i = 0; i < 2; ++i) {
    const bool writable = i == 1;  // the backend reads frames from the guest and writes the others
    refs_[i].resize(slots);
    ring_pages_[i] = xengntshr_share_pages(sharing_, backend_id_, 1, &ring_refs_[i], 1);
    pages_[i] = static_cast<uint8_t*>(xengntshr_share_pages(sharing_, backend_id_, int{slots},
                                                            refs_[i].data(), writable ? 1 : 0));
    if (ring_pages_[i] == nullptr || pages_[i] == nullptr)
      return errno_error("cannot share pages", "raise xen_gntalloc.limit");
  }
  return Done{};
}

// A backend that has closed comes back when the frontend begins anew.
Status Frontend::bind() {
  if (store_->read(path_ + "/state") != "1")
    if (Status begun = store_->write(path_ + "/state", "1"); !begun) return begun;
  if (Status come = wait_for_backend({XenbusState::init_wait}); !come) return come;
  const bool split = options_.split_event_channels &&
                     store_->read(backend_ + "/feature-split-event-channels") == "1";
  for (int i = 0; i < 2; ++i) {
    if (i == 1 && !split) {
      ports_[1] = ports_[0];
      break;
    }
    const int port = xenevtchn_bind_unbound_port(events_, backend_id_);
    if (port < 0) return errno_error("cannot make an event channel");
    ports_[i] = static_cast<evtchn_port_t>(port);
  }
  return Done{};
}

Status Frontend::publish() {
  from_guest_ = std::make_unique<FromGuestFrontRing>(ring_pages_[0]);
  to_guest_ = std::make_unique<ToGuestFrontRing>(ring_pages_[1]);
  for (uint32_t i = 0; i < slots; ++i) post(i);
  to_guest_->push();
  const Status written = store_->transact([&](StoreTransaction& transaction) {
    std::vector<std::pair<const char*, uint32_t>> keys{
        {netif::keys::tx_ring_ref, ring_refs_[0]},
        {netif::keys::rx_ring_ref, ring_refs_[1]},
        {netif::keys::request_rx_copy, 1},
        {"feature-sg", options_.scatter_gather},
        {netif::keys::feature_rx_notify, options_.rx_notify},
        {netif::keys::feature_no_csum_offload, options_.no_csum_offload},
        {netif::keys::feature_ipv6_csum_offload, options_.ipv6_csum_offload}};
    // What a frontend before us may have left would count.
    for (const char* key :
         {netif::keys::event_channel, netif::keys::event_channel_tx, netif::keys::event_channel_rx})
      if (Status status = transaction.remove(path_ + "/" + key); !status) return status;
    if (ports_[0] == ports_[1]) {
      keys.emplace_back(netif::keys::event_channel, ports_[0]);
    } else {
      keys.emplace_back(netif::keys::event_channel_tx, ports_[0]);
      keys.emplace_back(netif::keys::event_channel_rx, ports_[1]);
    }
    for (const auto& [key, value] : keys)
      if (Status status = transaction.write(path_ + "/" + key, std::to_string(value)); !status)
        return status;
    return Status{Done{}};
  });
  if (!written) return written;
  if (Status status = store_->write(path_ + "/state", "4"); !status) return status;
  if (Status come = wait_for_backend({XenbusState::connected}); !come) return come;
  return store_->watch(backend_ + "/state", "connected");
}

XenbusState Frontend::backend_state() const {
  const auto text = store_->read(backend_ + "/state");
  return static_cast<XenbusState>(parse_number<uint8_t>(text.value_or("0")).value_or(0));
}

void Frontend::look_at_backend() {
  pollfd change{store_->fd(), POLLIN, 0};
  if (poll(&change, 1, 0) <= 0) return;
  (void)store_->drain_watches([](std::string_view, std::string_view) {});
  backend_closes_ = backend_state() != XenbusState::connected;
}

Status Frontend::wait_for_backend(std::initializer_list<XenbusState> wanted) {
  const std::string path = backend_ + "/state";
  if (Status watched = store_->watch(path, "backend"); !watched) return watched;
  const auto until = Clock::now() + std::chrono::seconds(options_.timeout_s);
  XenbusState state = backend_state();
  while (std::find(wanted.begin(), wanted.end(), state) == wanted.end() && Clock::now() < until) {
    pollfd change{store_->fd(), POLLIN, 0};
    poll(&change, 1, 100);
    (void)store_->drain_watches([](std::string_view, std::string_view) {});
    state = backend_state();
  }
  store_->unwatch(path, "backend");
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
    received = {response.id, response.offset, response.status, response.flags};
    return true;
  }
  return false;
}

void Frontend::post(uint32_t buffer) {
  netif::ToGuestRequest request{};
  request.id = static_cast<uint16_t>(buffer);
  request.gref = refs_[1][buffer];
  posted_[buffer] = true;
  to_guest_->put(request);
}

void Frontend::push_to_guest() {
  if (to_guest_->push()) notify(ports_[1]);
}

void Frontend::notify(evtchn_port_t port) {
  xenevtchn_notify(events_, port);
}

void Frontend::wait(int timeout_ms, int other_fd) {
  from_guest_->ask_event();
  to_guest_->ask_event();
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (from_guest_->has_response() || to_guest_->has_response()) return;
  pollfd events[] = {
      {xenevtchn_fd(events_), POLLIN, 0}, {store_->fd(), POLLIN, 0}, {other_fd, POLLIN, 0}};
  if (poll(events, std::size(events), timeout_ms) <= 0) return;
  if (events[1].revents != 0) look_at_backend();
  if (events[0].revents == 0) return;
  const int port = xenevtchn_pending(events_);
  if (port >= 0) xenevtchn_unmask(events_, static_cast<evtchn_port_t>(port));
}

}  // namespace netback
