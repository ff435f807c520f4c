#include "dataplane/source_addresses.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <optional>

namespace netback {
namespace {

using Bytes = std::span<const uint8_t>;

// Of a frame that passes: an honest one has fewer, and looking for more costs time.
constexpr int tags_max = 2;
constexpr int extension_headers_max = 8;

constexpr size_t arp_bytes = 28, ipv4_bytes = 20, ipv6_bytes = 40, udp_bytes = 8, icmpv6_bytes = 8;
constexpr size_t ipv6_address_bytes = 16;

// ICMPv6 (RFC 4861, 2710, 3810).
enum : uint8_t {
  listener_report = 131,
  listener_done = 132,
  router_solicitation = 133,
  neighbour_solicitation = 135,
  neighbour_advertisement = 136,
  redirect = 137,
  listener_report_2 = 143,
};

uint32_t word_at(Bytes bytes, size_t at) {
  return uint32_t{bytes[at]} << 8 | bytes[at + 1];
}

bool is_zero(Bytes bytes) {
  return std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; });
}

// Behind the type, and `type`; empty when there is none, or too many tags before it.
Bytes without_ethernet(Bytes frame, uint32_t& type) {
  size_t at = 2 * RTE_ETHER_ADDR_LEN;
  for (int tags = 0; tags <= tags_max && frame.size() >= at + 2; ++tags, at += 4) {
    type = word_at(frame, at);
    if (type != RTE_ETHER_TYPE_VLAN && type != RTE_ETHER_TYPE_QINQ) return frame.subspan(at + 2);
  }
  return {};
}

// What a host says before it has an address, and not in fragments: what joins groups (RFC 3376
// 4.2.13), and a DHCP client.
bool comes_before_an_address(Bytes packet) {
  const size_t header = (packet[0] & 0xfu) * 4;
  const bool fragment = (word_at(packet, 6) & 0x3fff) != 0;
  if (fragment) return false;
  if (packet[9] == IPPROTO_IGMP) return true;
  if (packet[9] != IPPROTO_UDP || header < ipv4_bytes) return false;
  if (packet.size() < header + udp_bytes) return false;
  return word_at(packet, header) == 68 && word_at(packet, header + 2) == 67;
}

struct UpperLayer {
  uint8_t protocol;
  bool fragmented;  // the packet is a part of a larger one
  bool first;       // and this is its beginning
  Bytes message;
};

// Of a destination options header: whether a receiver may take the packet as from an address in it
// (RFC 6275 6.3), or cannot read it.
bool says_other_source(Bytes header) {
  constexpr uint8_t pad1 = 0, home_address = 201;
  for (size_t at = 2; at < header.size();) {
    if (header[at] == home_address || (header[at] != pad1 && at + 1 == header.size())) return true;
    at += header[at] == pad1 ? 1 : 2u + header[at + 1];
  }
  return false;
}

// Behind the extension headers (RFC 8200 section 4). Nothing when they do not end here: then the
// rest may be in another fragment (RFC 7112), or is more than anybody needs.
std::optional<UpperLayer> upper_layer_of(Bytes packet) {
  UpperLayer upper{packet[6], false, true, packet.subspan(ipv6_bytes)};
  for (int headers = 0; headers <= extension_headers_max; ++headers) {
    size_t bytes = 0;
    const Bytes header = upper.message;
    switch (upper.protocol) {
      case IPPROTO_HOPOPTS:
      case IPPROTO_ROUTING:
      case IPPROTO_DSTOPTS:
        if (header.size() < 2) return {};
        bytes = (header[1] + 1u) * 8;
        break;
      case IPPROTO_AH:
        if (header.size() < 2) return {};
        bytes = (header[1] + 2u) * 4;
        break;
      case IPPROTO_FRAGMENT:
        bytes = 8;
        if (header.size() < bytes) return {};
        upper.first = (word_at(header, 2) & 0xfff8) == 0;
        upper.fragmented |= (word_at(header, 2) & 0xfff9) != 0;
        break;
      default:
        return upper;
    }
    if (header.size() < bytes) return {};
    if (upper.protocol == IPPROTO_DSTOPTS && says_other_source(header.first(bytes))) return {};
    upper.protocol = header[0];
    upper.message = header.subspan(bytes);
    if (!upper.first) return upper;
  }
  return {};
}

