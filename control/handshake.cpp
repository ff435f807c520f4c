#include "control/handshake.hpp"

#include <fmt/format.h>

#include "control/quote.hpp"
#include "lib/xen/number.hpp"

namespace netback {

namespace {

namespace keys = netif::keys;

constexpr uint32_t first_channel = 1;  // Xen keeps port 0 for itself

// The guest's number under `key`, `lowest` at least.
Status read_number(const ReadKey& guest, std::string_view key, uint32_t lowest, uint32_t& number) {
  const auto text = guest(key);
  if (!text) return Error{fmt::format("{} is absent", key)};
  const auto parsed = parse_number<uint32_t>(*text);
  if (!parsed) return Error{fmt::format("{} is not a number: {}", key, in_quotes(*text))};
  if (*parsed < lowest) return Error{fmt::format("{} is reserved: {}", key, *parsed)};
  number = *parsed;
  return Done{};
}

// Absent leaves `feature` as it is.
Status read_feature(const ReadKey& guest, std::string_view key, bool& feature) {
  const auto text = guest(key);
  if (!text) return Done{};
  if (*text != "0" && *text != "1") {
    return Error{fmt::format("{} is neither 0 nor 1: {}", key, in_quotes(*text))};
  }
  feature = *text == "1";
  return Done{};
}

// Both rings in one page would be answered over one another (H25).
Status read_rings(const ReadKey& guest, Agreement& agreement) {
  uint32_t& from_guest = agreement.from_guest_reference;
  uint32_t& to_guest = agreement.to_guest_reference;
  if (auto read = read_number(guest, keys::tx_ring_ref, netif::first_reference, from_guest); !read)
    return read;
  if (auto read = read_number(guest, keys::rx_ring_ref, netif::first_reference, to_guest); !read)
    return read;
  if (from_guest != to_guest) return Done{};
  return Error{
      fmt::format("{} and {} are the same: {}", keys::tx_ring_ref, keys::rx_ring_ref, from_guest)};
}

// Like Linux: the pair when it is whole, else the single channel. A frontend that was replaced
// (PXE, kexec) may have left the other layout's key behind.
Status read_channels(const ReadKey& guest, Agreement& agreement) {
  uint32_t& from_guest = agreement.from_guest_channel;
  uint32_t& to_guest = agreement.to_guest_channel;
  const bool has_single = guest(keys::event_channel).has_value();
  const bool has_tx = guest(keys::event_channel_tx).has_value();
  const bool has_rx = guest(keys::event_channel_rx).has_value();
  const bool split = (has_tx && has_rx) || (!has_single && (has_tx || has_rx));
  if (!split) {
    auto read = read_number(guest, keys::event_channel, first_channel, from_guest);
    to_guest = from_guest;
    return read;
  }
  if (auto read = read_number(guest, keys::event_channel_tx, first_channel, from_guest); !read)
    return read;
  if (auto read = read_number(guest, keys::event_channel_rx, first_channel, to_guest); !read)
    return read;
  if (from_guest != to_guest) return Done{};
  return Error{fmt::format("{} and {} are the same: {}", keys::event_channel_tx,
                           keys::event_channel_rx, from_guest)};
}

// Linux's frontend has none, Windows' has.
Status read_control_ring(const ReadKey& guest, Agreement& agreement) {
  uint32_t& reference = agreement.control_reference;
  if (!guest(keys::ctrl_ring_ref)) return Done{};
  if (auto read = read_number(guest, keys::ctrl_ring_ref, netif::first_reference, reference); !read)
    return read;
  if (reference == agreement.from_guest_reference || reference == agreement.to_guest_reference)
    return Error{fmt::format("{} is another ring's: {}", keys::ctrl_ring_ref, reference)};
  return read_number(guest, keys::event_channel_ctrl, first_channel, agreement.control_channel);
}

// Windows writes the count even when it is 1 and we offer no more (protocol.md 1.4).
Status check_queue_count(const ReadKey& guest) {
  const auto count = guest(keys::multi_queue_num_queues);
  if (!count || *count == "1") return Done{};
  return Error{fmt::format("{} is not 1: {}", keys::multi_queue_num_queues, in_quotes(*count))};
}

// Without it the guest wants pages flipped, which no frontend of today does (H38).
Status check_rx_copy(const ReadKey& guest) {
  const auto wants_copy = guest(keys::request_rx_copy);
  if (!wants_copy) return Error{fmt::format("{} is absent", keys::request_rx_copy)};
  if (*wants_copy == "1") return Done{};
  return Error{fmt::format("{} is not 1: {} (page flipping is not supported)",
                           keys::request_rx_copy, in_quotes(*wants_copy))};
}

Status read_features(const ReadKey& guest, Agreement& agreement) {
  bool blanks_nothing = false, gso_tcpv4 = false, gso_tcpv6 = false;
  const std::pair<const char*, bool*> features[] = {
      {keys::feature_sg, &agreement.takes_chains},
      {keys::feature_no_csum_offload, &blanks_nothing},
      {keys::feature_ipv6_csum_offload, &agreement.takes_blank_ipv6},
      {keys::feature_rx_notify, &agreement.notifies_of_buffers},
      {keys::feature_gso_tcpv4, &gso_tcpv4},
      {keys::feature_gso_tcpv6, &gso_tcpv6},
  };
  for (const auto& [key, feature] : features) {
    if (auto read = read_feature(guest, key, *feature); !read) return read;
  }
  agreement.takes_blank_ipv4 = !blanks_nothing;
  // Such a frame is longer than a page, and its checksum is always blank: Linux's netdev core drops
  // TSO without scatter-gather or checksum offload as well.
  agreement.takes_gso_tcpv4 = gso_tcpv4 && agreement.takes_chains && agreement.takes_blank_ipv4;
  agreement.takes_gso_tcpv6 = gso_tcpv6 && agreement.takes_chains && agreement.takes_blank_ipv6;
  return Done{};
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& offered_features() {
  static const std::vector<std::pair<std::string, std::string>> features = {
      {keys::feature_rx_copy, "1"},
      {keys::feature_rx_flip, "0"},
      {keys::feature_sg, "1"},
      {keys::feature_ipv6_csum_offload, "1"},
      {keys::feature_gso_tcpv4, "1"},
      {keys::feature_gso_tcpv6, "1"},
      {keys::feature_split_event_channels, "1"},
      {keys::feature_ctrl_ring, "1"},
  };
  return features;
}

Result<Agreement> agree(const ReadKey& guest) {
  Agreement agreement;
  if (auto checked = check_rx_copy(guest); !checked) return checked.error();
  if (auto checked = check_queue_count(guest); !checked) return checked.error();
  if (auto read = read_rings(guest, agreement); !read) return read.error();
  if (auto read = read_channels(guest, agreement); !read) return read.error();
  if (auto read = read_control_ring(guest, agreement); !read) return read.error();
  if (auto read = read_features(guest, agreement); !read) return read.error();
  return agreement;
}

}  // namespace netback
