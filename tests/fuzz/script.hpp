// The inputs of targets that read a script: lines of a letter and numbers, so that seeds can be
// read and every input means something. '#' begins a comment.
#pragma once

#include <cstdint>
#include <string_view>

namespace netback::fuzz {

class Script {
 public:
  Script(const uint8_t* data, size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

  // The next letter, if there is one more.
  bool next(char& letter) {
    while (!left_.empty()) {
      const char c = take();
      if (c == '#') skip_line();
      if (c >= 'a' && c <= 'z') {
        letter = c;
        return true;
      }
    }
    return false;
  }
  // The number that follows on this line, modulo 2^32; `otherwise` when there is none.
  uint32_t number(uint32_t otherwise = 0) {
    while (!left_.empty() && left_.front() == ' ') take();
    if (left_.empty() || !is_digit(left_.front())) return otherwise;
    uint32_t value = 0;
    while (!left_.empty() && is_digit(left_.front())) value = value * 10 + uint32_t(take() - '0');
    return value;
  }
  // The next `bytes.size()` bytes as they are; those that are missing are 0.
  template <size_t count>
  void bytes(uint8_t (&bytes)[count]) {
    for (uint8_t& byte : bytes) byte = left_.empty() ? uint8_t{0} : static_cast<uint8_t>(take());
  }

 private:
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  char take() {
    const char c = left_.front();
    left_.remove_prefix(1);
    return c;
  }
  void skip_line() {
    while (!left_.empty() && left_.front() != '\n') take();
  }

  std::string_view left_;
};

}  // namespace netback::fuzz
