"""Ports on the kernel's interfaces, between network namespaces: what comes out at the other end is
what was sent, byte for byte, both ways, and tshark finds nothing wrong with it."""

import functools
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys

from capture import frames_of
from crafted import ALL_KINDS, PORTS, TCP, Flow, Kind, Maker
from lab import PKTGEN, Skip, config_of, scenario, until
from stacks import Space
from traffic import G1

RAW = pathlib.Path(__file__).resolve().parent / "raw.py"
OUTSIDE = "02:00:00:00:00:01"
# As long as each driver has frames, but for the tap's: that is a bridge's.
MTUS = {"af_packet": 1964, "af_xdp": 1774, "tap": 1500}
GSO = [(1515, 1400), (4096, 1428), (4097, 536), (30_000, 1401), (65_535, 1428), (65_535, 300)]
# A /sys that shows the namespace, as `ip netns exec` has it.
SYS = ["unshare", "--mount", "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh"]
QUIET = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"
LINE = {"af_packet": "net_af_packet0,iface=near", "af_xdp": "net_af_xdp0,iface=near",
        "tap": "net_tap0,iface=tap0"}
WORRIES = ["ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "_ws.malformed"]
GOOD = "1"
AF_XDP = 44


def needs_xdp():
    """Skips where the kernel has no XDP sockets."""
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        raise Skip(f"no XDP sockets: {error}") from None


class Wire:
    """Two namespaces with a veth between them, whose stacks say nothing of their own. The daemon's
    port is in one: on the veth itself, or for a tap on a bridge with it. `more` of the port, and
    before the defaults."""

    def __init__(self, lab, driver, more="\n[defaults]"):
        if os.geteuid() != 0:
            raise Skip("needs root")
        if driver == "af_xdp":
            needs_xdp()
        self.lab, self.mtu = lab, MTUS[driver]
        self.near, self.far = Space(lab), Space(lab)
        for space in (self.near, self.far):
            space.run("sh", "-c", QUIET)
        self.connect()
        config = config_of("wire", LINE[driver], f"mtu = {self.mtu}")
        if driver == "tap":
            self.near.run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", 0)
            self.near.run("ip", "link", "set", "near", "master", "br0")
            self.near.run("ip", "link", "set", "br0", "up")
            more = 'bridge = "br0"\n' + more
        more = f"mtu = {self.mtu}\n{more}"
        lab.configure(config.replace("\n[defaults]", more))
        lab.daemon_place = [*self.near.words, *SYS]

    def connect(self):
        """The veth, with no checksums left out and no large frames."""
        self.near.run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns",
                      self.far.words[1].split("=")[1], "mtu", self.mtu)
        self.far.run("ip", "link", "set", "far", "mtu", self.mtu)
        for space, end in ((self.near, "near"), (self.far, "far")):
            space.run("ip", "link", "set", end, "up")

    def capture(self, path):
        """A tcpdump that has begun to write what comes to the far end, a second late at most: at
        once each frame would take room of the longest, and those of a busy moment are lost."""
        dump = self.far.start("tcpdump", "-i", "far", "-Q", "in", "-w", path, "-U", "-Z", "root",
                              "-B", 65536, "-s", self.mtu + 18)
        said = dump.stderr.readline()
        assert "listening" in said, said
        return dump

    def send(self, frames):
        """From the far end."""
        lines = "".join(f"{each.hex()}\n" for each in frames)
        self.far.run(sys.executable, RAW, "far", given=lines)


def pcap_bytes(frames):
    return 24 + sum(16 + len(each) for each in frames)


def write_pcap(path, frames):
    records = (struct.pack("<IIII", 0, 0, len(each), len(each)) + each for each in frames)
    path.write_bytes(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65_536, 1) + b"".join(records))


