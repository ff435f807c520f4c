// The guest's half of a ring on a page of our own: what the tests' guests are made of. It does as
// it is told, lies included.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>

#include "lib/netif/netif.hpp"

namespace netback {

template <class Request, class Response, uint32_t slot_count = netif::ring_slots>
class FrontRing {
 public:
  union Slot {
    Request request;
    Response response;
  };
  static constexpr uint32_t size = slot_count;

  // Initialises the page as a frontend does (SHARED_RING_INIT), from index `start` on.
  explicit FrontRing(void* page, uint32_t start = 0) : shared_(static_cast<Shared*>(page)) {
    std::memset(page, 0, netif::page_bytes);
    shared_->req_prod = shared_->rsp_prod = produced_ = consumed_ = answered_ = start;
    shared_->req_event = shared_->rsp_event = start + 1;
  }

  // Writes the next request; the backend sees it after push().
  void put(const Request& request) { slot(produced_++).request = request; }
  // An extra-info slot lies over a from_guest request.
  void put(const netif::ExtraInfo& extra) {
    static_assert(sizeof(netif::ExtraInfo) <= sizeof(Slot));
    std::memcpy(&slot(produced_++), &extra, sizeof extra);
  }

  // True when the backend asked to be notified.
  bool push() {
    const uint32_t before = shared_->req_prod;
    std::atomic_ref(shared_->req_prod).store(produced_);
    return produced_ - std::atomic_ref(shared_->req_event).load() < produced_ - before;
  }

  // The next published response, if there is one.
  bool take(Response& response) {
    if (!has_response()) return false;
    response = slot(consumed_++).response;
    return true;
  }
  std::optional<Response> get() {
    Response response;
    return take(response) ? std::optional(response) : std::nullopt;
  }
  // Whether get() has one. The shared word is read only when all that it said before is consumed:
  // its cache line is the backend's as well.
  bool has_response() {
    if (answered_ == consumed_) look_for_answers();
    return answered_ != consumed_;
  }
  // Asks for a notification with the `ahead`th response from here.
  void ask_event(uint32_t ahead = 1) { shared_->rsp_event = consumed_ + ahead; }

  uint32_t produced() const { return produced_; }
  uint32_t consumed() const { return consumed_; }
  uint32_t free_slots() const { return size - (produced_ - consumed_); }
  // For lies and for looking: the words and slots as they are in the page.
  uint32_t& req_prod() { return shared_->req_prod; }
  uint32_t& req_event() { return shared_->req_event; }
  uint32_t& rsp_prod() { return shared_->rsp_prod; }
  uint32_t& rsp_event() { return shared_->rsp_event; }
  Slot& slot(uint32_t position) { return shared_->slots[position & (size - 1)]; }

 private:
  // Requests will be put where the answers are: those cache lines come for writing, and together.
  void look_for_answers() {
    answered_ = std::atomic_ref(shared_->rsp_prod).load(std::memory_order_acquire);
    if (answered_ - consumed_ > size) return;  // no honest backend
    for (uint32_t at = consumed_; at != answered_; at += std::min(slots_per_line, answered_ - at))
      __builtin_prefetch(&slot(at), 1);
  }

  static constexpr uint32_t slots_per_line = 64 / sizeof(Slot);
  struct Shared {
    uint32_t req_prod, req_event, rsp_prod, rsp_event;
    uint8_t pad[48];
    Slot slots[size];
  };
  Shared* shared_;
  uint32_t produced_ = 0;
  uint32_t consumed_ = 0;
  uint32_t answered_ = 0;  // rsp_prod as last read
};

using FromGuestFrontRing = FrontRing<netif::FromGuestRequest, netif::FromGuestResponse>;
using ToGuestFrontRing = FrontRing<netif::ToGuestRequest, netif::ToGuestResponse>;
using ControlFrontRing =
    FrontRing<netif::ControlRequest, netif::ControlResponse, netif::control_ring_slots>;

}  // namespace netback
