// The backend's half of a shared ring (public/io/ring.h), the only code that touches shared memory.
// It hands out copies, never a pointer: what was checked cannot change afterwards (XSA-155).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

#include "lib/base/check.hpp"
#include "lib/base/result.hpp"
#include "lib/netif/netif.hpp"

namespace netback {

// `Request` and `Response` share slots of the size of the larger one, behind a 64-byte header.
template <class Request, class Response, uint32_t slot_count = netif::ring_slots>
class BackRing {
 public:
  // A slot as it is in the page; an extra-info slot of the from_guest ring is one more view of it.
  union Slot {
    Request request;
    Response response;
  };
  static constexpr uint32_t size = slot_count;
  static_assert((size & (size - 1)) == 0 && 64 + size * sizeof(Slot) <= netif::page_bytes);

  // Starts where the last backend stopped: requests from rsp_prod on are unanswered. Fails when
  // the guest claims more requests than the ring holds (H03). `page` stays mapped while this lives.
  static Result<BackRing> attach(void* page) {
    BackRing ring(static_cast<Shared*>(page));
    const uint32_t answered = load(ring.shared_->rsp_prod, std::memory_order_relaxed);
    ring.taken_ = ring.answered_ = ring.published_ = answered;
    if (!ring.available()) return Error{"the guest's ring claims more requests than it holds"};
    return ring;
  }

  // Requests that the guest has produced and we have not taken; nothing when that is impossible
  // (more than the ring holds beyond what is answered: XSA-39). Slots taken and not yet answered
  // count against the ring, as RING_REQUEST_PROD_OVERFLOW has it.
  std::optional<uint32_t> available() const {
    const uint32_t produced = load(shared_->req_prod, std::memory_order_acquire);
    if (produced - published_ > size) [[unlikely]]
      return std::nullopt;
    const uint32_t count = produced - taken_;
    if (count > size) [[unlikely]]
      return std::nullopt;  // ran backwards, below what we took
    return count;
  }

  // A hint: available() and copy_out() of the next `count` requests come soon. Their cache lines
  // are fetched from the guest's core meanwhile; with `answered`, for the answers as well.
  template <bool answered = false>
  void prefetch(uint32_t count) const {
    __builtin_prefetch(shared_);
    constexpr uint32_t line_bytes = 64;
    for (uint32_t i = 0; i < count; i += line_bytes / sizeof(Slot))
      __builtin_prefetch(&slot(taken_ + i), answered);
  }

  // Copies requests that follow the `skip` first untaken ones. The caller asked available().
  // `Copy`: a request, or a union of what its bytes may be.
  template <class Copy, size_t count>
  void copy_out(uint32_t skip, std::span<Copy, count> copies) const {
    static_assert(sizeof(Copy) == sizeof(Request) && std::is_trivially_copyable_v<Copy>);
    for (uint32_t i = 0; i < copies.size(); ++i)
      copy_slot(&copies[i], &slot(taken_ + skip + i).request);
  }

  // From here on the next `count` requests are ours to answer.
  void take(uint32_t count) {
    taken_ += count;
    NETBACK_CHECK(taken_ - published_ <= size);
  }

  // Answers the oldest taken request, in the slot that it came in. Visible after publish().
  void answer(const Response& response) {
    NETBACK_CHECK(answered_ != taken_);
    slot(answered_++).response = response;
  }

  // Makes the answers visible; true when the guest asked for a notification about one of them.
  bool publish() {
    const uint32_t before = published_;
    // rsp_prod is visible before rsp_event is read, as ring.h's barrier has it.
    store(shared_->rsp_prod, answered_, std::memory_order_seq_cst);
    published_ = answered_;
    const uint32_t wanted = load(shared_->rsp_event, std::memory_order_seq_cst);
    return answered_ - wanted < answered_ - before;
  }

  // Asks the guest for a notification once `wanted` requests wait; true when they do already.
  bool arm(uint32_t wanted = 1) {
    // req_event is visible before req_prod is read, as ring.h's barrier has it. One that is there
    // already has been visible since: no need for the barrier, which is what arming many rings
    // costs.
    const uint32_t event = taken_ + wanted;
    if (load(shared_->req_event, std::memory_order_relaxed) != event)
      store(shared_->req_event, event, std::memory_order_seq_cst);
    return load(shared_->req_prod, std::memory_order_seq_cst) - taken_ >= wanted;
  }

