// What we offer a guest, and what comes of its answers. Pure: keys in, keys out.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.hpp"
#include "lib/netif/netif.hpp"

namespace netback {

// Our directory's feature keys, each exactly "0" or "1" (Windows parses them base 2).
const std::vector<std::pair<std::string, std::string>>& offered_features();

// One key of the guest's directory, or nothing when it is absent.
using ReadKey = std::function<std::optional<std::string>(std::string_view key)>;

// Where the rings of one queue are.
struct QueueRings {
  uint32_t from_guest_reference = 0;  // tx-ring-ref
  uint32_t to_guest_reference = 0;    // rx-ring-ref
  uint32_t from_guest_channel = 0;    // event-channel-tx, or event-channel for both
  uint32_t to_guest_channel = 0;      // equal to the other one without split event channels
};

// What the guest asked for and where its rings are.
struct Agreement {
  std::vector<QueueRings> queues;    // multi-queue-num-queues of them, at least one
  uint32_t control_reference = 0;    // ctrl-ring-ref; 0: no control ring
  uint32_t control_channel = 0;      // event-channel-ctrl
  bool takes_chains = false;         // feature-sg
  bool takes_blank_ipv4 = true;      // not feature-no-csum-offload
  bool takes_blank_ipv6 = false;     // feature-ipv6-csum-offload
  bool takes_gso_tcpv4 = false;      // feature-gso-tcpv4, with feature-sg and blank checksums
  bool takes_gso_tcpv6 = false;      // feature-gso-tcpv6, the same
  bool notifies_of_buffers = false;  // feature-rx-notify
  bool multicast_control = false;    // request-multicast-control, as it is now
  uint16_t xdp_headroom = 0;         // xdp-headroom
};

// `queues_max`: what the guest was offered (multi-queue-max-queues). One queue's keys are the
// guest's own, those of several are in queue-0/ and so on. Fails with one line that names the key
// and the value: request-rx-copy absent or 0 (H38), a ring reference or event channel absent, not a
// number, reserved, or the same twice over all queues (H25); a control ring without a channel; a
// queue count that is not from 1 to `queues_max` (H24), before anything is made of it; a feature
// key that is not 0 or 1; an xdp-headroom that is not served.
Result<Agreement> agree(const ReadKey& guest, uint32_t queues_max);

// xdp-headroom alone, which a guest may change while it is connected (Reconfiguring).
Result<uint16_t> agree_on_headroom(const ReadKey& guest);

}  // namespace netback
