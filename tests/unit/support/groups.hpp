// Multicast addresses.
#pragma once

#include <rte_ether.h>

#include <cstdint>

namespace netback::test {

// One of IPv4's, by number.
inline rte_ether_addr numbered_group(uint32_t number) {
  return {{0x01, 0, 0x5e, 0, static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number)}};
}

}  // namespace netback::test
