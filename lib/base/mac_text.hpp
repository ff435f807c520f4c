#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <span>
#include <string>

namespace netback {

// As xenstore has it: "00:16:3e:00:00:01".
inline std::string mac_text(std::span<const uint8_t, 6> bytes) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2],
                     bytes[3], bytes[4], bytes[5]);
}

}  // namespace netback
