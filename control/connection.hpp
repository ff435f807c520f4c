// What a guest lent us while it is connected: for each queue two ring pages and its event channels,
// and the queues made of them. Everything goes back when this goes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

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
    uint16_t worker = 0;   // whose its queues shall be
    VifSettings settings;  // all but what the agreement decides
  };

  // Maps all rings with control's `grants`, binds the channels on the worker's `events` so that
  // they wake the worker. With `resume` another process of ours served these rings before: requests
  // it left on the from_guest rings are answered, and the guest is notified on all channels. Fails
  // with all unwound, and says which queue. Both handles outlive the connection.
  static Result<std::unique_ptr<Connection>> open(Grants& grants, EventChannels& events,
                                                  const Vif& vif, const Agreement& agreement,
                                                  bool resume);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // By number, at least one. The worker's from AttachQueue to the ack of DetachQueue; the
  // connection lives that long.
  std::span<GuestQueue* const> queues() const { return queues_; }
  GuestQueue& queue(uint32_t number = 0) const { return *queues_[number]; }
  const VifSettings& settings() const { return settings_; }
  // The groups that the guest has joined: its workers amend them.
  MulticastGroups& multicast() { return multicast_; }
  const MulticastGroups& multicast() const { return multicast_; }

  // The shared indices as they are now, for people; nothing when the guest wrote nonsense.
  std::optional<FromGuestRing::Indices> from_guest_indices(uint32_t queue = 0) const;
  std::optional<ToGuestRing::Indices> to_guest_indices(uint32_t queue = 0) const;

 private:
  // What one queue is made of. In this order: the queue goes first, then the ports, then the pages.
  struct Lent {
    MappedPage from_guest_page;
    MappedPage to_guest_page;
    BoundPort from_guest_port;
    BoundPort to_guest_port;  // none when one channel serves both directions
    std::unique_ptr<GuestQueue> queue;
  };

  Connection() = default;
  Status open_queue(Grants& grants, EventChannels& events, const Vif& vif, const QueueRings& rings);
  static Status map(Grants& grants, const Vif& vif, const QueueRings& rings, Lent& lent);
  static Status bind(EventChannels& events, const Vif& vif, const QueueRings& rings, Lent& lent);
  static void answer_left_over(GuestQueue& queue, EventChannels& events);

  VifSettings settings_;
  MulticastGroups multicast_;
  std::vector<Lent> lent_;  // by queue number
  std::vector<GuestQueue*> queues_;
};

}  // namespace netback
