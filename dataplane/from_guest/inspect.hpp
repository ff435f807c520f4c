#pragma once

#include "dataplane/from_guest/batch.hpp"

namespace netback::from_guest {

// Sets what the mbuf says of the frame, whose headers alone it reads; the verdict:
// from_guest_frames or a drop. Once more does no harm.
QueueCounter inspect_frame(rte_mbuf* mbuf, const GuestFrame& frame, const VifSettings& settings);

// Looks at the bytes that came: where each frame is from, what the guest says of its checksum, its
// source address, its length. Good frames move to `frames`; the others get their drop and are
// freed. Those that went to another guest directly have no mbuf and are counted.
void inspect(FromGuestBatch& batch, FrameBatch& frames);

}  // namespace netback::from_guest
