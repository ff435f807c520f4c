// A from_guest ring that another backend process left: what it took and did not answer, and what
// the guest has queued since. Pure; the answers touch no grant.
#pragma once

#include <span>
#include <vector>

#include "lib/netif/netif.hpp"

namespace netback {

// One answer per request: ERROR for requests, NULL for extra-info slots. The first request starts a
// frame, because whole frames are answered before they are published (design 8). What the guest
// says about chains only decides between ERROR and NULL: any input ends after requests.size().
std::vector<netif::FromGuestResponse> recovery_answers(
    std::span<const netif::FromGuestRequest> requests);

}  // namespace netback
