"""Frames for scenarios that compare bytes: what a guest's pages have of one, what a wire has."""

import dataclasses
import random
import struct

from gso import sum_of

TCP, UDP = 6, 17
TCP_BYTES, UDP_BYTES = 20, 8
# Neither of them is of a protocol that tshark would look into.
PORTS = 40_001, 40_002
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80


@dataclasses.dataclass
class Kind:
    """What a frame is but for its length."""
    version: int = 4
    protocol: int = UDP
    tag: bytes = b""  # a VLAN's

    def header_bytes(self):
        return 14 + len(self.tag) + (20 if self.version == 4 else 40) + self.l4_bytes()

    def l4_bytes(self):
        return TCP_BYTES if self.protocol == TCP else UDP_BYTES


ALL_KINDS = [Kind(version, protocol) for version in (4, 6) for protocol in (UDP, TCP)]


@dataclasses.dataclass
class Flow:
    """Who sends to whom."""
    sender: str
    to: str

    def ethernet(self, kind):
        ends = [bytes.fromhex(mac.replace(":", "")) for mac in (self.to, self.sender)]
        return b"".join(ends) + kind.tag + (b"\x08\0" if kind.version == 4 else b"\x86\xdd")


def ip_of(kind, payload_bytes, number):
    """The IP header, and its part of the pseudo-header."""
    if kind.version == 6:
        ends = bytes.fromhex("fd00" + "00" * 13 + "01" + "fd00" + "00" * 13 + "02")
        return struct.pack(">IHBB", 0x60000000, payload_bytes, kind.protocol, 64) + ends, ends
    ends = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    head = struct.pack(">BBHHHBB", 0x45, 0, 20 + payload_bytes, number & 0xffff, 0, 64,
                       kind.protocol)
    return head + struct.pack(">H", ~sum_of(head + ends) & 0xffff) + ends, ends


def assemble(flow, kind, payload, number, sequence=0, flags=ACK, blank=False):
    """A frame; `blank`: with the pseudo-header's sum for a checksum, as a stack leaves it."""
    l4_bytes = kind.l4_bytes() + len(payload)
    ip, ends = ip_of(kind, l4_bytes, number)
    if kind.protocol == TCP:
        l4 = struct.pack(">HHIIBBHHH", *PORTS, sequence & 0xffffffff, 1, 0x50, flags, 1000, 0, 0)
    else:
        l4 = struct.pack(">HHHH", *PORTS, l4_bytes, 0)
    pseudo = sum_of(ends + struct.pack(">HH", kind.protocol, l4_bytes))
    checksum = pseudo if blank else ~sum_of(struct.pack(">H", pseudo) + l4 + payload) & 0xffff
    if kind.protocol == UDP and checksum == 0:
        checksum = 0xffff
    at = 16 if kind.protocol == TCP else 6
    l4 = l4[:at] + struct.pack(">H", checksum) + l4[at + 2:]
    return flow.ethernet(kind) + ip + l4 + payload


@dataclasses.dataclass
class Sent:
    """A frame as it is sent, the words that netfront-pktgen exchange needs with it, and the frames
    that it is on a wire."""
    bytes: bytes
    words: str
    wire: list


class Maker:
    """Numbered frames of random bytes: none has anything of another's."""

    def __init__(self, flow, seed=1):
        self.flow, self.random, self.number = flow, random.Random(seed), 0

    def payload(self, count):
        self.number += 1
        return self.random.randbytes(count)

    def pieces(self, size):
        """Random slots, the first of which may not even have all headers."""
        cuts = sorted(self.random.sample(range(14, size), self.random.randint(1, 4)))
        return [end - begin for begin, end in zip([0, *cuts], [*cuts, size])]

    def whole(self, kind, size):
        """With all checksums."""
        payload = self.payload(size - kind.header_bytes())
        frame = assemble(self.flow, kind, payload, self.number)
        return Sent(frame, "", [frame])

    def chained(self, kind, size, blank=False):
        """In several slots."""
        sent = self.blank(kind, size) if blank else self.whole(kind, size)
        sent.words += f" pieces={','.join(map(str, self.pieces(size)))}"
        return sent

    def blank(self, kind, size):
        """With a checksum that others fill in."""
        payload = self.payload(size - kind.header_bytes())
        return Sent(assemble(self.flow, kind, payload, self.number, blank=True), " blank",
                    [assemble(self.flow, kind, payload, self.number)])

    def segmented(self, version, size, segment, tag=b""):
        """A TCP frame that stands for several (GSO)."""
        kind = Kind(version, TCP, tag)
        payload = self.payload(size - kind.header_bytes())
        sequence, flags = self.random.getrandbits(32), FIN | PSH | ACK | CWR
        frame = assemble(self.flow, kind, payload, self.number, sequence, flags, blank=True)
        wire = []
        for at in range(0, len(payload), segment):
            here = flags & ~(CWR if at > 0 else 0)
            here &= ~(FIN | PSH if at + segment < len(payload) else 0)
            wire.append(assemble(self.flow, kind, payload[at:at + segment],
                                 self.number + len(wire), sequence + at, here))
        return Sent(frame, f" blank gso={segment}", wire)

    def tag(self):
        return b"\x81\0" + struct.pack(">H", self.random.getrandbits(16) | 1)
