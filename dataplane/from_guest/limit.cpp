#include "dataplane/from_guest/limit.hpp"

namespace netback::from_guest {
namespace {

void leave_from(FromGuestBatch& batch, SlotRun& run, uint32_t number) {
  for (uint32_t f = number; f < run.frame_count; ++f)
    batch.buffers_wanted -= buffers_wanted(batch.frames[run.first_frame + f]);
  run.frame_count = static_cast<uint16_t>(number);
  run.violation.reset();  // it lies behind frames that wait: seen again when they are taken
}

}  // namespace

void limit(FromGuestBatch& batch) {
  for (uint32_t r = 0; r < batch.run_count; ++r) {
    SlotRun& run = batch.runs[r];
    const RateBudget* rate = run.queue->from_guest_rate.load(std::memory_order_relaxed);
    if (rate == nullptr) [[likely]]
      continue;
    double credit = rate->credit(batch.now);
    for (uint32_t f = 0; f < run.frame_count; ++f) {
      if (credit <= 0) {
        leave_from(batch, run, f);
        break;
      }
      credit -= batch.frames[run.first_frame + f].bytes;
    }
  }
}

}  // namespace netback::from_guest
