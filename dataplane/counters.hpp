// Every counter of the data path. The lists define them: name as exported, and what it counts. Each
// drop's `if` names its own.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace netback {

// clang-format off
// Of one guest queue. Directions are said from our side; frames are Ethernet frames.
#define NETBACK_QUEUE_COUNTERS(X)                                                                  \
  X(from_guest_frames, "frames fetched from the guest and handed to forwarding")                   \
  X(from_guest_bytes, "bytes of those frames")                                                     \
  X(from_guest_slots, "request slots taken")                                                       \
  X(from_guest_extra_slots, "of these, extra-info slots")                                          \
  X(from_guest_gso_frames, "of those frames, such as stand for several (GSO)")                     \
  X(from_guest_direct_frames, "of those frames, such as went from the guest's pages to another's") \
  X(from_guest_hashed_frames, "of those frames, such as had a hash of the guest's with them")      \
  X(from_guest_gso_checksum_fixups, "GSO frames whose checksum was not said to be blank")          \
  X(from_guest_copy_calls, "grant-copy calls that carried slots of this queue")                    \
  X(from_guest_copy_slots, "slots carried by those calls, all queues of the worker together")      \
  X(from_guest_staged_copies, "copies from pages of the guest that are mapped: no hypercall")      \
  X(from_guest_notifications, "times the guest was notified of answers")                           \
  X(from_guest_rate_waits, "times requests began to wait in the ring for the vif's rate")          \
  X(from_guest_multicast_answered, "multicast list requests answered OKAY")                        \
  X(from_guest_multicast_refused, "multicast list requests answered ERROR")                        \
  X(from_guest_drop_bad_size_frames, "first fragment shorter than an Ethernet header")             \
  X(from_guest_drop_too_many_slots_frames, "more than a first slot and 18 more")                   \
  X(from_guest_drop_size_mismatch_frames, "later slots hold more bytes than the frame says")       \
  X(from_guest_drop_bad_reference_frames, "a grant reference below the reserved ones")             \
  X(from_guest_drop_copy_failed_frames, "the hypervisor refused a grant copy")                     \
  X(from_guest_drop_gso_not_offered_frames, "segmentation asked of us, which we did not offer")    \
  X(from_guest_drop_too_long_frames, "longer than mtu + 14, + 4 with a VLAN tag")                  \
  X(from_guest_drop_bad_headers_frames, "checksum wanted for headers that are malformed")          \
  X(from_guest_drop_too_many_segments_frames, "GSO frames that stand for more than 256")           \
  X(from_guest_drop_source_address_frames, "source address is not the vif's (lock-mac)")           \
  X(from_guest_drop_source_ip_frames, "IP or ARP as from an address not in ip, or neither")        \
  X(from_guest_drop_tagged_frames, "with a VLAN tag, from a vif that has a VLAN")                  \
  X(from_guest_drop_too_early_frames, "the port was not running")                                  \
  X(from_guest_drop_port_full_frames, "the port took no more frames")                              \
  X(from_guest_drop_port_too_long_frames, "longer than the port can send")                         \
  X(from_guest_drop_no_buffer_frames, "no buffer for what the port driver needs")                  \
  X(from_guest_drop_port_refused_frames, "the port driver does not segment such a frame")          \
  X(from_guest_drop_to_sender_frames, "addressed to the sender itself")                            \
  X(from_guest_drop_crossing_frames, "no room in the ring to another worker, or no copy for it")   \
  X(to_guest_frames, "frames copied to the guest")                                                 \
  X(to_guest_bytes, "bytes of those frames")                                                       \
  X(to_guest_slots, "request slots taken")                                                         \
  X(to_guest_gso_frames, "of those frames, such as stand for several (GSO)")                       \
  X(to_guest_hashed_frames, "of those frames, such as had their hash with them")                   \
  X(to_guest_cut_frames, "GSO frames cut into segments, as the guest takes none")                  \
  X(to_guest_copy_calls, "grant-copy calls that carried slots of this queue")                      \
  X(to_guest_copy_slots, "slots carried by those calls, all queues of the worker together")        \
  X(to_guest_multicast_filtered_frames, "frames of groups that the guest has not joined")          \
  X(to_guest_staged_copies, "copies to pages of the guest that are mapped: no hypercall")          \
  X(to_guest_notifications, "times the guest was notified of frames")                              \
  X(to_guest_drop_backlog_full_frames, "the backlog was full")                                     \
  X(to_guest_drop_rate_frames, "more than the vif's rate-to-guest")                                \
  X(to_guest_drop_stalled_frames, "the guest took none of its backlog for too long")               \
  X(to_guest_drop_copy_failed_frames, "the hypervisor refused a grant copy")                       \
  X(to_guest_drop_too_long_frames, "longer than the guest can take")                               \
  X(to_guest_drop_no_buffer_frames, "no buffers for a GSO frame's segments or an untagged copy")   \
  X(to_guest_drop_detached_frames, "the guest had left, or was quarantined")

