// What a guest lent us while it is connected: two ring pages, its event channels, and the queue
// made of them. Everything goes back when this goes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "control/handshake.hpp"
#include "dataplane/guest_queue.hpp"
#include "lib/base/result.hpp"
#include "lib/xen/evtchn.hpp"
#include "lib/xen/grants.hpp"

namespace netback {

class Connection {
 public:
  struct Vif {
    uint16_t index;  // of the vif in this process
    uint16_t domain;
    VifSettings settings;  // all but what the agreement decides
  };

  // Maps both rings with control's `grants`, binds the channels on the worker's `events` so that
  // they wake the worker. With `resume` another process of ours served these rings before: requests
  // it left on the from_guest ring are answered, and the guest is notified on both channels. Fails
  // with all unwound. Both handles outlive the connection.
  static Result<std::unique_ptr<Connection>> open(Grants& grants, EventChannels& events,
                                                  const Vif& vif, const Agreement& agreement,
                                                  bool resume);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The worker's from AttachQueue to the ack of DetachQueue; the connection lives that long.
  GuestQueue& queue() { return *queue_; }
  const GuestQueue& queue() const { return *queue_; }
  const VifSettings& settings() const { return settings_; }

  // The shared indices as they are now, for people; nothing when the guest wrote nonsense.
  std::optional<FromGuestRing::Indices> from_guest_indices() const;
  std::optional<ToGuestRing::Indices> to_guest_indices() const;

 private:
  Connection() = default;
  Status map(Grants& grants, const Vif& vif, const Agreement& agreement);
  Status bind(EventChannels& events, const Vif& vif, const Agreement& agreement);
  void answer_left_over(EventChannels& events);

  // In this order: the queue goes first, then the ports, then the pages.
  MappedPage from_guest_page_;
  MappedPage to_guest_page_;
  BoundPort from_guest_port_;
  BoundPort to_guest_port_;  // none when one channel serves both directions
  VifSettings settings_;
  std::unique_ptr<GuestQueue> queue_;
};

}  // namespace netback
