// memcpy of frames.
#pragma once

#include <cstdint>
#include <cstring>

namespace netback {

// For the shortest frames without a call: in two halves that may overlap. Who owns the bytes may
// change them between the two: what is checked afterwards is the copy.
inline void copy_bytes(uint8_t* to, const uint8_t* from, uint32_t bytes) {
  constexpr uint32_t half = 32;
  if (bytes < half || bytes > 2 * half) {
    std::memcpy(to, from, bytes);
    return;
  }
  std::memcpy(to, from, half);
  std::memcpy(to + bytes - half, from + bytes - half, half);
}

}  // namespace netback