// RFC 4291 appendix A.
AddressPrefix link_local_of(const rte_ether_addr& mac) {
  const uint8_t* m = mac.addr_bytes;
  return {true,
          128,
          {0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(m[0] ^ 2), m[1], m[2], 0xff, 0xfe,
           m[3], m[4], m[5]}};
}

bool covers(const AddressPrefix& prefix, Bytes address) {
  const size_t whole = prefix.bits / 8;
  if (!std::equal(address.begin(), address.begin() + static_cast<long>(whole),
                  prefix.address.begin()))
    return false;
  const int rest = prefix.bits % 8;
  return rest == 0 || (prefix.address[whole] ^ address[whole]) >> (8 - rest) == 0;
}

}  // namespace

SourceAddresses::SourceAddresses(std::span<const AddressPrefix> allowed, const rte_ether_addr& mac)
    : allowed_(allowed.begin(), allowed.end()) {
  allowed_.push_back(link_local_of(mac));
}

bool SourceAddresses::allow(const rte_mbuf* frame) const {
  uint32_t type = 0;
  const Bytes packet =
      without_ethernet({rte_pktmbuf_mtod(frame, const uint8_t*), frame->data_len}, type);
  switch (type) {
    case RTE_ETHER_TYPE_IPV4:
      return allow_ipv4(packet);
    case RTE_ETHER_TYPE_ARP:
      return allow_arp(packet);
    case RTE_ETHER_TYPE_IPV6:
      return allow_ipv6(packet);
    default:
      return false;
  }
}

bool SourceAddresses::allow_ipv4(Bytes packet) const {
  if (packet.size() < ipv4_bytes || packet[0] >> 4 != 4) return false;
  const Bytes source = packet.subspan(12, 4);
  if (knows(false, source)) return true;
  // What is behind the packet (padding) is no part of it.
  const Bytes whole = packet.first(std::min<size_t>(packet.size(), word_at(packet, 2)));
  return is_zero(source) && whole.size() >= ipv4_bytes && comes_before_an_address(whole);
}

bool SourceAddresses::allow_arp(Bytes packet) const {
  // Ethernet's and IPv4's, as RFC 826 has it.
  constexpr std::array<uint8_t, 6> kind = {0, 1, 8, 0, 6, 4};
  if (packet.size() < arp_bytes || !std::ranges::equal(packet.first(kind.size()), kind))
    return false;
  const Bytes sender = packet.subspan(14, 4), target = packet.subspan(24, 4);
  const bool request = word_at(packet, 6) == 1;
  return knows(false, sender) || (request && is_zero(sender) && knows(false, target));
}

bool SourceAddresses::allow_ipv6(Bytes packet) const {
  if (packet.size() < ipv6_bytes || packet[0] >> 4 != 6) return false;
  const Bytes source = packet.subspan(8, ipv6_address_bytes);
  const bool unspecified = is_zero(source);
  if (!unspecified && !knows(true, source)) return false;
  // What is behind the packet (padding) is no part of it.
  const auto upper = upper_layer_of(
      packet.first(std::min<size_t>(packet.size(), ipv6_bytes + word_at(packet, 4))));
  if (!upper) return false;
  // It has no headers of its own, and without the first one nobody puts it together.
  if (!upper->first) return !unspecified;
  if (upper->protocol != IPPROTO_ICMPV6) return !unspecified;
  return allow_icmpv6(upper->message, unspecified, upper->fragmented);
}

bool SourceAddresses::allow_icmpv6(Bytes message, bool unspecified_source, bool fragmented) const {
  if (message.size() < icmpv6_bytes) return false;
  const uint8_t type = message[0];
  // RFC 6980: neighbour discovery is in no fragments.
  if (fragmented && type >= router_solicitation && type <= redirect) return false;
  // Whom a receiver takes the message as from, whatever its source.
  const bool claims =
      type == (unspecified_source ? neighbour_solicitation : neighbour_advertisement);
  if (claims)
    return message.size() >= icmpv6_bytes + ipv6_address_bytes &&
           knows(true, message.subspan(icmpv6_bytes, ipv6_address_bytes));
  if (!unspecified_source) return true;
  return !fragmented && (type == router_solicitation || type == listener_report ||
                         type == listener_done || type == listener_report_2);
}

bool SourceAddresses::knows(bool ipv6, Bytes address) const {
  return std::ranges::any_of(allowed_, [&](const AddressPrefix& prefix) {
    return prefix.ipv6 == ipv6 && covers(prefix, address);
  });
}

}  // namespace netback
