// Checksums: where the headers are, filling one in, or leaving it to a port that does.
#pragma once

#include <rte_mbuf.h>

namespace netback {

// Finds L2 to L4 of a TCP or UDP frame over IPv4 or IPv6, with VLAN tags or extension headers
// before it, and notes them in packet_type, l2_len, l3_len and l4_len. False when there is no whole
// L4 header, when the lengths contradict each other, or the frame is a fragment: nothing in such a
// frame can be filled in. The headers lie in the first buffer or it fails (XSA-423).
bool parse_headers(rte_mbuf* frame);

// Fills in the checksum of a parsed frame (checksum_blank) and marks it good. Trailing bytes behind
// the IP packet are not counted. The frame is ours alone (reference count 1).
void complete_checksum(rte_mbuf* frame);

// Leaves the checksum to the port: sets the transmit flags and the pseudo-header sum that DPDK's
// drivers start from; the guest's own is not trusted. The frame is ours alone.
void request_checksum(rte_mbuf* frame);

}  // namespace netback
