// One queue of a vif: a from_guest and a to_guest ring. A Connection (control) makes it and lends
// it to a worker from AttachQueue to the ack of DetachQueue. All queues of a vif are one worker's;
// others have it in their table, and touch nothing but what is constant, and `elsewhere`.
#pragma once

#include <rte_ether.h>
#include "lib/xen/c_api.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/counters.hpp"
#include "dataplane/frame.hpp"
#include "dataplane/hashing.hpp"
#include "dataplane/limits.hpp"
#include "dataplane/multicast_groups.hpp"
#include "dataplane/rate.hpp"
#include "dataplane/source_addresses.hpp"
#include "lib/dpdk/frame_pool.hpp"
#include "lib/xen/ring.hpp"
#include "lib/xen/staging_table.hpp"

namespace netback {

// What was agreed with the guest and asked by the operator. Control makes it, nobody changes it;
// a new one replaces it (UseSettings).
struct VifSettings {
  rte_ether_addr mac{};
  uint32_t frame_bytes_max = 1514;  // mtu + 14; a VLAN tag may add 4
  bool takes_chains = false;        // the guest's feature-sg: frames of several slots
  bool takes_blank_ipv4 = true;     // not the guest's feature-no-csum-offload
  bool takes_blank_ipv6 = false;    // the guest's feature-ipv6-csum-offload
  bool gso_tcpv4_offered = false;   // we wrote feature-gso-tcpv4 = 1
  bool gso_tcpv6_offered = false;
  bool takes_gso_tcpv4 = false;  // the guest's feature-gso-tcpv4, and what that needs
  bool takes_gso_tcpv6 = false;
  // Whether its driver looks where in the page an answer says that the bytes begin. The GPLPV
  // drivers of Windows do not (xennet_rx.c asserts 0, in debug builds alone). Those that take blank
  // IPv6 checksums, as Linux's since 3.13, are younger and do.
  bool reads_offsets() const { return takes_blank_ipv6; }
  bool lock_mac = false;  // frames with another source address are dropped
  // Frames that use other IP addresses are dropped; null: it may use all. The worker only reads it.
  std::shared_ptr<const SourceAddresses> addresses = {};
  uint16_t vlan = 0;  // the guest's frames get this tag, and may have none; 0: they stay as sent
  uint32_t backlog_frames_max = limits::backlog_frames_max;
  uint32_t stall_ms = limits::stall_ms;
};

// What a guest did that no honest guest does. Its vif is quarantined (design 10).
#define NETBACK_VIOLATIONS(X)                                         \
  X(impossible_producer, "claims more requests than the ring holds")  \
  X(missing_extra_info, "announces extra info that does not follow")  \
  X(bad_extra_type, "extra info of an invalid type")                  \
  X(too_many_extras, "endless extra info")                            \
  X(bad_gso, "segmentation of size 0 or of an unknown type")          \
  X(unfinished_frame, "a frame that goes on beyond the last request") \
  X(too_many_slots, "a frame of more than 21 slots")                  \
  X(crosses_page, "a slot that reaches beyond its page")
#define NETBACK_VIOLATION_ENUM(name, text) name,
#define NETBACK_VIOLATION_TEXT(name, text) text,
enum class Violation : uint8_t { NETBACK_VIOLATIONS(NETBACK_VIOLATION_ENUM) };
inline constexpr auto violation_text =
    std::to_array<std::string_view>({NETBACK_VIOLATIONS(NETBACK_VIOLATION_TEXT)});

// Frames that wait for the guest to post slots, oldest first.
class Backlog {
 public:
  uint32_t count() const { return tail_ - head_; }
  uint32_t buffers() const { return buffers_; }  // of those frames, by weight
  rte_mbuf* at(uint32_t i) const { return frames_[(head_ + i) % frames_.size()]; }
  void push(rte_mbuf* frame) {
    NETBACK_CHECK(count() < frames_.size());
    frames_[tail_++ % frames_.size()] = frame;
    buffers_ += FramePool::weight(frame);
  }
  // The oldest `frames` frames, whose weight is `buffers` together. An empty one begins anew, so
  // that one that never gets long stays in a few cache lines.
  void pop(uint32_t frames, uint32_t buffers) {
    NETBACK_CHECK(frames <= count() && buffers <= buffers_);
    head_ += frames;
    buffers_ -= buffers;
    if (head_ == tail_) head_ = tail_ = 0;
  }
  // Leaves it empty; `end` is called with each frame, oldest first.
  template <class End>
  void clear(End end) {
    while (count() > 0) {
      rte_mbuf* frame = at(0);
      pop(1, FramePool::weight(frame));
      end(frame);
    }
  }

