#pragma once

#include "dataplane/to_guest/batch.hpp"
#include "dataplane/vif_places.hpp"

namespace netback::to_guest {

// Matches backlogs with the slots that guests have posted: takes the slots, copies everything in
// one grant-copy call, fills deliveries. A frame that wants more slots than are posted waits, and
// so do those behind it. The queues of a vif have its share of a turn together.
void copy(Backlogged& backlogged, ToGuestBatch& batch, Grants& grants, WorkerCounters& counters);

// The frame's delivery by this queue, in no more than `slots_max` slots if that is enough. Which
// slots and which copies it has is the caller's to say.
Delivery delivery_of(GuestQueue& queue, rte_mbuf* frame, uint32_t slots_max);

// Whether the guest fills in the frame's checksum. Behind a VLAN tag none does: Linux's netfront
// looks for no headers there and drops what is not complete (checksum_setup).
bool takes_blank(const VifSettings& settings, const rte_mbuf* frame);

// Counts the calls for those deliveries that the hypervisor had a part in.
void count_copies(const ToGuestBatch& batch, uint32_t calls, WorkerCounters& counters);

// Drops the backlogs that could not shrink for too long and marks their vifs stalled. `now`: TSC.
void drop_stalled(const Backlogged& backlogged, uint64_t now);

}  // namespace netback::to_guest
