"""What the control thread does about guests that lie, storms in xenstore, links and interfaces."""

import contextlib
import os
import re
import subprocess
import time

from lab import CONFIG, DAEMON, PKTGEN, scenario, until, xen_programs
from traffic import G1, G2, G3

STORM_WRITES = 30_000
STORM_RSS_GROWTH_MAX_KIB = 1024
LIES = {"impossible-producer": "claims more requests than the ring holds",
        "bad-extra-type": "extra info of an invalid type",
        "unfinished-frame": "a frame that goes on beyond the last request",
        "crosses-page": "a slot that reaches beyond its page"}
FIRST_WAITS = (1, 2)  # seconds; those of later lies are ended by hand

# Writes a node of the own domain over and over.
STORM = f"""
import ctypes
xenstore = ctypes.CDLL("libxenstore.so.4")
xenstore.xs_open.restype = ctypes.c_void_p
store = ctypes.c_void_p(xenstore.xs_open(0))
print("connected", flush=True)
for _ in range({STORM_WRITES}):
    assert xenstore.xs_write(store, 0, b"device/vif/0/state", b"1", 1)
"""


def backend(lab, name, key):
    return lab.xenstore("0", "read", f"/local/domain/0/backend/vif/{lab.domid(name)}/0/{key}")


def states_written(lab, name):
    """Our states of a vif, in the order in which the daemon wrote them."""
    return [int(state) for state in
            re.findall(rf"vif {lab.domid(name)}\.0: state (\d)", lab.log())]


@scenario("guests that lie are quarantined, say why, may come again, and nobody else notices")
def lies(lab):
    lab.drain_daemon()
    lab.configure(CONFIG.replace('"info"', '"debug"'))
    lab.start_daemon()
    for name, mac in (("g1", G1), ("g2", G2), ("g3", G3)):
        lab.create(name, mac)
    echo = lab.pktgen("g3", "--events", "echo")
    ping = lab.pktgen("g2", "--events", "ping", "--rate", "1000", "--to", G3)
    for number, (lie, why) in enumerate(LIES.items()):
        liar = lab.pktgen("g1", "lie", lie)
        until(lambda: lab.ctl("show", "g1.0")["state"] == "quarantined", "quarantine")
        began = time.monotonic()
        said = lab.result(liar)
        # Nothing is taken of a ring that claims the impossible; else the honest frames before are.
        answered = 0 if lie == "impossible-producer" else 4
        assert said["faults"] == 0 and said["answered"] >= answered, said
        vif = lab.ctl("show", "g1.0")
        assert why in vif["error"] and backend(lab, "g1", "error") == vif["error"], vif
        assert states_written(lab, "g1") == [2, 4, 5, 6] * (2 * number + 1)
        honest = lab.start("g1", PKTGEN, "--count", "100", "send")
        if number >= len(FIRST_WAITS):
            assert 0 < vif["rearm_ms"] <= 10_000, vif
            lab.ctl("rearm", "g1.0")
        assert lab.result(honest)["answered"] == 100
        waited = time.monotonic() - began
        if number < len(FIRST_WAITS):
            assert FIRST_WAITS[number] - 0.2 < waited < FIRST_WAITS[number] + 2, waited
        else:
            assert waited < 1, f"{waited:.1f} s, and it was to be over"
        assert backend(lab, "g1", "error") is None
        lab.note(f"{lie}: served again after {waited:.1f} s")
    found = lab.stop(ping)
    lab.stop(echo)
    assert found["faults"] == 0 and found["round_trips"] == found["sent"] > 1000, found
    assert "error" not in lab.ctl("show", "g2.0")


@scenario("a drain and the start after it change nothing in xenstore")
def drain_is_silent(lab):
    lab.create("g1", G1)
    sender = lab.pktgen("g1", "--events", "send", "--rate", "1000")
    before = lab.xenstore("0", "ls", "-f")
    assert "feature-rx-copy" in before
    lab.drain_daemon()
    assert lab.xenstore("0", "ls", "-f") == before
    lab.start_daemon()
    until(lambda: lab.count("g1", "from_guest_frames") > 0, "frames after the restart")
    assert lab.xenstore("0", "ls", "-f") == before
    lab.stop(sender)


