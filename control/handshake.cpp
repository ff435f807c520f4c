#include "control/handshake.hpp"

#include <fmt/format.h>

#include <map>

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

// Reads the keys of a guest's queues.
class QueueReader {
 public:
  QueueReader(const ReadKey& guest, uint32_t queue_count)
      : guest_(guest), queue_count_(queue_count) {}

  Status read(uint32_t number, QueueRings& rings) {
    if (queue_count_ > 1) prefix_ = fmt::format("queue-{}/", number);
    if (Status read = read_references(rings); !read) return read;
    return read_channels(rings);
  }
  bool is_ring(uint32_t reference) const { return references_.contains(reference); }

 private:
  // By number, which key has it.
  using Users = std::map<uint32_t, std::string>;

  bool has(std::string_view key) const { return guest_(prefix_ + std::string(key)).has_value(); }

  // Fails also when another key has the same number.
  Status read(std::string_view name, uint32_t lowest, Users& users, uint32_t& number) {
    const std::string key = prefix_ + std::string(name);
    if (auto read = read_number(guest_, key, lowest, number); !read) return read;
    const auto [user, fresh] = users.emplace(number, key);
    if (fresh) return Done{};
    return Error{fmt::format("{} and {} are the same: {}", user->second, key, number)};
  }

  // Two rings in one page would be answered over one another (H25).
  Status read_references(QueueRings& rings) {
    constexpr uint32_t lowest = netif::first_reference;
    auto read = this->read(keys::tx_ring_ref, lowest, references_, rings.from_guest_reference);
    if (!read) return read;
    return this->read(keys::rx_ring_ref, lowest, references_, rings.to_guest_reference);
  }

  // Like Linux: the pair when it is whole, else the single channel. A frontend that was replaced
  // (PXE, kexec) may have left the other layout's key behind.
  Status read_channels(QueueRings& rings) {
    const bool has_single = has(keys::event_channel);
    const bool has_tx = has(keys::event_channel_tx), has_rx = has(keys::event_channel_rx);
    const bool split = (has_tx && has_rx) || (!has_single && (has_tx || has_rx));
    const char* const from_guest = split ? keys::event_channel_tx : keys::event_channel;
    auto read = this->read(from_guest, first_channel, channels_, rings.from_guest_channel);
    rings.to_guest_channel = rings.from_guest_channel;
    if (!read || !split) return read;
    return this->read(keys::event_channel_rx, first_channel, channels_, rings.to_guest_channel);
  }

  const ReadKey& guest_;
  const uint32_t queue_count_;
  std::string prefix_;
  Users references_, channels_;
};

// Linux's frontend has none, Windows' has.
Status read_control_ring(const ReadKey& guest, const QueueReader& queues, Agreement& agreement) {
  uint32_t& reference = agreement.control_reference;
  if (!guest(keys::ctrl_ring_ref)) return Done{};
  if (auto read = read_number(guest, keys::ctrl_ring_ref, netif::first_reference, reference); !read)
    return read;
  if (queues.is_ring(reference))
    return Error{fmt::format("{} is another ring's: {}", keys::ctrl_ring_ref, reference)};
  return read_number(guest, keys::event_channel_ctrl, first_channel, agreement.control_channel);
}

// Linux writes the count only when there is more than one queue, Windows always (protocol.md 1.4).
Status read_queue_count(const ReadKey& guest, uint32_t queues_max, uint32_t& count) {
  const auto text = guest(keys::multi_queue_num_queues);
  count = 1;
  if (!text) return Done{};
  const auto number = parse_number<uint32_t>(*text);
  if (!number || *number == 0 || *number > queues_max)
    return Error{fmt::format("{} is not a number from 1 to {}: {}", keys::multi_queue_num_queues,
                             queues_max, in_quotes(*text))};
  count = *number;
  return Done{};
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
      {keys::request_multicast_control, &agreement.multicast_control},
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
      {keys::feature_multicast_control, "1"},
      {keys::feature_dynamic_multicast_control, "1"},
      {keys::feature_xdp_headroom, "1"},
  };
  return features;
}

Result<Agreement> agree(const ReadKey& guest, uint32_t queues_max) {
  Agreement agreement;
  uint32_t queue_count = 0;
  if (auto checked = check_rx_copy(guest); !checked) return checked.error();
  if (auto read = read_queue_count(guest, queues_max, queue_count); !read) return read.error();
  QueueReader queues(guest, queue_count);
  for (uint32_t number = 0; number < queue_count; ++number)
    if (auto read = queues.read(number, agreement.queues.emplace_back()); !read)
      return read.error();
  if (auto read = read_control_ring(guest, queues, agreement); !read) return read.error();
  if (auto read = read_features(guest, agreement); !read) return read.error();
  const auto headroom = agree_on_headroom(guest);
  if (!headroom) return headroom.error();
  agreement.xdp_headroom = Result(headroom).value();
  return agreement;
}

Result<uint16_t> agree_on_headroom(const ReadKey& guest) {
  const auto text = guest(keys::xdp_headroom);
  if (!text) return uint16_t{0};
  const auto headroom = parse_number<uint16_t>(*text);
  if (headroom && *headroom <= netif::xdp_headroom_max) return *headroom;
  return Error{fmt::format("{} is not a number from 0 to {}: {}", keys::xdp_headroom,
                           netif::xdp_headroom_max, in_quotes(*text))};
}

}  // namespace netback
