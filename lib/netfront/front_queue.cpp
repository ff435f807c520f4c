#include "lib/netfront/front_queue.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace netback {

Result<std::unique_ptr<FrontQueue>> FrontQueue::open(Frontend& frontend, GuestDevices& devices,
                                                     const Options& options) {
  std::unique_ptr<FrontQueue> made(new FrontQueue(frontend, devices, options));
  if (Status shared = made->share(); !shared) return shared.error();
  if (Status bound = made->bind(); !bound) return bound.error();
  made->begin_rings();
  return made;
}

FrontQueue::FrontQueue(Frontend& frontend, GuestDevices& devices, const Options& options)
    : frontend_(frontend),
      devices_(devices),
      options_(options),
      under_way_(slots),
      posted_(slots),
      posted_at_(slots) {
  for (uint32_t i = slots; i > 0; --i) free_.push_back(static_cast<uint16_t>(i - 1));
}

FrontQueue::~FrontQueue() {
  for (int i = 0; i < 2; ++i) {
    if (ring_pages_[i] != nullptr) xengntshr_unshare(devices_.sharing(), ring_pages_[i], 1);
    if (pages_[i] != nullptr) xengntshr_unshare(devices_.sharing(), pages_[i], slots);
    if (ports_[i] != 0 && (i == 0 || ports_[1] != ports_[0]))
      xenevtchn_unbind(devices_.events(), ports_[i]);
  }
}

Status FrontQueue::share() {
  for (int i = 0; i < 2; ++i) {
    const bool writable = i == 1;  // the backend reads frames from the guest and writes the others
    refs_[i].resize(slots);
    ring_pages_[i] =
        xengntshr_share_pages(devices_.sharing(), options_.backend_id, 1, &ring_refs_[i], 1);
    pages_[i] = static_cast<uint8_t*>(xengntshr_share_pages(
        devices_.sharing(), options_.backend_id, int{slots}, refs_[i].data(), writable ? 1 : 0));
    if (ring_pages_[i] == nullptr || pages_[i] == nullptr)
      return errno_error("cannot share pages", "raise xen_gntalloc.limit");
  }
  return Done{};
}

Status FrontQueue::bind() {
  for (int i = 0; i < 2; ++i) {
    if (i == 1 && !options_.split_event_channels) {
      ports_[1] = ports_[0];
      break;
    }
    const int port = xenevtchn_bind_unbound_port(devices_.events(), options_.backend_id);
    if (port < 0) return errno_error("cannot make an event channel");
    ports_[i] = static_cast<evtchn_port_t>(port);
  }
  return Done{};
}

void FrontQueue::begin_rings() {
  from_guest_ = std::make_unique<FromGuestFrontRing>(ring_pages_[0]);
  to_guest_ = std::make_unique<ToGuestFrontRing>(ring_pages_[1]);
  for (uint32_t i = 0; i < options_.posted_buffers; ++i) post(i);
  to_guest_->push();
}

std::vector<std::pair<const char*, uint32_t>> FrontQueue::keys() const {
  std::vector<std::pair<const char*, uint32_t>> all{{netif::keys::tx_ring_ref, ring_refs_[0]},
                                                    {netif::keys::rx_ring_ref, ring_refs_[1]}};
  if (ports_[0] == ports_[1]) {
    all.emplace_back(netif::keys::event_channel, ports_[0]);
  } else {
    all.emplace_back(netif::keys::event_channel_tx, ports_[0]);
    all.emplace_back(netif::keys::event_channel_rx, ports_[1]);
  }
  return all;
}

