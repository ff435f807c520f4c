#include "control/ip_text.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <optional>
#include <string>

#include "control/quote.hpp"
#include "lib/xen/number.hpp"

namespace netback {
namespace {

constexpr std::string_view separators = " ,\t";

std::optional<AddressPrefix> parse_prefix(std::string_view word) {
  const size_t slash = word.find('/');
  const std::string address(word.substr(0, slash));
  AddressPrefix prefix;
  prefix.ipv6 = address.find(':') != address.npos;
  if (inet_pton(prefix.ipv6 ? AF_INET6 : AF_INET, address.c_str(), prefix.address.data()) != 1)
    return {};
  prefix.bits = prefix.ipv6 ? 128 : 32;
  if (slash == word.npos) return prefix;
  const auto bits = parse_number<uint8_t>(word.substr(slash + 1));
  if (!bits || *bits > prefix.bits) return {};
  prefix.bits = *bits;
  // An address with the length of its network's prefix would stand for all of that network.
  for (int bit = prefix.bits; bit < (prefix.ipv6 ? 128 : 32); ++bit)
    if (prefix.address[static_cast<size_t>(bit / 8)] & (0x80 >> bit % 8)) return {};
  return prefix;
}

}  // namespace

Result<std::vector<AddressPrefix>> parse_addresses(std::string_view text) {
  std::vector<AddressPrefix> all;
  size_t end = 0;
  for (size_t at; (at = text.find_first_not_of(separators, end)) != text.npos;) {
    end = std::min(text.find_first_of(separators, at), text.size());
    const auto prefix = parse_prefix(text.substr(at, end - at));
    if (!prefix)
      return Error{
          fmt::format("must be addresses like \"192.0.2.1 2001:db8::1\" or prefixes like "
                      "\"192.0.2.0/28\", not {}",
                      in_quotes(text.substr(at, end - at)))};
    if (all.size() == vif_addresses_max)
      return Error{fmt::format("must be at most {} addresses", vif_addresses_max)};
    all.push_back(*prefix);
  }
  if (all.empty()) return Error{fmt::format("must be an address, not {}", in_quotes(text))};
  return all;
}

}  // namespace netback
