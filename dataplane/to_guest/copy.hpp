#pragma once

#include <span>

#include "dataplane/to_guest/batch.hpp"

namespace netback::to_guest {

// Matches backlogs with the slots that guests have posted: takes the slots, copies everything in
// one grant-copy call, fills deliveries. A frame that wants more slots than are posted waits, and
// so do those behind it.
void copy(std::span<GuestQueue* const> backlogged, ToGuestBatch& batch, Grants& grants,
          WorkerCounters& counters);

// Drops the backlogs that could not shrink for too long and marks their vifs stalled. `now`: TSC.
void drop_stalled(std::span<GuestQueue* const> backlogged, uint64_t now);

}  // namespace netback::to_guest