int FrontQueue::take_buffer() {
  if (free_.empty()) return -1;
  const int buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void FrontQueue::put(uint32_t buffer, uint32_t bytes, uint16_t flags) {
  netif::FromGuestRequest request{};
  request.gref = refs_[0][buffer];
  request.flags = flags;
  request.id = static_cast<uint16_t>(buffer);
  request.size = static_cast<uint16_t>(bytes);
  under_way_[buffer] = true;
  from_guest_->put(request);
}

void FrontQueue::put_segmentation(const Segmentation& segmentation) {
  netif::ExtraInfo extra{};
  extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
  extra.u.gso.size = segmentation.segment_bytes;
  extra.u.gso.type = segmentation.type;
  from_guest_->put(extra);
}

void FrontQueue::put_hash(const HashInfo& hash) {
  netif::ExtraInfo extra{};
  extra.type = XEN_NETIF_EXTRA_TYPE_HASH;
  extra.u.hash.type = hash.type;
  extra.u.hash.algorithm = hash.algorithm;
  std::memcpy(extra.u.hash.value, &hash.value, sizeof hash.value);
  from_guest_->put(extra);
}

bool FrontQueue::put_group(uint8_t type, const std::array<uint8_t, 6>& group) {
  const int buffer = free_slots() < 2 ? -1 : take_buffer();
  if (buffer < 0) return false;
  put(static_cast<uint32_t>(buffer), 0, NETTXF_extra_info);
  netif::ExtraInfo extra{};
  extra.type = type;
  std::ranges::copy(group, extra.u.mcast.addr);
  from_guest_->put(extra);
  return true;
}

void FrontQueue::push_from_guest() {
  if (from_guest_->push()) notify(ports_[0]);
}

uint32_t FrontQueue::reap() {
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

bool FrontQueue::receive(Received& received) {
  netif::ToGuestResponse response;
  while (to_guest_->take(response)) {
    if (response.id >= slots || !posted_[response.id]) {
      ++bad_answers_;
      continue;
    }
    posted_[response.id] = false;
    received = {response.id, response.offset, response.status, response.flags, {}, {}, 0};
    if (response.flags & NETRXF_extra_info) take_extra_info(received);
    return true;
  }
  return false;
}

// The slots of extra info behind a first slot. Their buffers are as they were: posted once more.
void FrontQueue::take_extra_info(Received& received) {
  netif::ToGuestResponse slot;
  bool more = true;
  while (more && to_guest_->take(slot)) {
    const uint16_t buffer = posted_at_[(to_guest_->consumed() - 1) % slots];
    if (posted_[buffer]) post(buffer);
    const auto extra = std::bit_cast<netif::ExtraInfo>(slot);
    more = extra.flags & XEN_NETIF_EXTRA_FLAG_MORE;
    if (extra.type == XEN_NETIF_EXTRA_TYPE_GSO) {
      received.segmentation = {extra.u.gso.size, extra.u.gso.type};
    } else if (extra.type == XEN_NETIF_EXTRA_TYPE_HASH) {
      received.hash = {extra.u.hash.type, extra.u.hash.algorithm, 0};
      std::memcpy(&received.hash.value, extra.u.hash.value, sizeof received.hash.value);
    } else if (extra.type == netif::extra_type_xdp && extra.u.pad[0] == received.offset) {
      received.headroom = extra.u.pad[0];
    } else {
      ++bad_answers_;
    }
  }
  if (more) ++bad_answers_;
}

void FrontQueue::post(uint32_t buffer) {
  netif::ToGuestRequest request{};
  request.id = static_cast<uint16_t>(buffer);
  request.gref = refs_[1][buffer];
  posted_[buffer] = true;
  posted_at_[to_guest_->produced() % slots] = request.id;
  to_guest_->put(request);
}

void FrontQueue::push_to_guest() {
  if (to_guest_->push() && options_.rx_notify) notify(ports_[1]);
}

void FrontQueue::notify(evtchn_port_t port) {
  xenevtchn_notify(devices_.events(), port);
}

bool FrontQueue::ask_events() {
  from_guest_->ask_event();
  to_guest_->ask_event();
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return from_guest_->has_response() || to_guest_->has_response();
}

}  // namespace netback
