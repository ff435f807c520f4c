#include "control/ring_recovery.hpp"

#include <cstring>

namespace netback {
namespace {

bool more_extras(const netif::FromGuestRequest& slot) {
  netif::ExtraInfo extra;
  std::memcpy(&extra, &slot, sizeof extra);
  return (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE) != 0;
}

}  // namespace

std::vector<netif::FromGuestResponse> recovery_answers(
    std::span<const netif::FromGuestRequest> requests) {
  enum class Slot { first, extra, further } expected = Slot::first;
  bool more_data = false;  // of the frame that the slot belongs to
  std::vector<netif::FromGuestResponse> answers;
  answers.reserve(requests.size());
  for (const auto& request : requests) {
    if (expected == Slot::extra) {
      answers.push_back({.id = 0, .status = NETIF_RSP_NULL});
      if (more_extras(request)) continue;
      expected = more_data ? Slot::further : Slot::first;
      continue;
    }
    answers.push_back({.id = request.id, .status = NETIF_RSP_ERROR});
    more_data = (request.flags & NETTXF_more_data) != 0;
    // Extra info follows the first slot only (netif.h, "Guest transmit").
    const bool extra = expected == Slot::first && (request.flags & NETTXF_extra_info) != 0;
    expected = extra ? Slot::extra : more_data ? Slot::further : Slot::first;
  }
  return answers;
}

}  // namespace netback
