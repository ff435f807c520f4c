#pragma once

#include "dataplane/from_guest/batch.hpp"
#include "lib/dpdk/frame_pool.hpp"

namespace netback::from_guest {

// Brings the frames' bytes here: takes exactly the buffers they need, takes the slots, and copies
// everything in one grant-copy call. Fills mbufs, runs[].taken_slots, frames[].first_copy and
// copy_count; gives frames whose copy failed their drop. When buffers run out, the frames they are
// missing for are not taken and stay in their rings (runs[].frame_count shrinks): false.
bool fetch(FromGuestBatch& batch, FramePool& pool, Grants& grants, WorkerCounters& counters);

}  // namespace netback::from_guest
