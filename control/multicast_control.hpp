// A guest's multicast control (netif.h): whether its list of groups decides what it gets, and the
// file in which a planned restart hands the list on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/multicast_groups.hpp"

namespace netback {

class MulticastControl {
 public:
  // `groups` outlives this. A vif that is not `filtered` (rx-filter) gets all groups whatever its
  // guest asks for. `file` empty: nothing is kept. Its directory exists.
  MulticastControl(MulticastGroups& groups, bool filtered, std::string file)
      : groups_(groups), filtered_(filtered), file_(std::move(file)) {}
  MulticastControl(const MulticastControl&) = delete;
  MulticastControl& operator=(const MulticastControl&) = delete;

  // At connect. With `resume` another process of ours served the guest before, which will not say
  // again what it joined: the list is what that process kept. One that ended without keeping it
  // (a crash) leaves the guest all groups until it connects anew.
  void begin(bool requested, bool resume);
  // The guest's request-multicast-control is this text now, or absent. False: neither 0 nor 1, and
  // taken for 0, with which a guest gets too much and never too little.
  bool request(const std::optional<std::string>& text);
  // The next process of ours will serve the guest. No worker has the list any more.
  void keep() const;
  // The guest is gone: nothing of this is for a later process.
  void forget() const;

  // "off": the guest asked for nothing; "on"; "list lost": see begin(); "unfiltered": its setting.
  std::string_view state() const;

 private:
  void apply() { groups_.apply(requested_ && filtered_ && known_); }
  bool restore();

  MulticastGroups& groups_;
  const bool filtered_;
  const std::string file_;
  bool requested_ = false;
  bool known_ = true;  // the list is what the guest joined
};

}  // namespace netback
