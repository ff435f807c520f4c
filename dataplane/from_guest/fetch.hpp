#pragma once

#include "dataplane/from_guest/batch.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback::from_guest {

// Brings the frames' bytes here: takes exactly the buffers they need, takes the slots, and copies
// everything in one grant-copy call. Fills mbufs, runs[].taken_slots, frames[].first_copy and
// copy_count; gives frames whose copy failed their drop. When buffers run out, the frames they are
// missing for are not taken and stay in their rings (runs[].frame_count shrinks): false.
//
// Of the first frames of a run that may go straight to another guest (direct) it brings the first
// slot alone and says so (frames[].in_part).
bool fetch(FromGuestBatch& batch, FramePool& pool, Grants& grants, WorkerCounters& counters);

// Brings what fetch left of such frames of the run, from frame `first` on.
void fetch_rest(FromGuestBatch& batch, const SlotRun& run, uint32_t first, Grants& grants,
                WorkerCounters& counters);

}  // namespace netback::from_guest
