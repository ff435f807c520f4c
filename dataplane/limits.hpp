// Every limit of the data path, with what holds between them.
#pragma once

#include <cstdint>

#include "lib/netif/netif.hpp"

namespace netback::limits {

// One frame of a guest. Linux accepts a first slot and 18 more, drops at 19 and 20 more and
// disables the device at 21 (drivers/net/xen-netback fatal_skb_slots); so do we.
inline constexpr uint32_t further_slots_max = 18;
inline constexpr uint32_t further_slots_tolerated = 20;
// Extra-info slots of one frame. There are four types a guest may send; repeats overwrite.
inline constexpr uint32_t extra_slots_max = 8;
inline constexpr uint32_t chain_slots_max = 1 + extra_slots_max + further_slots_tolerated + 1;
inline constexpr uint32_t ethernet_header_bytes = 14;
inline constexpr uint32_t vlan_tag_bytes = 4;
inline constexpr uint32_t frame_bytes_max = 65535;  // XEN_NETIF_MAX_TX_SIZE
static_assert(frame_bytes_max == XEN_NETIF_MAX_TX_SIZE);
static_assert(further_slots_max + 1 >= XEN_NETIF_NR_SLOTS_MIN);

// Frames that one GSO frame may stand for. A full one of IPv4's least MTU that routers must carry
// whole (576 bytes) needs 123; one of segments so small that it needs more is a lie or a waste.
inline constexpr uint32_t segments_max = 256;

// One turn, from guests.
inline constexpr uint32_t turn_slots_max = 128;  // beyond this a turn leaves the L1 cache
inline constexpr uint32_t turn_runs_max = 32;
// When several vifs want more than there is. A turn serves fewer of them then, because going from
// one queue to the next costs the cache lines of its indices, both ways. The queues of a vif have
// this together.
inline constexpr uint32_t vif_share_slots_min = 64;
static_assert(vif_share_slots_min >= chain_slots_max, "a whole chain must fit a share");
static_assert(turn_slots_max >= vif_share_slots_min);
// A queue whose last group was a stream's waits for a whole group, as long as it is allowed to: its
// slots are then copied by fewer calls.
inline constexpr uint32_t group_slots = 32;
inline constexpr uint32_t streaming_slots_min = 8;
static_assert(group_slots <= vif_share_slots_min);
// Frames that one queue's GSO frames of one turn stand for; what would be more waits for the next
// turn. An honest guest's turn_slots_max slots hold 362 segments of 1,448 bytes.
inline constexpr uint32_t run_segments_max = 512;
static_assert(run_segments_max >= segments_max);
// Answers written and not yet published, to save notifications.
inline constexpr uint32_t held_answers_max = 64;
// Of a guest whose frames take so many slots each they are published at once: its TCP lets only a
// few such frames be unanswered (Linux's TSQ: two, or what a millisecond sends).
inline constexpr uint32_t large_frame_slots = 4;

// Of a guest whose frame could not go straight to another, for what it is or as a copy failed, so
// many more such frames are not tried: each costs a call more then (direct).
inline constexpr uint8_t frames_after_failed_direct = 255;

// One turn, to guests.
inline constexpr uint32_t vif_to_guest_slots_max = 128;  // of all its queues
inline constexpr uint32_t turn_to_guest_slots_max = 256;

inline constexpr uint32_t port_burst_frames = 32;
inline constexpr uint32_t port_bursts_per_turn = 4;  // while there are more
inline constexpr uint32_t ports_max = 32;            // RTE_MAX_ETHPORTS of Debian's DPDK
// Between workers: frames that one ring holds, less one, and what a turn takes from all of them.
inline constexpr uint32_t crossing_ring_frames = 512;
inline constexpr uint32_t turn_crossings_max = 128;
inline constexpr uint32_t workers_max = 32;  // there is a ring of 8 KiB for each ordered pair
// To a port that wakes another thread for each burst, a stream's frames go together: so many, or
// those of so many turns. They wait for the next ones as long as the last ones took; each time at
// most so long, as nobody else has the CPU meanwhile if it is the thread's too.
inline constexpr uint32_t held_frames_max = 64;
inline constexpr uint32_t held_turns_max = 8;
inline constexpr uint32_t held_us_max = 200;
// A turn that moves so many bytes from guests to guests has a stream of theirs. More of it is
// likely soon: meanwhile the worker polls, as the guests would wait while it wakes.
inline constexpr uint32_t relayed_bytes_min = 12'000;
inline constexpr uint32_t relay_poll_us = 5000;
inline constexpr uint32_t vifs_max = 4096;
// Of one vif: as many as Linux's backend offers at most by default. Each takes two ring pages, two
// event channels and sizeof(GuestQueue), 5 KiB.
inline constexpr uint32_t vif_queues_max = 8;
inline constexpr uint32_t queues_max = vifs_max * vif_queues_max;
static_assert(ports_max + queues_max <= UINT16_MAX, "mbuf->port names a port or a queue");
inline constexpr uint32_t frame_batch_max = 256;  // what passes through forward at once
static_assert(frame_batch_max >= turn_slots_max + port_burst_frames * port_bursts_per_turn);
// What a port holds and what a turn sends it.
inline constexpr uint32_t outgoing_frames_max =
    held_frames_max + turn_slots_max + turn_crossings_max;

// Of one vif: as many as Linux keeps (drivers/net/xen-netback XEN_NETBK_MCAST_MAX).
inline constexpr uint32_t multicast_groups_max = 64;

inline constexpr uint32_t backlog_frames_max = 512;  // of a vif, however many queues it has
// What a dead guest may hold of the pool, as if all its frames were short: 1 MiB, as much as the
// 256 pages of its ring. A GSO frame of 64 KiB takes 32 short buffers, or 6 large ones that count
// for 36.
inline constexpr uint32_t backlog_buffers_max = backlog_frames_max;
// A port driver's own segmentation is trusted with segments from here on: NICs of Intel's take
// smaller ones for an attack and stop (i40e_rxtx.h I40E_MIN_TSO_MSS).
inline constexpr uint32_t offloaded_segment_bytes_min = 256;
inline constexpr uint32_t empty_turns_before_parking = 1000;
// A worker with hot queues, or frames for guests, looks at one in so many of the parked ones so
// often: of a thousand at each within a millisecond.
inline constexpr uint32_t parked_look_interval_us = 60;
inline constexpr uint32_t parked_look_rounds = 16;
static_assert(parked_look_interval_us * parked_look_rounds <= 1000);
inline constexpr uint32_t parked_looks_min = 16, parked_looks_max = 64;  // at once
static_assert(parked_looks_max * parked_look_rounds >= 1000);
inline constexpr uint32_t commands_per_turn = 8;
inline constexpr uint32_t command_queue_max = 256;

// A rate's credit is kept for so long at least, for a worker that wakes late; and one whose vif's
// credit is used up waits for so much of it, so that frames are still taken in groups.
inline constexpr uint32_t rate_burst_us_min = 2'000;
inline constexpr uint32_t rate_pause_us = 1'000;
static_assert(rate_pause_us < rate_burst_us_min);

inline constexpr uint32_t stall_ms = 10'000;  // a backlog that could not shrink
inline constexpr uint32_t stall_ms_without_rx_notify = 30;
inline constexpr uint32_t drain_ms = 2'000;
// How often a sleeping worker looks at a port that cannot wake it, and how often once there was no
// work for so long: the looks each 100 us took 44 per cent of an emulated dom0's one CPU.
inline constexpr uint32_t sleep_us_without_interrupt = 100;
inline constexpr uint32_t sleep_us_without_interrupt_quiet = 1'000;
inline constexpr uint32_t quiet_ms = 10;

}  // namespace netback::limits
