// Addresses, and states of a NIC's filters, for tests of these.
#pragma once

#include <string>
#include <vector>

#include "control/filter_programmer.hpp"

namespace netback::test {

using Texts = std::vector<std::string>;
using Groups = std::vector<rte_ether_addr>;

inline constexpr rte_ether_addr own_mac{{2, 0, 0, 0, 0, 0xfe}};  // of the NIC
inline constexpr rte_ether_addr mac_a{{0, 0x16, 0x3e, 0, 0, 1}}, mac_b{{0, 0x16, 0x3e, 0, 0, 2}},
    mac_c{{0, 0x16, 0x3e, 0, 0, 3}};
inline constexpr rte_ether_addr group_a{{1, 0, 0x5e, 0, 0, 1}}, group_b{{0x33, 0x33, 0, 0, 0, 2}},
    group_c{{1, 0, 0x5e, 0, 0, 3}};

inline Texts texts_of(const Addresses& addresses) {
  Texts texts;
  for (const auto& address : addresses) texts.push_back(address_text(address));
  return texts;
}

inline bool same_state(const FilterState& one, const FilterState& other) {
  return address_text(one.primary) == address_text(other.primary) &&
         texts_of(one.unicast) == texts_of(other.unicast) &&
         texts_of(one.multicast) == texts_of(other.multicast) &&
         one.allmulticast == other.allmulticast && one.promiscuous == other.promiscuous;
}

}  // namespace netback::test
