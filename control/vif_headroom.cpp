// How much a guest wants left free in its pages, which it may change while it is connected.
#include <fmt/format.h>

#include "control/vif_session.hpp"
#include "lib/base/log.hpp"

namespace netback {

// What the guest changes by Reconfiguring. One that is not served leaves the headroom as it is.
// Outline: the queues have it; a turn that began before is over once the worker has acked; then the
// answer is written, and the guest relies on it.
void VifSession::reconfigure() {
  const auto headroom = agree_on_headroom(read_frontend());
  if (headroom) {
    set_headroom(Result(headroom).value());
    log::info("vif {}: xdp-headroom {}", id_.text(), Result(headroom).value());
  } else {
    log::warn("vif {}: {}", id_.text(), headroom.error().message);
    write_error(headroom.error().message);
  }
  busy_ = true;
  GuestQueue& queue = connection_->queue();
  worker_->link.post(UseSettings{&queue, &connection_->settings()}, [this] {
    busy_ = false;
    reconfigured_ = true;
    if (drained_) return disconnect(true);
    world_.wake(id_);
  });
}

void VifSession::set_headroom(uint16_t headroom) {
  for (GuestQueue* queue : connection_->queues()) queue->xdp_headroom = headroom;
}

}  // namespace netback
