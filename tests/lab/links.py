"""Ports whose link goes and comes, and whose device does."""

import time

from control import backend
from lab import LabError, scenario, until
from nic_filters import BELOW, Nic
from traffic import G1, G2, G3
from wires import OUTSIDE, Wire

FLAPS = 1000
HELD_RSS_GROWTH_MAX_KIB = 1024
TURNS = 4  # of a device that goes and comes; the first makes what stays for the next
NEWS_SECONDS = 1
BACK_SECONDS = 1.5  # a look each 250 ms, and opening it
SECOND_PORT = """
[[port]]
name = "null"
device = "net_null0,no-rx=1"

[defaults]"""


def held(lab):
    """(memory in KiB, free buffers, what else the daemon holds)"""
    counted = lab.daemon_holds()
    return counted.pop("rss"), lab.ctl("info")["buffers_free"], counted


def most_free(lab):
    """The same when the fewest frames are under way."""
    return max((held(lab) for _ in range(5)), key=lambda each: each[1])


def as_before(lab, before):
    """Nothing has leaked; few frames are under way at any time, and often none."""
    for _ in range(20):
        rss, free, counted = now = most_free(lab)
        if free >= before[1] and counted == before[2] and \
                rss <= before[0] + HELD_RSS_GROWTH_MAX_KIB:
            return lab.note(f"memory {before[0]} KiB before, {rss} KiB after")
    raise LabError(f"{before} before, {now} now")


def link_of(lab, name):
    [port] = lab.ctl("port", name)["ports"]
    return port["link"]


def far_received(wire):
    return int(wire.far.run("cat", "/proc/net/dev").split("far:")[1].split()[1])


def passes(lab, wire):
    """Frames go both ways: within how many seconds."""
    began = time.monotonic()
    out, back = far_received(wire), lab.count("g1", "to_guest_frames")
    frame = bytes.fromhex((G1 + OUTSIDE).replace(":", "")) + bytes([0x88, 0xb5]) + bytes(46)

    def both():
        wire.send([frame])
        return far_received(wire) > out and lab.count("g1", "to_guest_frames") > back
    until(both, "frames both ways", 3)
    return time.monotonic() - began


@scenario("a link that flaps 1,000 times outside the daemon: carrier follows, traffic is back"
          " within 1 s, nothing leaks", daemon=False)
def flaps(lab):
    wire = Wire(lab, "af_packet")
    lab.start_daemon()
    lab.create("g1", G1)
    guest = lab.pktgen("g1", "--events", "both", "--rate", 1000, "--burst", 1, "--to", OUTSIDE)
    passes(lab, wire)
    before = most_free(lab)
    wire.far.run("ip", "-batch", "-", given="link set far down\nlink set far up\n" * FLAPS)
    took = passes(lab, wire)
    assert took < 1, took
    for space, end in ((wire.far, "far"), (wire.near, "near")):
        for link, carrier in (("down", "0"), ("up", "1")):
            space.run("ip", "link", "set", end, link)
            until(lambda: backend(lab, "g1", "carrier") == carrier, f"{end} {link}", NEWS_SECONDS)
            assert link_of(lab, "wire") == link
        assert passes(lab, wire) < 1
    as_before(lab, before)
    found = lab.stop(guest)
    assert found["faults"] == found["unanswered"] == 0, found
    lab.note(f"back {1000 * took:.0f} ms after the last of {FLAPS}")


def between_others(lab):
    """Round trips between two guests of another port, for a while."""
    return lab.pktgen("g2", "--events", "--seconds", 0.8, "ping", "--rate", 500, "--to", G3)


def begin_vanishing(lab, driver):
    """A guest with traffic on a port of the driver, two on another: the wire, an echo, it."""
    wire = Wire(lab, driver, more=SECOND_PORT)
    lab.start_daemon()
    files = lab.directory / "config" / "vif.d"
    for name, mac in (("g1", G1), ("g2", G2), ("g3", G3)):
        place = 'nic = "wire"' if name == "g1" else 'nic = "null"\nmtu = 1500'
        (files / f"{name}.toml").write_text(f'mac = "{mac}"\n{place}\n')
        lab.create(name, mac)
    echo = lab.pktgen("g3", "--events", "echo")
    guest = lab.pktgen("g1", "--events", "both", "--rate", 2000, "--burst", 1, "--to", OUTSIDE)
    passes(lab, wire)
    return wire, echo, guest


