"""Frames as bytes: what is in them, and whether their checksums are right."""

import struct

IPV4, IPV6, TCP, UDP = 0x0800, 0x86DD, 6, 17
ETHERNET_BYTES, IPV6_BYTES = 14, 40


def sum_of(data):
    """The ones' complement sum of 16-bit words: 0xffff over all that a checksum is right for."""
    data = bytes(data) + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def transport(frame):
    """(protocol, pseudo-header, segment) of an untagged IP frame; (None, b"", b"") of others."""
    kind = int.from_bytes(frame[12:14], "big")
    packet = frame[ETHERNET_BYTES:]
    if kind == IPV4:
        head, length = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        segment = packet[head:length]
        return packet[9], packet[12:20] + struct.pack("!HH", packet[9], len(segment)), segment
    if kind == IPV6:
        segment = packet[IPV6_BYTES:IPV6_BYTES + int.from_bytes(packet[4:6], "big")]
        return packet[6], packet[8:40] + struct.pack("!IxxxB", len(segment), packet[6]), segment
    return None, b"", b""


def whole(frame):
    """Whether all of its checksums, of IPv4 and of TCP and UDP, are right."""
    if int.from_bytes(frame[12:14], "big") == IPV4:
        head = (frame[ETHERNET_BYTES] & 15) * 4
        if sum_of(frame[ETHERNET_BYTES:ETHERNET_BYTES + head]) != 0xFFFF:
            return False
    protocol, pseudo, segment = transport(frame)
    return protocol not in (TCP, UDP) or sum_of(pseudo + segment) == 0xFFFF
