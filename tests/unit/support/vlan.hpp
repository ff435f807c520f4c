// Frames with a VLAN tag.
#pragma once

#include "tests/unit/support/test_guest.hpp"

namespace netback::test {

// `bytes` with a tag behind the addresses: its priority and VLAN, and its kind.
inline Bytes tagged(Bytes bytes, int tci, int type = 0x8100) {
  const uint8_t tag[] = {static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type),
                         static_cast<uint8_t>(tci >> 8), static_cast<uint8_t>(tci)};
  bytes.insert(bytes.begin() + 12, std::begin(tag), std::end(tag));
  return bytes;
}

}  // namespace netback::test
