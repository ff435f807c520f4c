#pragma once

#include "dataplane/from_guest/batch.hpp"

namespace netback::from_guest {

// Leaves in the rings the frames that a vif's rate has no credit for, and what is behind them:
// shortens runs. What is taken is paid for then, by fetch.
void limit(FromGuestBatch& batch);

}  // namespace netback::from_guest
