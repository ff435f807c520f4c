#pragma once

#include <span>

#include "dataplane/from_guest/batch.hpp"

namespace netback::from_guest {

// Turns the slots of each run into frames: fills runs[].first_frame, frame_count and violation, and
// frames[]. Pure: looks at nothing but the copied slots and the vif's settings.
// A frame that is not whole in what was copied is left for the next turn; one that goes on beyond
// what the guest published is a violation. Frames before a violation stand.
// GSO frames that would become more than limits::run_segments_max frames of one queue wait for the
// next turn, and so does what is behind them.
void decode(FromGuestBatch& batch);

// How the next frame of `slots` ended.
struct Decoded {
  enum class Outcome : uint8_t { frame, partial, violation } outcome;
  Violation violation;  // when it is one
};
// One frame from the start of `slots` (not empty), `ends_at_producer`: the guest published no more.
// The rules are netif.h's, as lenient and as strict as Linux applies them (protocol 3.1).
Decoded decode_frame(std::span<const FromGuestSlot> slots, bool ends_at_producer,
                     const VifSettings& settings, GuestFrame& frame);

}  // namespace netback::from_guest