  // Says whether there are requests to take, without the BackRing: of many rings that are looked at
  // in passing, the pages' own lines are all that is fetched. Nothing is taken while it is in use.
  // An impossible count is something too, for available() to report.
  class Watch {
   public:
    bool sees_some() const { return load(*req_prod_, std::memory_order_acquire) != taken_; }

   private:
    friend BackRing;
    Watch(uint32_t& req_prod, uint32_t taken) : req_prod_(&req_prod), taken_(taken) {}
    uint32_t* req_prod_;
    uint32_t taken_;
  };
  Watch watch() const { return Watch(shared_->req_prod, taken_); }

  uint32_t unanswered() const { return taken_ - answered_; }
  uint32_t unpublished() const { return answered_ - published_; }
  uint32_t next_slot() const { return taken_; }  // ring position of the next untaken request

  struct Indices {
    uint32_t req_prod, req_event, rsp_prod, rsp_event, taken, answered;
  };
  // For people: the ring as it is now (netbackctl show).
  Indices indices() const {
    return {load(shared_->req_prod, std::memory_order_relaxed),
            load(shared_->req_event, std::memory_order_relaxed),
            load(shared_->rsp_prod, std::memory_order_relaxed),
            load(shared_->rsp_event, std::memory_order_relaxed),
            taken_,
            answered_};
  }

 private:
  struct Shared {
    uint32_t req_prod, req_event;  // req_prod: the guest writes; req_event: we write
    uint32_t rsp_prod, rsp_event;  // rsp_prod: we write; rsp_event: the guest writes
    uint8_t pad[48];
    Slot slots[size];
  };

  explicit BackRing(Shared* shared) : shared_(shared) {}

  static uint32_t load(uint32_t& word, std::memory_order order) {
    return std::atomic_ref<uint32_t>(word).load(order);
  }
  static void store(uint32_t& word, uint32_t value, std::memory_order order) {
    std::atomic_ref<uint32_t>(word).store(value, order);
  }
  // One read of each byte of the slot: the compiler may not go back to it. Eight at a time,
  // straight to where they go: a wider load that follows narrower stores waits for them.
  static void copy_slot(void* to, const Request* from) {
    using Word __attribute__((aligned(4), may_alias)) = uint64_t;
    using Half __attribute__((may_alias)) = uint32_t;
    static_assert(sizeof(Request) % sizeof(Half) == 0 && alignof(Slot) >= alignof(Half));
    auto* out = static_cast<std::byte*>(to);
    const auto* in = reinterpret_cast<const std::byte*>(from);
    size_t at = 0;
    for (; at + sizeof(Word) <= sizeof(Request); at += sizeof(Word)) {
      const uint64_t word = *reinterpret_cast<const volatile Word*>(in + at);
      std::memcpy(out + at, &word, sizeof word);
    }
    if constexpr (sizeof(Request) % sizeof(Word) != 0) {
      const uint32_t half = *reinterpret_cast<const volatile Half*>(in + at);
      std::memcpy(out + at, &half, sizeof half);
    }
  }
  Slot& slot(uint32_t position) const { return shared_->slots[position & (size - 1)]; }

  Shared* shared_;
  uint32_t taken_ = 0;      // req_cons
  uint32_t answered_ = 0;   // rsp_prod_pvt
  uint32_t published_ = 0;  // rsp_prod as we wrote it: the shared word is the guest's to spoil
};

using FromGuestRing = BackRing<netif::FromGuestRequest, netif::FromGuestResponse>;
using ToGuestRing = BackRing<netif::ToGuestRequest, netif::ToGuestResponse>;
using ControlBackRing =
    BackRing<netif::ControlRequest, netif::ControlResponse, netif::control_ring_slots>;
static_assert(sizeof(FromGuestRing::Slot) == 12 && sizeof(ToGuestRing::Slot) == 8);

}  // namespace netback
