// A stream's large frames between two guests of one worker need not lie in our buffers: what is
// behind their headers is copied once, from the sender's pages to the receiver's.
#pragma once

#include "dataplane/forward.hpp"
#include "dataplane/from_guest/batch.hpp"
#include "dataplane/to_guest/batch.hpp"
#include "lib/xen/evtchn.hpp"

namespace netback {

// Whether such a frame of this sender's may go so, to a guest of the same worker's that alone sees
// it: as it is, before all that comes later.
bool may_go_directly(const GuestQueue& sender, const GuestQueue& receiver, const rte_mbuf* frame);

// What a turn delivers directly goes through these.
struct DirectWay {
  const ForwardTable& table;
  ToGuestBatch& to_guest;  // what is in it goes
  Backlogged& backlogged;
  Grants& grants;
  EventChannels& events;
  WorkerCounters& counters;
  uint64_t now;  // TSC
};

// Delivers those of a run's first frames that fetch brought in part and whose headers say that they
// are for one guest here that can have them as they are, now: it has no backlog and has posted
// enough buffers. They are good frames afterwards, with no mbuf. Whatever else was brought in part
// is brought whole, for the way of all others: a frame that could not be copied, too, whoever's
// fault that was, as the receiver's slots are not taken before.
Forwarded deliver_directly(FromGuestBatch& batch, const DirectWay& way);

}  // namespace netback
