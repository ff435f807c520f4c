"""Domains that come, go and die, and what the daemon holds of them afterwards."""

import signal
import time

from lab import Lab, scenario, until
from traffic import G1, G2, G3

CYCLES = 100
RSS_GROWTH_MAX_KIB = 1024


@scenario("a domain may write its own nodes and nobody else's")
def permissions(lab):
    one, two = lab.create("g1", G1), lab.create("g2", G2)
    assert lab.xenstore("g1", "write", "data/x", "hello") is not None
    assert lab.xenstore("0", "read", f"/local/domain/{one}/data/x") == "hello"
    assert lab.xenstore("g1", "write", "name", "evil") is None
    assert lab.xenstore("g1", "write", f"/local/domain/{two}/data/x", "evil") is None
    assert lab.xenstore("g1", "read", f"/local/domain/{two}/device/vif/0/mac") is None
    assert lab.xenstore("g1", "read", "device/vif/0/mac") == G1
    assert lab.xenstore("g1", "read", f"/local/domain/0/backend/vif/{one}/0/mac") == G1
    assert lab.xenstore("g1", "write", f"/local/domain/0/backend/vif/{one}/0/mac", "x") is None


def killed(lab, verb, *words):
    """Kills a guest's process in traffic; another guest's frames go on, and all is given back."""
    lab.create("g3", G3)
    lab.create("g4", "00:16:3e:00:00:04")
    others = lab.pktgen("g4", "--events", "echo")
    held = lab.daemon_holds()
    lab.create("g1", G1)
    lab.create("g2", G2)
    victims = [lab.pktgen("g1", verb, *words), lab.pktgen("g2", "send", "--to", G1)]
    ping = lab.pktgen("g3", "--count", "3000", "ping", "--to", "00:16:3e:00:00:04")
    until(lambda: lab.count("g1", "from_guest_frames", "to_guest_frames") > 1000, "traffic")
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    for name in ("g1", "g2"):
        lab.tool("domain", "destroy", name)
    found = lab.result(ping)
    assert found["received"] == 3000 and found["faults"] == 0, found
    lab.stop(others)
    until(lambda: lab.daemon_holds()["fds"] <= held["fds"], f"descriptors as before: {held}")
    until(lambda: lab.daemon_holds()["mapped"] <= held["mapped"], f"pages as before: {held}")


@scenario("a guest that is killed while it sends: nobody else notices, all is given back")
def killed_sending(lab):
    killed(lab, "send", "--to", G2)


@scenario("a guest that is killed while it receives: nobody else notices, all is given back")
def killed_receiving(lab):
    killed(lab, "receive")


@scenario(f"{CYCLES} domains come, send and are destroyed: nothing stays behind")
def cycles(lab):
    started = time.monotonic()
    for cycle in range(CYCLES):
        lab.create("g1", G1)
        sender = lab.pktgen("g1", "send")
        if cycle % 2 == 0:
            until(lambda: lab.count("g1", "from_guest_frames") > 0, "frames")
        lab.tool("domain", "destroy", "g1")
        sender.wait()
        until(lambda: not lab.ctl("list")["vifs"], "the vif is gone")
        if cycle == CYCLES // 10:
            first = lab.daemon_holds()
    last = lab.daemon_holds()
    lab.note(f"{CYCLES} in {time.monotonic() - started:.1f} s; after {CYCLES // 10}: {first}, "
             f"at the end: {last}")
    assert last["fds"] == first["fds"] and last["mapped"] == first["mapped"]
    assert last["rss"] <= first["rss"] + RSS_GROWTH_MAX_KIB


@scenario("two labs on one machine know nothing of each other")
def two_labs(lab):
    lab.create("g1", G1)
    with Lab() as other:
        other.start_daemon()
        other.create("h1", G1)
        assert [lab.domid("g1"), other.domid("h1")] == [1, 1]
        sender = other.pktgen("h1", "send")
        until(lambda: other.count("h1", "from_guest_frames") > 1000, "frames")
        assert lab.port_frames() == 0
        assert other.stop(sender)["faults"] == 0
        assert other.port_frames() > 1000
        other.drain_daemon()
