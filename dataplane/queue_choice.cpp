#include "dataplane/queue_choice.hpp"

#include <netinet/in.h>
#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_jhash.h>

#include <algorithm>
#include <cstring>

namespace netback {
namespace {

constexpr uint32_t ports_bytes = 4;  // source and destination port, of TCP and UDP alike

// Reads the headers of a frame one after the other.
struct Header {
  const uint8_t* at;
  uint32_t left;

  // Copies the next `count` bytes; false: there are not so many.
  bool take(void* to, uint32_t count) {
    if (left < count) return false;
    std::memcpy(to, at, count);
    at += count;
    left -= count;
    return true;
  }
};

bool has_ports(uint8_t protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

// Both ports, or 0.
uint32_t ports_of(Header header, uint32_t skip, uint8_t protocol) {
  uint32_t ports = 0;
  if (!has_ports(protocol) || header.left < skip) return 0;
  header.at += skip;
  header.left -= skip;
  return header.take(&ports, ports_bytes) ? ports : 0;
}

uint32_t ipv4_hash(Header header) {
  rte_ipv4_hdr ip;
  if (!header.take(&ip, sizeof ip)) return 0;
  const uint32_t options =
      rte_ipv4_hdr_len(&ip) - std::min<uint32_t>(rte_ipv4_hdr_len(&ip), sizeof ip);
  constexpr uint16_t fragment = RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK;
  const bool whole = (rte_be_to_cpu_16(ip.fragment_offset) & fragment) == 0;
  const uint32_t ports = whole ? ports_of(header, options, ip.next_proto_id) : 0;
  return rte_jhash_3words(ip.src_addr, ip.dst_addr, ports, ip.next_proto_id);
}

uint32_t ipv6_hash(Header header) {
  rte_ipv6_hdr ip;
  if (!header.take(&ip, sizeof ip)) return 0;
  const uint32_t ports = ports_of(header, 0, ip.proto);
  return rte_jhash(ip.src_addr, sizeof ip.src_addr + sizeof ip.dst_addr, ports ^ ip.proto);
}

}  // namespace

uint32_t flow_hash(const rte_mbuf* frame) {
  Header header{rte_pktmbuf_mtod(frame, const uint8_t*), frame->data_len};
  rte_ether_hdr ethernet;
  if (!header.take(&ethernet, sizeof ethernet)) return 0;
  uint16_t type = ethernet.ether_type;
  rte_vlan_hdr tag;
  if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN) && header.take(&tag, sizeof tag))
    type = tag.eth_proto;
  if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4)) return ipv4_hash(header);
  if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV6)) return ipv6_hash(header);
  return rte_jhash(&ethernet, 2 * RTE_ETHER_ADDR_LEN, type);
}

}  // namespace netback