def validate(lab, frames):
    """tshark's word that each has right checksums, all of them, and nothing malformed."""
    path = lab.directory / "validate.pcap"
    write_pcap(path, frames)
    checks = [f"-o{name}.check_checksum:TRUE" for name in ("ip", "tcp", "udp")]
    fields = [word for name in WORRIES for word in ("-e", name)]
    # Random bytes are no protocol's.
    plain = [f"-d{name}.port=={PORTS[0]},data" for name in ("tcp", "udp")]
    shown = subprocess.run(["tshark", "-n", "-r", path, *checks, *plain, "-T", "fields", *fields],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(shown) == len(frames), (len(shown), len(frames))
    for number, line in enumerate(shown):
        ip, tcp, udp, malformed = line.split("\t")
        l3_is_good = ip == (GOOD if b"\x08\0" in frames[number][12:18] else "")
        assert l3_is_good and [tcp or udp, malformed] == [GOOD, ""], (line, frames[number].hex())


def same(sent, came, way):
    """The frames that came are those that were sent, in order."""
    for number, (one, other) in enumerate(zip(sent, came)):
        assert one == other, (f"{way}: {len(came)} of {len(sent)} frames; frame {number}:"
                              f" {one.hex()} became {other.hex()}")
    assert len(sent) == len(came), f"{way}: {len(came)} of {len(sent)} frames"


def sizes(mtu, kind):
    """Up to the mtu: a tag comes on top of that."""
    return range(max(60, kind.header_bytes()), mtu + 14 + len(kind.tag) + 1)


def from_guest(maker, mtu):
    """What a guest sends: each kind and size, in one slot and in several."""
    every_size = functools.partial(sizes, mtu)
    plain = ALL_KINDS[0]
    sent = [maker.whole(plain, size) for size in every_size(plain)]
    sent += [maker.chained(plain, size) for size in every_size(plain)]
    for kind in ALL_KINDS:
        sent += [maker.blank(kind, size) for size in every_size(kind)]
        sent += [maker.chained(kind, size, blank=True) for size in every_size(kind)[::7]]
        tagged = Kind(kind.version, kind.protocol, maker.tag())
        sent += [maker.blank(tagged, size) for size in every_size(tagged)[::7]]
    tagged = Kind(tag=maker.tag())
    sent += [maker.whole(tagged, size) for size in every_size(tagged)]
    for version in (4, 6):
        for size, segment in GSO:
            sent += [maker.segmented(version, size, segment),
                     maker.segmented(version, size, segment, maker.tag())]
    return sent


def to_guest(maker, mtu):
    """What it gets: each kind and size."""
    tagged = Kind(6, TCP, maker.tag()), Kind(tag=maker.tag())
    return [maker.whole(kind, size).bytes for kind in [*ALL_KINDS, *tagged]
            for size in sizes(mtu, kind)]


def exchanger(lab, name, sent, *words):
    """A guest that sends these frames, and the file of what it gets."""
    script, record = lab.directory / f"{name}.script", lab.directory / f"{name}.record"
    script.write_text("".join(f"{each.bytes.hex()}{each.words}\n" for each in sent))
    return lab.pktgen(name, *words, "exchange", script, record), record


def exchange(lab, wire):
    """All of that both ways, one way after the other, and the same bytes at each end."""
    lab.create("g1", G1)
    sent = from_guest(Maker(Flow(G1, OUTSIDE)), wire.mtu)
    back = to_guest(Maker(Flow(OUTSIDE, G1), 2), wire.mtu)
    expected = [frame for each in sent for frame in each.wire]
    path = lab.directory / "far.pcap"
    dump = wire.capture(path)
    guest, record = exchanger(lab, "g1", sent, "--spoil")
    until(lambda: lab.port_frames() + lab.count("g1", "from_guest_drop_") >= len(expected),
          "all frames on the wire", 20)
    assert lab.count("g1", "from_guest_drop_") == 0, lab.ask("stats")
    # What we send lies in tcpdump's buffer too, until it is passed over.
    until(lambda: path.stat().st_size >= pcap_bytes(expected), "all frames in the capture", 20)
    wire.send(back)
    until(lambda: lab.count("g1", "to_guest_frames", "to_guest_drop_") >= len(back), "their way in")
    drops = lab.count("g1", "to_guest_drop_")
    found = lab.stop(guest)
    dump.send_signal(signal.SIGINT)
    dump.wait(10)
    lab.note(dump.stderr.read().strip().replace("\n", ", "))
    came = [frame for frame, _ in frames_of(path.read_bytes())]
    # No words but one: net_tap looks at checksums itself.
    got = [bytes.fromhex(line.removesuffix(" validated"))
           for line in record.read_text().splitlines()]
    assert found["faults"] == drops == 0 and found["sent"] == len(sent), (found, drops)
    same(expected, came, "from the guest")
    same(back, got, "to the guest")
    validate(lab, came + got)
    lab.note(f"{len(came)} frames of {len(sent)} from the guest, {len(got)} to it: byte for byte,"
             " and tshark finds them whole")


def add(driver):
    """The scenario for a driver."""
    def run(lab):
        wire = Wire(lab, driver)
        lab.start_daemon()
        exchange(lab, wire)
    scenario(f"{driver} between network namespaces: every size to the mtu, chained, tagged, blank"
             " checksums, GSO: byte for byte both ways", daemon=False)(run)


for each_driver in LINE:
    add(each_driver)


@scenario("netfront-pktgen exchange says which line of its file is no frame", daemon=False)
def words(lab):
    script, good = lab.directory / "script", "00" * 60
    for line in ("", "zz" * 60, "00" * 59, "00" * 65_536, f"{good} gso=0", f"{good} gso=x",
                 f"{good} black", f"{good} pieces=30,29", f"{good} pieces=60,0",
                 f"{'00' * 5000} pieces=5000"):
        script.write_text(f"{good} blank gso=1000 pieces=1,59\n{line}\n")
        refused = subprocess.run([PKTGEN, "exchange", script, lab.directory / "record"],
                                 capture_output=True, text=True, check=False)
        assert refused.returncode == 1 and f"{script}: line 2 is no frame (fix: HEX" in \
            refused.stderr, (line[-20:], refused)
