// What netif.h says of a row of from_guest slots, told by the simplest means: which of them are
// extra info. The product's answers are compared with it; it shares no code with decode.
#pragma once

#include <cstring>
#include <vector>

#include "lib/netif/netif.hpp"

namespace netback::fuzz {

class SlotModel {
 public:
  struct Slot {
    uint16_t id;  // as a request's
    bool extra;   // answered NULL, with the id 0
    bool begins;  // the first slot of a frame
  };

  // The next slot that the guest published.
  void add(const netif::FromGuestRequest& slot) {
    netif::ExtraInfo extra;
    std::memcpy(&extra, &slot, sizeof extra);
    slots_.push_back({slot.id, next_ == Kind::extra, next_ == Kind::first});
    if (next_ == Kind::extra) {
      only_answered_ |= extra.type == XEN_NETIF_EXTRA_TYPE_MCAST_ADD ||
                        extra.type == XEN_NETIF_EXTRA_TYPE_MCAST_DEL;
      if (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE) return;
      next_ = goes_on_ && !only_answered_ ? Kind::further : Kind::first;
      return;
    }
    if (next_ == Kind::first) {
      goes_on_ = slot.flags & NETTXF_more_data;
      only_answered_ = false;
      next_ = slot.flags & NETTXF_extra_info ? Kind::extra : goes_on_ ? Kind::further : Kind::first;
      return;
    }
    if ((slot.flags & NETTXF_more_data) == 0) next_ = Kind::first;
  }

  const Slot& at(size_t position) const { return slots_.at(position); }
  size_t count() const { return slots_.size(); }

 private:
  enum class Kind { first, extra, further };
  Kind next_ = Kind::first;
  bool goes_on_ = false;        // the first slot announced further ones
  bool only_answered_ = false;  // a multicast request: no frame follows
  std::vector<Slot> slots_;
};

}  // namespace netback::fuzz
