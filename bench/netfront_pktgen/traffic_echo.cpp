// Frames sent back to where they came from.
#include <algorithm>

#include "bench/netfront_pktgen/traffic.hpp"

namespace netback {

void Traffic::echo() {
  while (!over(received_))
    if (!echo_some()) pause();
  wait_for_answers();
}

bool Traffic::echo_some() {
  FrontQueue::Received received;
  bool any = false;
  while (queue_.receive(received)) {
    any = true;
    if (gather(received)) reflect();
    queue_.post(received.buffer);
  }
  answered_ += queue_.reap();
  if (any) queue_.push_to_guest();
  return any;
}

// Copied: a buffer of one ring cannot go into the other.
void Traffic::reflect() {
  if (!options_.unchanged)
    std::swap_ranges(gathered_.begin(), gathered_.begin() + 6, gathered_.begin() + 6);
  while (!put_whole(gathered_, NETTXF_data_validated, gathered_segmentation_) && !over(received_)) {
    answered_ += queue_.reap();
    pause();
  }
  ++sent_;
  queue_.push_from_guest();
}

}  // namespace netback
