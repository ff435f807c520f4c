#pragma once

#include "dataplane/to_guest/batch.hpp"
#include "dataplane/vif_places.hpp"

namespace netback::to_guest {

// Matches backlogs with the slots that guests have posted: takes the slots, copies everything in
// one grant-copy call, fills deliveries. A frame that wants more slots than are posted waits, and
// so do those behind it. The queues of a vif have its share of a turn together.
void copy(Backlogged& backlogged, ToGuestBatch& batch, Grants& grants, WorkerCounters& counters);

// Drops the backlogs that could not shrink for too long and marks their vifs stalled. `now`: TSC.
void drop_stalled(const Backlogged& backlogged, uint64_t now);

}  // namespace netback::to_guest
