// An Ethernet address as people write it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace netback {

// Zeros where it is not written out.
inline std::array<uint8_t, 6> read_mac(const std::string& text) {
  unsigned bytes[6] = {};
  std::sscanf(text.c_str(), "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
              &bytes[4], &bytes[5]);
  std::array<uint8_t, 6> mac;
  std::copy(std::begin(bytes), std::end(bytes), mac.begin());
  return mac;
}

// Several, with commas between.
inline std::vector<std::array<uint8_t, 6>> read_macs(const std::string& text) {
  std::vector<std::array<uint8_t, 6>> all;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) all.push_back(read_mac(part));
  return all;
}

}  // namespace netback