 private:
  std::array<rte_mbuf*, limits::backlog_frames_max> frames_;
  uint32_t head_ = 0, tail_ = 0, buffers_ = 0;
};
static_assert((limits::backlog_frames_max & (limits::backlog_frames_max - 1)) == 0);

struct GuestQueue {
  // Constant while attached.
  uint16_t vif;  // index of the vif in this process, below limits::vifs_max
  uint16_t domain;
  uint16_t number = 0;            // among the vif's queues, below limits::vif_queues_max
  uint16_t worker = 0;            // whose it is, below limits::workers_max
  evtchn_port_t from_guest_port;  // our ends; one and the same without split event channels
  evtchn_port_t to_guest_port;
  MulticastGroups* multicast = nullptr;  // of its vif, all queues together; null: not offered
  // All queues of the vif, by number, this one included; empty: it is the only one.
  std::span<GuestQueue* const> siblings = {};

  // The queue that stands for its vif in the forwarding table.
  const GuestQueue& first_of_vif() const { return siblings.empty() ? *this : *siblings[0]; }
  GuestQueue& first_of_vif() { return siblings.empty() ? *this : *siblings[0]; }

  // The worker's while attached.
  FromGuestRing from_guest;
  ToGuestRing to_guest;
  const VifSettings* settings;
  const StagingTable* staging = nullptr;  // its pages that are mapped, if any
  const Hashing* hashing = nullptr;       // of its vif; null: its guest wants no hashes
  Backlog backlog = {};
  uint64_t backlog_since = 0;     // TSC when the backlog was last empty or shrank
  uint32_t empty_turns = 0;       // in a row without a request: parks at a limit
  uint32_t last_group_slots = 0;  // what collect took last
  // Of the vif, in its first queue: work that its frames made beyond their slots. A frame that
  // another guest gets is one more, and so is each that a frame is cut into. from_guest/collect
  // lets the other vifs go first for it.
  uint32_t debt_slots = 0;
  uint64_t gathers_until = 0;       // TSC; 0: waits for no group
  bool answered_this_turn = false;  // between the answers and their publication
  bool large_this_turn = false;     // those are of large frames
  bool quarantined = false;
  bool hot = false;            // listed in the worker's hot queues
  bool in_backlogged = false;  // listed in the worker's queues with a backlog
  bool draining = false;       // until its backlog is gone; then it is detached
  bool placed = false;         // the table in use has its vif
  bool held = false;           // its requests wait for the vif's rate
  // The last of its frames that stand for several could have gone straight to a guest (direct).
  bool streams_to_guest = false;
  uint8_t direct_after = 0;  // so many more are not tried: one that was tried failed

  // Control writes, the worker reads: bytes left free in each of the guest's pages.
  std::atomic<uint16_t> xdp_headroom = 0;
  // The worker writes, anyone reads.
  std::atomic<bool> stalled = false;

  // Whether frames of the guest are taken: each has somewhere to go then.
  bool takes_frames() const { return placed && !draining && !quarantined; }

  // Control writes, the worker reads. The vif's, which outlive the queue; null: unlimited.
  std::atomic<RateBudget*> from_guest_rate = nullptr;
  std::atomic<RateBudget*> to_guest_rate = nullptr;

  // The worker writes, anyone reads.
  QueueCounters counters = {};

  // All other workers write, anyone reads: drops that they had to make. Part of each total.
  QueueCounters elsewhere = {};
  uint64_t total(QueueCounter counter) const {
    return counters.read(counter) + elsewhere.read(counter);
  }
};
static_assert(sizeof(GuestQueue) <= 5 * 1024, "what README.md says of queues-max");

// Counts a drop at a queue that may be another worker's than `worker`, who drops.
inline void count_drop(GuestQueue& queue, uint16_t worker, QueueCounter reason) {
  if (queue.worker == worker) [[likely]]
    return queue.counters.add(reason);
  queue.elsewhere.add_shared(reason);
}
inline void drop(rte_mbuf* frame, GuestQueue& queue, uint16_t worker, QueueCounter reason) {
  count_drop(queue, worker, reason);
  rte_pktmbuf_free(frame);
}

}  // namespace netback