// Of one port queue.
#define NETBACK_PORT_COUNTERS(X)                                                                   \
  X(port_received_frames, "frames received from the port")                                         \
  X(port_received_bytes, "bytes of those frames")                                                  \
  X(port_received_gso_frames, "of these frames, such as stand for several")                        \
  X(port_sent_frames, "frames the port took")                                                      \
  X(port_sent_bytes, "bytes of those frames")                                                      \
  X(port_sent_bursts, "calls of the driver's transmit function that took frames")                  \
  X(port_checksums_completed, "checksums completed in software before sending")                    \
  X(port_gso_frames, "GSO frames that the port segments itself")                                   \
  X(port_cut_frames, "GSO frames cut into segments in software before sending")                    \
  X(port_drop_short_frames, "received shorter than an Ethernet header")                            \
  X(port_drop_no_destination_frames, "received for an address that no vif of the port has")        \
  X(port_drop_crossing_frames, "no room in the ring to another worker, or no copy for it")

// Of one worker. Cycles are of the TSC.
#define NETBACK_WORKER_COUNTERS(X)                                                                 \
  X(worker_turns, "turns of the loop")                                                             \
  X(worker_busy_turns, "turns that moved at least one frame")                                      \
  X(worker_busy_cycles, "cycles of those turns")                                                   \
  X(worker_cycles, "cycles since the worker started")                                              \
  X(worker_sleeps, "times it slept for want of work")                                              \
  X(worker_from_guest_copy_calls, "grant-copy calls, from guests")                                 \
  X(worker_from_guest_copy_slots, "slots of those calls")                                          \
  X(worker_to_guest_copy_calls, "grant-copy calls, to guests")                                     \
  X(worker_to_guest_copy_slots, "slots of those calls")                                            \
  X(worker_pool_empty_turns, "turns in which slots were left in a ring for want of buffers")       \
  X(worker_crossed_frames, "frames that came from other workers")                                  \
  X(worker_drop_gone_frames, "of these, such as were from or for a vif that had left meanwhile")
// clang-format on

#define NETBACK_COUNTER_ENUM(name, help) name,
#define NETBACK_COUNTER_INFO(name, help) CounterInfo{#name, help},

enum class QueueCounter : uint8_t { NETBACK_QUEUE_COUNTERS(NETBACK_COUNTER_ENUM) count_ };
enum class PortCounter : uint8_t { NETBACK_PORT_COUNTERS(NETBACK_COUNTER_ENUM) count_ };
enum class WorkerCounter : uint8_t { NETBACK_WORKER_COUNTERS(NETBACK_COUNTER_ENUM) count_ };

struct CounterInfo {
  std::string_view name, help;
};
inline constexpr auto queue_counter_info =
    std::to_array<CounterInfo>({NETBACK_QUEUE_COUNTERS(NETBACK_COUNTER_INFO)});
inline constexpr auto port_counter_info =
    std::to_array<CounterInfo>({NETBACK_PORT_COUNTERS(NETBACK_COUNTER_INFO)});
inline constexpr auto worker_counter_info =
    std::to_array<CounterInfo>({NETBACK_WORKER_COUNTERS(NETBACK_COUNTER_INFO)});
static_assert(queue_counter_info.size() == size_t(QueueCounter::count_));
static_assert(port_counter_info.size() == size_t(PortCounter::count_));
static_assert(worker_counter_info.size() == size_t(WorkerCounter::count_));

// Totals since attach. One thread adds, any thread reads.
template <class Counter>
class Counters {
 public:
  static constexpr size_t size = size_t(Counter::count_);

  void add(Counter counter, uint64_t amount = 1) {
    auto& total = totals_[size_t(counter)];
    total.store(total.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  // The same, of counters that all add to by this.
  void add_shared(Counter counter, uint64_t amount = 1) {
    totals_[size_t(counter)].fetch_add(amount, std::memory_order_relaxed);
  }
  uint64_t read(Counter counter) const {
    return totals_[size_t(counter)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<uint64_t>, size> totals_{};
};

using QueueCounters = Counters<QueueCounter>;
using PortCounters = Counters<PortCounter>;
using WorkerCounters = Counters<WorkerCounter>;

}  // namespace netback
