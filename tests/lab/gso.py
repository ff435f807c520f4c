"""TCP frames that stand for several (GSO): between guests, to a port that does not cut them, and
what a guest may not ask for."""

import functools
import struct

from capture import frames_of
from lab import config_of, scenario, until
from stacks import DOM0, MIB, Guest, address, address6, start_dom0, transfer
from traffic import G2, two_guests

ELSEWHERE = "02:00:00:00:00:01"
FRAMES = 100
SEGMENTS_PER_S = 20_000  # so that a guest with 256 buffers takes them all
VERSIONS = {54: (), 74: ("--ipv6",)}  # by the bytes of the headers
LONGEST = 65_535


def send(lab, size, segment, *options, sender=(), to=G2, count=FRAMES):
    rate = max(10, SEGMENTS_PER_S * segment // size)
    sent = lab.result(lab.pktgen("g1", *sender, "--events", "--spoil", "--count", count, "send",
                                 "--size", size, "--gso", segment, "--burst", 1, "--rate", rate,
                                 "--to", to, *options))
    assert sent["answered"] > 0 and sent["bad_answers"] == sent["unanswered"] == 0, sent
    return sent


def to_guest(lab, size, segment, options, receiver=(), sender=()):
    """A stream of g1 to g2: what g2 found of it, whole and right."""
    taker = lab.pktgen("g2", *receiver, "--tcp", "--events", "receive")
    sent = send(lab, size, segment, *options, sender=sender)
    assert sent["errors"] == 0, sent
    until(lambda: lab.count("g2", "to_guest_bytes") >= FRAMES * (size - 54), "delivery")
    counts = {key: lab.count("g2", key) for key in ("to_guest_gso_frames", "to_guest_cut_frames",
                                                    "to_guest_drop_")}
    found = lab.stop(taker)
    headers = 74 if options else 54
    assert found["changed"] == found["missing_bytes"] == found["bad_answers"] == 0, found
    assert found["stream_bytes"] == FRAMES * (size - headers), found
    assert counts["to_guest_drop_"] == 0, counts
    return found, counts


@scenario("GSO between guests: frames of up to 65,535 bytes go straight through, IPv4 and IPv6")
def straight(lab):
    two_guests(lab)
    for headers, options in VERSIONS.items():
        for size in (headers + 1449, 4096, 4097, 30_000, LONGEST):
            found, counts = to_guest(lab, size, 1514 - headers - 12, options)
            assert found["longest"] == size and found["segmented"] == FRAMES, found
            assert counts["to_guest_gso_frames"] == FRAMES, counts
            assert counts["to_guest_cut_frames"] == 0, counts


@scenario("GSO between guests whose pages stay mapped: straight through, with no grant copy")
def mapped(lab):
    two_guests(lab)
    for headers, options in VERSIONS.items():
        for size in (headers + 1449, 4097, LONGEST):
            found, counts = to_guest(lab, size, 1400, options, ("--staging",), ("--staging",))
            assert found["longest"] == size and found["segmented"] == FRAMES, found
            assert counts["to_guest_gso_frames"] == FRAMES, counts
    workers = lab.ask("stats")["workers"][0]
    assert workers["worker_from_guest_copy_calls"] == workers["worker_to_guest_copy_calls"] == 0


@scenario("GSO to a guest that takes none: cut, with the checksums that it takes")
def cut(lab):
    two_guests(lab)
    for headers, options in VERSIONS.items():
        for receiver in (("--no-gso",), ("--no-sg",), ("--no-csum-offload",
                                                       "--no-ipv6-csum-offload")):
            for size, segment in ((LONGEST, 1440), (LONGEST, 256), (headers + 100, 1)):
                found, counts = to_guest(lab, size, segment, options, receiver)
                assert found["longest"] == headers + segment and found["segmented"] == 0, found
                assert counts["to_guest_cut_frames"] == FRAMES, counts


@functools.cache
def stream_of(count):
    """The first bytes of the stream that netfront-pktgen sends."""
    return bytes(place * 2_654_435_761 >> 24 & 0xff for place in range(count))


def sum_of(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def check_wire(frame, headers, place):
    """A segment whose payload begins at this place of the stream, as it is on a wire: its bytes."""
    ip, tcp = 14, headers - 20
    if headers == 54:
        assert struct.unpack_from(">H", frame, ip + 2)[0] == len(frame) - ip
        assert sum_of(frame[ip:tcp]) == 0xffff, "IPv4's checksum"
        addresses = frame[ip + 12:ip + 20]
    else:
        assert struct.unpack_from(">H", frame, ip + 4)[0] == len(frame) - tcp
        addresses = frame[ip + 8:ip + 40]
    pseudo = addresses + struct.pack(">HH", 6, len(frame) - tcp)
    assert sum_of(pseudo + frame[tcp:]) == 0xffff, "TCP's checksum"
    assert struct.unpack_from(">I", frame, tcp + 4)[0] == place, "sequence"
    return frame[headers:]


@scenario("GSO to a port that does not cut: every segment in its capture is right")
def capture(lab):
    written = lab.directory / "written.pcap"
    lab.drain_daemon()
    lab.configure(config_of("capture", f"net_pcap0,tx_pcap={written}"))
    lab.start_daemon()
    for headers, options in VERSIONS.items():
        for size, segment, count in ((LONGEST, 1440, 20), (LONGEST, 256, 4), (headers + 256, 1, 4),
                                     (headers + 999, 333, 20)):
            two_guests(lab)
            sent = send(lab, size, segment, *options, to=ELSEWHERE, count=count)
            assert sent["errors"] == 0, sent
            assert lab.count("g1", "from_guest_drop_") == 0
            port = lab.ask("stats")["ports"][0]
            assert port["port_cut_frames"] == count, port
            lab.drain_daemon()
            captured = written.read_bytes()
            lab.start_daemon()  # a domain that nobody serves takes 10 s to go
            lab.tool("domain", "destroy", "g1")
            lab.tool("domain", "destroy", "g2")
            place, segments, stream = 0, 0, stream_of(count * size)
            for frame, _ in frames_of(captured):
                payload = check_wire(frame, headers, place)
                assert len(payload) <= segment
                assert payload == stream[place:place + len(payload)], place
                place += len(payload)
                segments += 1
            assert place == count * (size - headers), place
            assert segments == count * -(-(size - headers) // segment) == \
                port["port_sent_frames"], segments


@scenario("GSO that a guest may not ask for is dropped by name, and it stays connected")
def refused(lab):
    two_guests(lab)
    for size, segment in ((LONGEST, 1), (LONGEST, 255), (LONGEST, 1461), (4000, 65_535)):
        sent = send(lab, size, segment, to=ELSEWHERE, count=50)
        slots = -(-size // 4096)
        assert sent["errors"] == 50 * slots, (size, segment, sent)
    assert "quarantine" not in lab.log(), lab.log()


@scenario("GSO: TCP between Linux stacks that leave segmentation to us, and those that do not, IPv4"
          " and IPv6, equal sha256", daemon=False)
def stacks(lab):
    dom0 = start_dom0(lab)
    one, two, three = Guest(lab, 1), Guest(lab, 2), Guest(lab, 3, "--no-gso")
    for target in (address(2), address6(2)):
        before = lab.count("g2", "to_guest_gso_frames"), lab.count("g2", "to_guest_bytes")
        direct = lab.count("g1", "from_guest_direct_frames")
        transfer(lab, one, two, target, 128)
        frames = lab.count("g2", "to_guest_gso_frames") - before[0]
        passed = lab.count("g2", "to_guest_bytes") - before[1]
        assert frames > 500 and passed >= 128 * MIB, (frames, passed)
        direct = lab.count("g1", "from_guest_direct_frames") - direct
        lab.note(f"{direct} of {frames} frames went from the sender's pages to the receiver's")
        assert direct > frames / 10, (direct, frames)
    for target in (address(3), address6(3)):
        transfer(lab, one, three, target, 32)
    assert lab.count("g3", "to_guest_gso_frames") == 0 < lab.count("g3", "to_guest_cut_frames")
    for target in (address(1), address6(1)):
        transfer(lab, three, one, target, 32)
    for target in (address(DOM0), address6(DOM0)):
        transfer(lab, one, dom0, target, 32)
    assert lab.ask("stats")["ports"][0]["port_cut_frames"] > 0
