#include "bench/netfront_pktgen/ask.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/xen/number.hpp"

namespace netback {
namespace {

std::optional<std::vector<uint32_t>> words_of(const std::string& request, uint32_t page) {
  std::vector<uint32_t> words;
  std::istringstream parts(request);
  for (std::string part; std::getline(parts, part, ',');) {
    const auto number = part == "page" ? page : parse_number<uint32_t>(part);
    if (!number) return std::nullopt;
    words.push_back(*number);
  }
  if (words.size() != 4) return std::nullopt;
  return words;
}

}  // namespace

std::vector<uint8_t> bytes_of_hex(const std::string& text) {
  std::vector<uint8_t> bytes;
  for (size_t at = 0; at + 2 <= text.size(); at += 2) {
    uint8_t byte = 0;
    const char* end = text.data() + at + 2;
    if (std::from_chars(text.data() + at, end, byte, 16).ptr != end) break;
    bytes.push_back(byte);
  }
  return bytes;
}

nlohmann::json ask(Frontend& frontend, const std::string& page,
                   const std::vector<std::string>& requests) {
  nlohmann::json answers = nlohmann::json::array();
  uint64_t faults = 0;
  ControlChannel* control = frontend.control();
  if (control == nullptr) return {{"answers", answers}, {"faults", requests.size()}};
  const auto bytes = bytes_of_hex(page);
  std::copy_n(bytes.begin(), std::min(bytes.size(), control->list_page().size()),
              control->list_page().begin());
  for (const std::string& request : requests) {
    const auto words = words_of(request, control->list_reference());
    if (!words) {
      ++faults;
      continue;
    }
    auto answer =
        control->ask(static_cast<uint16_t>((*words)[0]), (*words)[1], (*words)[2], (*words)[3]);
    if (answer)
      answers.push_back({answer.value().status, answer.value().data});
    else
      ++faults;
  }
  return {{"answers", answers}, {"faults", faults}};
}

}  // namespace netback