@scenario(f"{STORM_WRITES:,} writes of a guest to its state: no memory grows, others are served")
def storm(lab):
    stormy = lab.create("g1", G1)
    lab.create("g3", G3)
    held = lab.daemon_holds()["rss"]
    process = lab.start("g1", "python3", "-c", STORM)
    assert "connected" in process.stdout.readline()
    began, largest = time.monotonic(), held
    lab.create("g2", G2)
    sent = lab.result(lab.pktgen("g2", "--count", "1000", "send"))
    took = time.monotonic() - began
    assert process.poll() is None, "the storm was over before the other guest was served"
    assert sent["answered"] == 1000 and took < 5, f"{took:.1f} s: {sent}"
    while process.poll() is None:
        largest = max(largest, lab.daemon_holds()["rss"])
        time.sleep(0.1)
    rate = STORM_WRITES / (time.monotonic() - began)
    assert process.returncode == 0, process.stderr.read()
    assert largest <= held + STORM_RSS_GROWTH_MAX_KIB, f"{held} KiB before, {largest} at most"
    assert lab.ctl("show", f"{stormy}.0")["state"] == "waiting"
    lab.note(f"{rate:,.0f} writes/s, {held} KiB before, at most {largest}; another guest was"
             f" served within {took:.1f} s")


class Network:
    """A network of the daemon's own with a veth pair, so that the machine's stays as it is."""

    def __init__(self, lab, device, more=""):
        self.lab, self.name = lab, f"netback-{os.getpid()}"
        self.place = ["ip", "netns", "exec", self.name]
        port = f'device = "{device}"\n{more}'
        self.config = CONFIG.replace('device = "net_null0,no-rx=1"', port)
        assert self.config != CONFIG

    def __enter__(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        self.run("ip", "link", "set", "veth1", "up")
        self.lab.drain_daemon()
        self.lab.daemon_place = self.place
        self.lab.configure(self.config)
        return self

    def __exit__(self, *_):
        self.lab.daemon_place = []
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def run(self, *words):
        """What a command in there printed."""
        return subprocess.run([*self.place, *words], check=True, capture_output=True,
                              text=True).stdout


@scenario("a port on a veth: its mtu and its mode, a peer's missing checksums, its link as carrier")
def veth_port(lab):
    with Network(lab, "net_af_packet0,iface=veth0", "mtu = 1400") as network:
        lab.start_daemon()
        warning = ("port 'null': veth1 sends without checksums and this driver does not see that:"
                   " guests drop such frames (fix: ethtool -K veth1 tx off)")
        assert warning in lab.log()
        lab.drain_daemon()
        network.run(xen_programs() / "sbin/ethtool", "-K", "veth1", "tx", "off")
        lab.start_daemon()
        assert lab.log().count(warning) == 1

        def mode():
            shown = network.run("ip", "-d", "link", "show", "veth0")
            assert "mtu 1400" in shown, shown
            return re.search(r"promiscuity \d", shown)[0]
        assert mode() == "promiscuity 0"
        assert not lab.ctl("port", "null")["ports"][0]["promiscuous"]

        (lab.directory / "config" / "vif.d" / "g1.toml").write_text(f'mac = "{G1}"\nmtu = 1400\n')
        lab.create("g1", G1)
        sender = lab.pktgen("g1", "--events", "send", "--rate", "100")
        until(lambda: mode() == "promiscuity 1", "promiscuous: it takes no address of a vif's")
        port = lab.ctl("port", "null")["ports"][0]
        assert port["promiscuous"] and port["promiscuous_fallbacks"] == 1, port
        assert lab.ctl("stats")["ports"][0]["promiscuous_fallbacks"] == 1
        assert backend(lab, "g1", "carrier") is None, "absent says up"
        for link, carrier in (("down", "0"), ("up", "1")):
            network.run("ip", "link", "set", "veth1", link)
            until(lambda: backend(lab, "g1", "carrier") == carrier, f"carrier {carrier}", 5)
            assert lab.ctl("port", "null")["ports"][0]["link"] == link
        lab.stop(sender)
        until(lambda: mode() == "promiscuity 0", "promiscuous no more")
        lab.drain_daemon()
        lab.start_daemon()


@scenario("a tap that another process holds: one line, and the holder notices nothing")
def busy_tap(lab):
    device = "net_tap0,iface=nb0"
    with Network(lab, device):
        lab.start_daemon()
        second = subprocess.run(
            lab.command(0, [*lab.daemon_place, DAEMON, "--config", lab.directory / "config",
                            "--socket", lab.directory / "second.sock"]),
            capture_output=True, text=True, timeout=20, check=False)
        assert second.stderr == (
            f"dpdk-netback: cannot start: check ports: port 'null': device '{device}': tap nb0 is"
            " in use by another process (fix: choose another iface=)\n"), second.stderr
        assert second.returncode == 1
        assert lab.ctl("port", "null")["ports"][0]["link"] == "up"
