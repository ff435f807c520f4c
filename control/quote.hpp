// Text of others in our messages: one line, short, nothing that a terminal would act on.
#pragma once

#include <string>
#include <string_view>

namespace netback {

inline constexpr size_t quoted_characters_max = 40;

// What is not printable ASCII becomes '?'.
inline std::string on_one_line(std::string_view text) {
  std::string result;
  for (const char c : text) result += c >= ' ' && c <= '~' ? c : '?';
  return result;
}

// "text" between two `mark`s; what is not printable ASCII becomes '?', what is too long ends in
// "...".
inline std::string in_quotes(std::string_view text, char mark = '"') {
  std::string result(1, mark);
  result += on_one_line(text.substr(0, quoted_characters_max));
  if (text.size() > quoted_characters_max) result += "...";
  return result + mark;
}

}  // namespace netback
