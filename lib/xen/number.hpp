// Numbers in xenstore and in rate strings. Others wrote them: nothing but decimal digits that fit.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace netback {

// The whole of `text` as a decimal `Integer`; nothing when it is empty, has a sign that does not
// belong to the type, spaces or other characters, or does not fit (H24).
template <class Integer>
std::optional<Integer> parse_number(std::string_view text) {
  Integer value{};
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stopped != end) return std::nullopt;
  return value;
}

}  // namespace netback
