#pragma once

#include "dataplane/from_guest/batch.hpp"
#include "dataplane/queue_set.hpp"

namespace netback::from_guest {

// Copies the requests that wait on this turn's queues into the batch, once and for good: fills
// runs and slots. Every vif gets a fair share of the batch, which its queues have together. A
// producer index that cannot be is reported as a run without slots and with a violation.
// A queue that streams is left alone until it has a whole group (limits::group_slots), at most for
// `gather_cycles` (TSC) after its first request was seen: batch.gathering says so. So is one whose
// vif's rate is used up: batch.held_until.
void collect(QueueSet& queues, FromGuestBatch& batch, uint64_t now, uint64_t gather_cycles);

}  // namespace netback::from_guest
