#pragma once

#include "dataplane/to_guest/batch.hpp"
#include "dataplane/vif_places.hpp"
#include "lib/xen/evtchn.hpp"

namespace netback::to_guest {

// Answers the slots of every delivery, each in the slot it came in, frees the frames, publishes
// once per queue and notifies where the guest asked. Queues without a backlog leave `backlogged`.
void respond(ToGuestBatch& batch, Backlogged& backlogged, EventChannels& events, uint64_t now);

}  // namespace netback::to_guest
