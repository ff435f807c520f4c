// Checksums and segmentation: where the headers are, filling a checksum in, or leaving that to a
// port that does.
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

// Writes the pseudo-header's sum where the checksum of a parsed frame goes and marks it blank. The
// frame is ours alone.
void blank_checksum(rte_mbuf* frame);

// Makes a TCP frame of `ipv4` or IPv6 one that stands for several (frame.hpp: segmented), with
// `segment_bytes` (not 0) bytes of payload each; one whose payload fits a segment becomes an
// ordinary frame with a blank checksum. The length in its IP header is set right: as Linux does,
// the frame's is believed, because senders of large frames need not fill it in. False: other
// headers, not whole ones, no payload, or more than IP's length can say. The frame is ours alone.
bool mark_segmented(rte_mbuf* frame, bool ipv4, uint16_t segment_bytes);

// Whether the headers of a TCP frame, L2 to L4, end within its first `bytes` bytes. No others are
// read, and nothing is noted in the frame.
bool headers_within(const rte_mbuf& frame, uint16_t bytes);

// Frames that a segmented frame stands for.
uint32_t segment_count(const rte_mbuf* frame);

// Leaves segmentation to the port: sets the transmit flags, and the pseudo-header sum without a
// length, as DPDK wants it. `ipv4_checksum`: the port fills in that one too. The frame is ours
// alone.
void request_segmentation(rte_mbuf* frame, bool ipv4_checksum);

}  // namespace netback