def go(lab, wire):
    """The interface is deleted: its guest is told, what it sends is dropped, no other notices."""
    ping = between_others(lab)
    wire.near.run("ip", "link", "del", "near")
    until(lambda: backend(lab, "g1", "carrier") == "0", "carrier 0", NEWS_SECONDS)
    assert link_of(lab, "wire") == "gone"
    drops = lab.count("g1", "from_guest_drop_too_early_frames")
    until(lambda: lab.count("g1", "from_guest_drop_too_early_frames") > drops + 500, "drops", 2)
    found = lab.result(ping)
    assert found["faults"] == 0 and found["received"] == found["sent"] > 200, found
    assert link_of(lab, "null") == "up" and backend(lab, "g2", "carrier") in (None, "1")


@scenario("a port whose device vanishes under traffic and comes back: carrier off and on, drops by"
          " name, other vifs unaffected, nothing leaks", daemon=False)
def vanishes(lab):
    wire, echo, guest = begin_vanishing(lab, "af_packet")
    for turn in range(TURNS):
        logged = lab.log().count(" dpdk-netback ")
        go(lab, wire)
        wire.connect()
        began = time.monotonic()
        until(lambda: backend(lab, "g1", "carrier") == "1", "carrier 1", BACK_SECONDS)
        passes(lab, wire)
        took = time.monotonic() - began
        assert took < BACK_SECONDS and link_of(lab, "wire") == "up", took
        assert "promiscuity 1" in wire.near.run("ip", "-d", "link", "show", "near")
        # That it has gone and is back, maybe before the far end is up; that g2 has gone and come.
        assert lab.log().count(" dpdk-netback ") <= logged + 6, lab.log()
        if turn == 0:
            before = most_free(lab)
    as_before(lab, before)
    lab.stop(echo)
    found = lab.stop(guest)
    assert found["faults"] == found["unanswered"] == 0, found
    lab.note(f"traffic both ways {1000 * took:.0f} ms after the device came back")


@scenario("an af_xdp port whose interface vanishes under traffic: gone until the daemon is started"
          " anew, other vifs unaffected", daemon=False)
def vanishes_xdp(lab):
    wire, echo, guest = begin_vanishing(lab, "af_xdp")
    go(lab, wire)
    wire.connect()
    time.sleep(NEWS_SECONDS)
    assert link_of(lab, "wire") == "gone" and backend(lab, "g1", "carrier") == "0"
    assert lab.log().count("until the daemon is started anew") == 1, lab.log()
    lab.drain_daemon()
    lab.start_daemon()
    until(lambda: backend(lab, "g1", "carrier") == "1", "carrier 1", 3)
    passes(lab, wire)
    lab.stop(echo)
    assert lab.stop(guest)["unanswered"] == 0


@scenario("a device of which the driver says that it has been removed: closed, opened when it may"
          " be, its filters programmed again")
def removed(lab):
    nic = Nic(lab)
    lab.create("g1", G1)
    guest = lab.pktgen("g1", "--events", "send", "--rate", 2000, "--burst", 1, "--to", OUTSIDE)
    nic.becomes(unicast={G1}, allmulticast=True)
    free = lab.ctl("info")["buffers_free"]
    calls = len(nic.calls())
    nic.set("removed", "")
    until(lambda: backend(lab, "g1", "carrier") == "0", "carrier 0", NEWS_SECONDS)
    assert link_of(lab, "null") == "gone"
    until(lambda: "went while it was opened" in lab.log(), "an attempt", 3)
    time.sleep(1)
    assert lab.log().count("tried again") == 1 and lab.log().count("has gone") == 1, lab.log()
    (nic.directory / "removed").unlink()
    until(lambda: backend(lab, "g1", "carrier") == "1", "carrier 1", 3)
    again = {name for name, _, _ in nic.calls(calls)}
    assert {"mac_addr_add", "allmulticast_enable"} <= again and "mac_addr_remove" not in again
    port = lab.ctl("port", "null")["ports"][0]
    assert port["running"] and port["allmulticast"], port
    sent = lab.port_frames()
    until(lambda: lab.port_frames() > sent, "frames", 1)
    until(lambda: lab.ctl("info")["buffers_free"] >= free, "no buffer is missing")
    assert lab.stop(guest)["faults"] == 0
    lab.drain_daemon()
    lab.start_daemon([*BELOW, nic.directory])
