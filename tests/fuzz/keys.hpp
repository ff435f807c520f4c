// The inputs of targets that read xenstore: lines "KEY=VALUE".
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>

namespace netback::fuzz {

inline std::map<std::string, std::string> keys_of(std::string_view text) {
  std::map<std::string, std::string> keys;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t equals = line.find('=');
    if (equals != line.npos) keys.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  return keys;
}

}  // namespace netback::fuzz
