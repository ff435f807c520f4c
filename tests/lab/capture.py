"""Frames of a real capture through a guest and back: net_pcap is the daemon's port."""

import contextlib
import os
import signal
import struct
import sys
import threading
import time

from lab import LabError, config_of, scenario, until
from stacks import STREAM, Space, address, address6

PORT = "net_pcap0,rx_pcap={played},tx_pcap={written},infinite_rx=0"
GUEST = "00:16:3e:00:00:99"  # an address that the capture does not have
FILE_HEADER_BYTES = 24
TURN = 128  # frames that the worker takes of a port in one turn, at most
WAITING_MAX = 256  # frames of the capture that a guest's posted buffers take: none is dropped


def frames_of(data):
    """The frames of a pcap file, each with the bytes of its record."""
    magic, at = struct.unpack_from("<I", data)[0], FILE_HEADER_BYTES
    assert magic in (0xa1b2c3d4, 0xa1b23c4d), f"not a pcap of this machine's: {magic:x}"
    while at < len(data):
        _, _, captured, length = struct.unpack_from("<IIII", data, at)
        assert captured == length, "a frame that was cut"
        yield data[at + 16:at + 16 + captured], data[at:at + 16 + captured]
        at += 16 + captured


def capture_traffic(lab):
    """A pcap of what two network stacks say to each other: ARP, ping, TCP, UDP, a VLAN."""
    one, two = Space(lab), Space(lab)
    one.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns",
            two.words[1].split("=")[1])
    # Frames as they would be on a wire: no segments of 64 KiB.
    for number, space in ((1, one), (2, two)):
        space.run("ip", "link", "set", "eth0", "gso_max_segs", 1)
    path = lab.directory / "capture.pcap"
    one.run("ip", "link", "set", "eth0", "up")
    dump = one.start("tcpdump", "-i", "eth0", "-w", path, "-U", "-Z", "root", "--immediate-mode",
                     "-B", 16384)
    said = dump.stderr.readline()
    assert "listening" in said, said
    for number, space in ((1, one), (2, two)):
        space.configure("eth0", number)
    for target in (address(2), address6(2)):
        one.ping(target, 3)
    with contextlib.suppress(LabError):  # of a kernel without VLANs
        for number, space in ((1, one), (2, two)):
            space.run("ip", "link", "add", "link", "eth0", "name", "vlan7", "type", "vlan", "id", 7)
            space.run("ip", "link", "set", "vlan7", "up")
            space.run("ip", "address", "add", f"10.7.0.{number}/24", "dev", "vlan7")
        one.ping("10.7.0.2", 3)
    for port, target in ((5001, address(2)), (5002, address6(2))):
        other = two.stream("tcp-receive", port)
        one.run(sys.executable, STREAM, "tcp-send", target, port, 50_000, 1)
        assert other.wait(20) == 0
    echo = two.stream("udp-echo", 7000)
    one.run(sys.executable, STREAM, "udp-check", address(2), 7000, "1,17,60,1472", 1)
    echo.kill()
    time.sleep(0.1)
    dump.send_signal(signal.SIGINT)
    dump.wait(10)
    return path.read_bytes()


class Player:
    """Feeds the daemon's port from a pipe, so that the frames come when the guest is there."""

    def __init__(self, path, data):
        os.mkfifo(path)
        self.path, self.data = path, data

    def begin(self):
        """The header: net_pcap opens its file, and the worker waits for the first burst."""
        self.pipe = open(self.path, "wb", buffering=0)
        self.pipe.write(self.data[:FILE_HEADER_BYTES])

    def play(self, records):
        """A turn's frames, which find the guest not yet attached as it began before; then all."""
        self.pipe.write(records[0] * TURN + b"".join(records))
        self.pipe.close()


@scenario("frames of a real capture, replayed by net_pcap through a guest and back: byte for byte",
          daemon=False)
def replay(lab):
    data = capture_traffic(lab)
    frames, records = zip(*frames_of(data))
    kinds = {frame[12:14].hex() for frame in frames}
    assert {"0800", "0806", "86dd"} <= kinds, f"a capture of {kinds}"
    assert max(map(len, frames)) == 1514 and 50 < len(frames) < WAITING_MAX, \
        f"{len(frames)} frames, {max(map(len, frames))} bytes"
    played, written = lab.directory / "played", lab.directory / "written.pcap"
    lab.configure(config_of("capture", PORT.format(played=played, written=written),
                            "rx-filter = false"))
    player = Player(played, data)
    lab.start_daemon(meanwhile=player.begin)
    lab.create("g1", GUEST)
    guest = lab.pktgen("g1", "--events", "echo", "--unchanged")
    threading.Thread(target=player.play, args=(records,)).start()
    until(lambda: lab.port_frames() >= len(frames), "all frames to come back")
    found = lab.stop(guest)
    assert found["faults"] == 0 and found["received"] == len(frames), found
    lab.drain_daemon()
    lab.daemon = None
    back = [frame for frame, _ in frames_of(written.read_bytes())]
    assert len(back) == len(frames), f"{len(back)} of {len(frames)} frames"
    for number, (sent, came) in enumerate(zip(frames, back)):
        assert sent == came, f"frame {number}: {sent.hex()} became {came.hex()}"
    lab.note(f"{len(frames)} frames, {sum(map(len, frames))} bytes, of types {sorted(kinds)}")
