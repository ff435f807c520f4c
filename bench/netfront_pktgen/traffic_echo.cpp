// Frames sent back to where they came from.
#include <algorithm>

#include "bench/netfront_pktgen/traffic.hpp"

namespace netback {

void Traffic::echo() {
  Frontend::Received received;
  while (!over(received_)) {
    bool any = false;
    while (frontend_.receive(received)) {
      any = true;
      if (gather(received)) reflect();
      frontend_.post(received.buffer);
    }
    answered_ += frontend_.reap();
    if (any)
      frontend_.push_to_guest();
    else
      pause();
  }
  wait_for_answers();
}

// Copied: a buffer of one ring cannot go into the other.
void Traffic::reflect() {
  if (!options_.unchanged)
    std::swap_ranges(gathered_.begin(), gathered_.begin() + 6, gathered_.begin() + 6);
  while (!put_whole(gathered_, NETTXF_data_validated, gathered_segmentation_) && !over(received_)) {
    answered_ += frontend_.reap();
    pause();
  }
  ++sent_;
  frontend_.push_from_guest();
}

}  // namespace netback
