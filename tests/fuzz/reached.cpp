#include "tests/fuzz/reached.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace netback::fuzz {
namespace {

constexpr size_t message_bytes_max = 1000;
constexpr size_t kinds_max = 2000;

class Tally {
 public:
  std::map<std::string, bool, std::less<>> names;        // whether it was reached
  std::map<std::string, std::string, std::less<>> said;  // one of each kind
  ~Tally() {
    for (const auto& [name, reached] : names)
      std::printf("%s: %s\n", reached ? "reached" : "missed", name.c_str());
    for (const auto& [kind, message] : said) std::printf("said: %s\n", message.c_str());
    std::fflush(stdout);
  }
};

Tally& tally() {
  static Tally all;
  return all;
}

// The message without what is quoted and without numbers: what others wrote does not make a kind.
std::string kind_of(std::string_view message) {
  std::string kind;
  char quote = 0;
  for (const char c : message) {
    if (quote != 0) {
      if (c == quote) quote = 0;
      continue;
    }
    if (c == '"' || c == '\'') quote = c;
    if (c < '0' || c > '9') kind += c;
  }
  return kind;
}

bool is_one_line(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

}  // namespace

void expect(std::string_view name) {
  tally().names.emplace(name, false);
}

void reach(std::string_view name) {
  const auto found = tally().names.find(name);
  if (found != tally().names.end())
    found->second = true;
  else
    tally().names.emplace(name, true);
}

void say(const Error& error) {
  NETBACK_CHECK(!error.message.empty());
  for (const auto* text : {&error.message, &error.fix}) {
    NETBACK_CHECK(is_one_line(*text) && text->size() <= message_bytes_max);
    if (!text->empty() && tally().said.size() < kinds_max)
      tally().said.emplace(kind_of(*text), *text);
  }
}

}  // namespace netback::fuzz
