// The IP addresses that a guest may use (ip of its vif, lock-ip). What it sends as from another, or
// claims for itself in ARP or IPv6's neighbour discovery, does not pass.
#pragma once

#include <rte_ether.h>
#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace netback {

// Of IPv4 or IPv6, in the order of the wire; IPv4 fills the first four bytes.
struct AddressPrefix {
  bool ipv6 = false;
  uint8_t bits = 0;  // that count, up to 32 or 128
  std::array<uint8_t, 16> address{};
  bool operator==(const AddressPrefix&) const = default;
};

class SourceAddresses {
 public:
  // `mac`: the vif's. The link-local address that is made of it (RFC 4291 appendix A) is allowed
  // as well.
  SourceAddresses(std::span<const AddressPrefix> allowed, const rte_ether_addr& mac);

  // Whether it passes. Looked at is only what lies in the first buffer; what a receiver could read
  // otherwise than this does, or is of a protocol that is neither IP nor ARP, does not pass.
  //   IPv4: from an allowed address; from 0.0.0.0 DHCP's requests, and IGMP
  //   ARP: the sender's address is allowed, or it probes for one that is (RFC 5227)
  //   IPv6: from an allowed address, but neighbour advertisements only of allowed ones; from ::
  //   what a host says before it has an address (RFC 4861, 4862, 3810)
  bool allow(const rte_mbuf* frame) const;

 private:
  using Bytes = std::span<const uint8_t>;
  bool allow_ipv4(Bytes packet) const;
  bool allow_arp(Bytes packet) const;
  bool allow_ipv6(Bytes packet) const;
  bool allow_icmpv6(Bytes message, bool unspecified_source, bool fragmented) const;
  bool knows(bool ipv6, Bytes address) const;

  std::vector<AddressPrefix> allowed_;
};

}  // namespace netback
