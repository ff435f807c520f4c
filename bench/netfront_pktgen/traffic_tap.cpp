// Frames of a Linux network stack, both ways.
#include "bench/netfront_pktgen/tap.hpp"
#include "bench/netfront_pktgen/traffic.hpp"

namespace netback {

void Traffic::tap() {
  while (!over(sent_)) {
    bool moved = to_tap();
    answered_ += queue_.reap();
    moved |= from_tap();
    if (!moved) frontend_.wait(pause_max, frame_waits_ ? -1 : tap_->fd());
  }
}

bool Traffic::to_tap() {
  FrontQueue::Received received;
  bool any = false;
  while (queue_.receive(received)) {
    any = true;
    if (gather(received) &&
        !tap_->write(gathered_, gathered_flags_ & NETRXF_csum_blank, gathered_segmentation_))
      ++tap_refused_;
    queue_.post(received.buffer);
  }
  if (any) queue_.push_to_guest();
  return any;
}

// A frame that finds too few buffers waits, and the others in the stack.
bool Traffic::from_tap() {
  bool any = false;
  while (frame_waits_ || (frame_waits_ = tap_->read(tap_frame_))) {
    const uint16_t flags =
        tap_frame_.checksum_blank ? NETTXF_csum_blank | NETTXF_data_validated : 0;
    if (!put_whole(tap_frame_.bytes, flags, tap_frame_.segmentation)) break;
    frame_waits_ = false;
    any = true;
    ++sent_;
  }
  if (any) queue_.push_from_guest();
  return any;
}

}  // namespace netback
