// The state table of a vif's backend (Xenbus), as a pure function of what is known: no I/O, no
// clock. It serves Linux, Windows (which closes before it ever connects) and reconnects.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "lib/netif/netif.hpp"

namespace netback {

using netif::XenbusState;

// The value of hotplug-status in our directory.
enum class Hotplug : uint8_t { pending, connected, error };

// What is known of one vif at one moment.
struct VifFacts {
  XenbusState own = XenbusState::unknown;       // our state node as it is in xenstore
  XenbusState frontend = XenbusState::unknown;  // the guest's; unknown: its node is gone
  Hotplug hotplug = Hotplug::pending;
  bool online = true;
  bool connected = false;    // the rings are mapped and attached to a worker
  bool quarantined = false;  // a violation was reported and is not yet worked off: until `offer`
  bool may_offer = true;     // the re-arm delay after a quarantine has passed
  bool refused = false;      // settings, port or rings are wrong: `error` says why
};

// What to do now, in this order. After it, gather facts and ask again, until nothing is to be done.
struct VifStep {
  // Map rings, bind ports, attach. If it fails: refused from now on (until the frontend starts
  // anew), and Closing is written instead of `write`.
  bool connect = false;
  bool disconnect = false;                // detach, unbind, unmap; before the write
  bool offer = false;                     // the feature keys, in the same transaction as the write
  std::optional<XenbusState> write = {};  // our new state
  // The vif is over: drop it, but remember its re-arm time for as long as its directory is there.
  // The toolstack removes that.
  bool forget = false;

  bool nothing() const { return !connect && !disconnect && !offer && !write && !forget; }
  bool operator==(const VifStep&) const = default;
};

// The next single step.
VifStep next(const VifFacts& facts);

// "waiting", "connected", "stalled", "quarantined", "closing", "closed" or "refused" for people.
std::string_view shown_state(const VifFacts& facts, bool stalled);

}  // namespace netback
