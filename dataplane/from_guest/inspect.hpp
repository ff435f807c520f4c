#pragma once

#include "dataplane/from_guest/batch.hpp"

namespace netback::from_guest {

// Looks at the bytes that came: where each frame is from, what the guest says of its checksum, its
// source address, its length. Good frames move to `frames`; the others get their drop and are
// freed.
void inspect(FromGuestBatch& batch, FrameBatch& frames);

}  // namespace netback::from_guest
