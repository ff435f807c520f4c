"""Ports on shared memory, with DPDK's testpmd at the other end: what comes out is what was sent,
byte for byte, both ways; the peer goes and comes back."""

import subprocess
import time

from capture import frames_of
from control import backend
from crafted import ALL_KINDS, TCP, Flow, Kind, Maker
from lab import LabError, config_of, scenario, until
from links import link_of
from traffic import G1
from wires import OUTSIDE, exchanger, same, sizes, validate, write_pcap

MTU = 2030  # a frame, with a tag, is one buffer
GSO = [(1515, 1400), (4097, 536), (20_000, 1401)]
STEP = 97  # between sizes
NEWS_SECONDS = 1
BACK_SECONDS = 1


class Memif:
    """A port of the daemon's, and who is at the other end."""

    def __init__(self, lab, role):
        self.lab, self.socket = lab, lab.directory / "memif.sock"
        self.role, self.peers = role, 0
        self.line = f"net_memif0,role={role},socket={self.socket},socket-abstract=no"
        lab.configure(config_of("shared", self.line, f"mtu = {MTU}").replace(
            "\n[defaults]", f"mtu = {MTU}\n[defaults]"))

    def peer(self, mode, *more):
        """A testpmd that forwards; `more`: devices besides the memif's."""
        self.peers += 1
        other = {"server": "client", "client": "server"}[self.role]
        devices = [f"net_memif0,role={other},socket={self.socket},socket-abstract=no", *more]
        words = ["dpdk-testpmd", "--no-huge", "-m", "128", "--no-pci", "--no-telemetry",
                 "--iova-mode=va", f"--file-prefix={self.socket.parent.name}-{self.peers}",
                 "--lcores=0@0,1@0", *(word for each in devices for word in ("--vdev", each)), "--",
                 "--interactive", "--total-num-mbufs=4096",
                 f"--forward-mode={mode}", "--no-flush-rx", "--rxd=512", "--txd=512"]
        log = open(self.lab.directory / f"testpmd{self.peers}.log", "w")
        process = subprocess.Popen(words, text=True, stdin=subprocess.PIPE, stdout=log, stderr=log)
        self.lab.processes.append(process)
        return process

    def clear(self):
        """A server that was killed leaves its socket."""
        if self.role == "client":
            self.socket.unlink()

    def up(self, seconds=10):
        until(lambda: link_of(self.lab, "shared") == "up", "the link", seconds)


def go(process):
    """It forwards from here on."""
    print("start", file=process.stdin, flush=True)


def end(process):
    """As a user does: what it wrote is in its files."""
    process.communicate("quit\n", timeout=20)


def some(mtu, kind):
    """Of the sizes a few, and the longest."""
    every = list(sizes(mtu, kind))
    return every[::STEP] + every[-2:]


def from_guest(maker):
    sent = []
    for plain in ALL_KINDS:
        tagged = Kind(plain.version, plain.protocol, maker.tag())
        for kind in (plain, tagged):
            for size in some(MTU, kind):
                sent += [maker.blank(kind, size), maker.chained(kind, size, blank=True)]
        sent += [maker.whole(plain, size) for size in some(MTU, plain)]
    for version in (4, 6):
        sent += [maker.segmented(version, size, segment) for size, segment in GSO]
    return sent


@scenario("memif: frames of each kind are the peer's byte for byte both ways; it is killed and"
          " comes back: carrier off and on, traffic within 1 s", daemon=False)
def server(lab):
    memif = Memif(lab, "server")
    lab.start_daemon()
    lab.create("g1", G1)
    assert link_of(lab, "shared") == "down"
    maker = Maker(Flow(OUTSIDE, G1), 2)
    back = [maker.whole(kind, size).bytes for kind in [*ALL_KINDS, Kind(6, TCP, maker.tag())]
            for size in some(MTU, kind)]
    write_pcap(lab.directory / "in.pcap", back)
    sent = from_guest(Maker(Flow(G1, OUTSIDE)))
    expected = [frame for each in sent for frame in each.wire]
    peer = memif.peer("io", f"net_pcap0,rx_pcap={lab.directory / 'in.pcap'},"
                      f"tx_pcap={lab.directory / 'out.pcap'}")
    memif.up()
    guest, record = exchanger(lab, "g1", [])
    go(peer)
    until(lambda: record.exists() and len(record.read_text().splitlines()) >= len(back),
          "the peer's frames")
    assert lab.stop(guest)["faults"] == 0
    same(back, [bytes.fromhex(line) for line in record.read_text().splitlines()], "to the guest")
    # The peer looks by now: its rings have had no room for us before.
    guest, _ = exchanger(lab, "g1", sent)
    until(lambda: lab.port_frames() >= len(expected), "all frames at the peer")
    found = lab.stop(guest)
    end(peer)
    assert found["faults"] == found["unanswered"] == 0 and found["sent"] == len(sent), found
    came = [frame for frame, _ in frames_of((lab.directory / "out.pcap").read_bytes())]
    same(expected, came, "from the guest")
    validate(lab, came)
    lab.note(f"{len(came)} frames from the guest, {len(back)} to it: byte for byte")
    until(lambda: link_of(lab, "shared") == "down", "no link", NEWS_SECONDS)
    come_and_go(lab, memif, 2)


def come_and_go(lab, memif, turns):
    """Under traffic, and each time it comes the guest has echoes within a second."""
    ping = lab.pktgen("g1", "--events", "ping", "--rate", 1000, "--to", OUTSIDE)
    for _ in range(turns):
        peer = memif.peer("macswap")
        memif.up()
        began = time.monotonic()
        go(peer)
        until(lambda: backend(lab, "g1", "carrier") != "0", "carrier 1", BACK_SECONDS)
        before = lab.count("g1", "to_guest_frames")
        until(lambda: lab.count("g1", "to_guest_frames") > before + 10, "echoes", BACK_SECONDS)
        took = time.monotonic() - began
        assert took < BACK_SECONDS, took
        sent = lab.port_frames()
        peer.kill()
        peer.wait()
        until(lambda: backend(lab, "g1", "carrier") == "0", "carrier 0", NEWS_SECONDS)
        assert link_of(lab, "shared") == ("down" if memif.role == "server" else "gone")
        assert lab.port_frames() >= sent  # what was counted stays
        memif.clear()
    assert lab.stop(ping)["faults"] == 0
    lab.note(f"echoes {1000 * took:.0f} ms after the link was up")


@scenario("memif: a client is opened again when its server is there again, and says so when there"
          " is none", daemon=False)
def client(lab):
    memif = Memif(lab, "client")
    try:
        lab.start_daemon()
        raise AssertionError("it started")
    except LabError as error:
        assert f"there is no socket {memif.socket} (fix: start its server" in str(error), error
    peer = memif.peer("io")
    until(memif.socket.exists, "the server's socket")
    lab.start_daemon()
    lab.create("g1", G1)
    memif.up()
    peer.kill()
    peer.wait()
    until(lambda: link_of(lab, "shared") == "gone", "the port gone", NEWS_SECONDS)
    memif.clear()
    come_and_go(lab, memif, 1)
