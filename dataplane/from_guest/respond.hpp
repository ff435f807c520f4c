#pragma once

#include <vector>

#include "dataplane/from_guest/batch.hpp"
#include "lib/xen/evtchn.hpp"

namespace netback::from_guest {

// Answers every taken slot, in order, and counts the drops; a request to amend the vif's multicast
// groups is heeded as it is answered. Answers are published at once, or held
// back while more requests of the queue keep coming: at most limits::held_answers_max slots, and
// never past a turn that neither takes requests of the queue nor lets them gather (collect).
// `holding` lists the queues with held answers.
void respond(FromGuestBatch& batch, std::vector<GuestQueue*>& holding, EventChannels& events);

// Publishes what is held and notifies the guest if it asked.
void publish(GuestQueue& queue, EventChannels& events);

}  // namespace netback::from_guest
