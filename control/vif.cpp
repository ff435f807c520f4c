#include "control/vif.hpp"

namespace netback {

namespace {

using enum XenbusState;

// A first InitWait or a new one. A hotplug script that has failed is not run again by libxl for
// this vif, so an InitWait would only lead back to Closing.
bool may_offer(const VifFacts& facts) {
  return facts.online && facts.may_offer && !facts.refused && facts.hotplug != Hotplug::error;
}

VifStep offer() {
  return {.offer = true, .write = init_wait};
}

VifStep go_to(XenbusState state) {
  return {.write = state};
}

// Out of service, or of the wait for it.
VifStep leave(const VifFacts& facts) {
  return {.disconnect = facts.connected, .write = closing};
}

// The frontend has rings or has not yet said that it let go of them.
bool is_active(XenbusState frontend) {
  return frontend == connected || frontend == closing || frontend == reconfiguring;
}

// The toolstack has made our directory and waits up to 10 s for InitWait (protocol.md 2.7).
VifStep from_initialising(const VifFacts& facts) {
  if (facts.frontend == closing) return go_to(closing);
  if (facts.frontend == unknown || facts.frontend == closed || !facts.online) return go_to(closed);
  if (may_offer(facts)) return offer();
  return {};
}

// Windows closes from here before it ever connects and burns two cores until it is answered
// (protocol.md 2.6), so neither hotplug nor a refusal holds up a close.
VifStep from_init_wait(const VifFacts& facts) {
  // 2.8 point 5: act on "error". libxl gives the vif up then; a guest that is quicker than libxl
  // must not wait for a Connected that will not come.
  if (!facts.online || facts.hotplug == Hotplug::error) return leave(facts);
  switch (facts.frontend) {
    case unknown:
    case closing:
    case closed:
      return leave(facts);
    case connected:
      break;
    default:
      return {.disconnect = facts.connected};
  }
  // The frontend waits for an answer: no is one.
  if (facts.refused) return leave(facts);
  if (facts.connected && facts.quarantined) return leave(facts);
  if (facts.hotplug == Hotplug::pending) return {};
  // With rings already: the write after the connect did not get through.
  return {.connect = !facts.connected, .write = connected};
}

// Connected or Reconfigured.
VifStep in_service(const VifFacts& facts) {
  if (facts.quarantined || facts.hotplug == Hotplug::error) return leave(facts);
  switch (facts.frontend) {
    case unknown:
    case initialising:  // its kernel was replaced under the rings (kexec, crash): H43
    case closing:
    case closed:
      return leave(facts);
    case connected:
    case reconfiguring:
      break;
    default:
      return {};
  }
  // We have just started and the guest has not noticed (design.md 8). With bad settings stay as we
  // are: Linux's netfront does not come back from Closing; a corrected file and a restart do.
  if (!facts.connected) return {.connect = !facts.refused};
  // 8 only after 7; then back to 4, so that the next 7 has an answer to wait for.
  const XenbusState wanted = facts.frontend == reconfiguring ? reconfigured : connected;
  if (facts.own != wanted) return go_to(wanted);
  return {};
}

// We wrote it, or the toolstack did (with online=0) to unplug the vif. A frontend that is connected
// is given time to close; one that never started does not hold up libxl, which waits 10 s for our
// Closed (protocol.md 2.5, 2.7).
VifStep from_closing(const VifFacts& facts) {
  switch (facts.frontend) {
    case unknown:
    case initialising:
    case closed:
      return go_to(closed);
    default:
      if (!facts.online && !is_active(facts.frontend)) return go_to(closed);
      return {};
  }
}

VifStep from_closed(const VifFacts& facts) {
  // Closed is what the toolstack waits for: it removes the directory.
  if (!facts.online || facts.frontend == unknown) return {.forget = true};
  if (facts.frontend == closing) return go_to(closing);
  // A reconnect; also of a frontend that did not wait for our InitWait (2.1, H43).
  const bool wants_us = facts.frontend == initialising || facts.frontend == connected;
  if (wants_us && may_offer(facts)) return offer();
  return {};
}

}  // namespace

VifStep next(const VifFacts& facts) {
  switch (facts.own) {
    case init_wait:
      return from_init_wait(facts);
    case connected:
    case reconfigured:
      return in_service(facts);
    default:
      break;
  }
  // Whoever wrote our state (libxl writes Closing to unplug us): no rings outside of service.
  if (facts.connected) return {.disconnect = true};
  switch (facts.own) {
    case unknown:
      // The directory is gone: a write would bring it back (Linux: __xenbus_switch_state).
      return {.forget = true};
    case initialising:
      return from_initialising(facts);
    case closing:
      return from_closing(facts);
    case closed:
      return from_closed(facts);
    default:
      // 3 or 7: nothing of ours writes them, and Windows asserts on them (protocol.md 2.6).
      return go_to(closing);
  }
}

std::string_view shown_state(const VifFacts& facts, bool stalled) {
  if (facts.refused) return "refused";
  if (facts.quarantined) return "quarantined";
  if (facts.own == closing) return "closing";
  if (facts.own == closed || facts.own == unknown) return "closed";
  if (!facts.connected) return "waiting";
  return stalled ? "stalled" : "connected";
}

}  // namespace netback
