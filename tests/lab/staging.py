"""Guests that have the backend keep their pages mapped: their frames need no hypervisor."""

import signal

from lab import scenario, until
from lifecycle import given_back, kill_two, witnesses
from queues import FLOWS, by_queue
from traffic import BIG_CONFIG, BIG_SIZES, G1, G2, RING_SLOTS, assert_intact, two_guests

PAGES = 512  # all buffers of both rings
FRAMES = 5_000
HYPERCALLS = ("from_guest_copy_calls", "to_guest_copy_calls")
STAGED = ("from_guest_staged_copies", "to_guest_staged_copies")


def numbered(lab, size, sender=(), receiver=()):
    """Numbered frames from g1 to g2, both with these options: how many arrived."""
    taker = lab.pktgen("g2", *receiver, "--numbered", "--events", "receive")
    sent = lab.result(lab.pktgen("g1", *sender, "--numbered", "--spoil", "--count", FRAMES,
                                 "--events", "send", "--size", size, "--rate", "20000",
                                 "--to", G2))
    assert sent["faults"] == 0 and sent["answered"] == FRAMES, sent
    until(lambda: lab.count("g2", "to_guest_frames", "to_guest_drop_") == FRAMES, "delivery")
    used = {key: lab.count("g2", key) for key in HYPERCALLS + STAGED}
    drops = lab.count("g2", "to_guest_drop_")
    received = lab.stop(taker)
    assert_intact(received)
    assert received["received"] + drops == FRAMES, f"{received}, {drops} dropped by name"
    return received, used


@scenario("frames between guests whose pages stay mapped: once, unchanged, with no grant copy")
def frames(lab):
    two_guests(lab)
    for size in (60, 61, 1514):
        received, used = numbered(lab, size, ("--staging",), ("--staging",))
        assert received["staged_pages"] == PAGES
        assert used["to_guest_copy_calls"] == 0, used
        assert used["to_guest_staged_copies"] == received["received"], used
    assert lab.ask("stats")["workers"][0]["worker_from_guest_copy_calls"] == 0


@scenario("guests with 4 and 8 queues whose pages stay mapped: each queue's frames go both ways"
          " with no grant copy, before and after a restart")
def several_queues(lab):
    two_guests(lab)
    counts = {"g1": 4, "g2": 8}
    guests = {name: lab.pktgen(name, "--staging", "--queues", counts[name], "--numbered",
                               "--events", "--seconds", "20", "both", "--linger", "--flows", FLOWS,
                               "--rate", 8_000 // counts[name], "--to", to)
              for name, to in (("g1", G2), ("g2", G1))}

    def copied():
        return {name: lab.count(name, *HYPERCALLS) for name in counts}

    def all_go(before):
        for name, count in counts.items():
            for counter in STAGED:
                until(lambda: all(n > 200 for n in by_queue(lab, name, counter)), counter)
                assert len(by_queue(lab, name, counter)) == count
        assert copied() == before, (copied(), before)

    def pages(name):
        return lab.ctl("show", f"{name}.0")["connection"]["staged_pages"]

    for name, count in counts.items():
        until(lambda: pages(name) == count * PAGES, "all pages are mapped")
    all_go(copied())  # what came before they were mapped was copied
    lab.drain_daemon()
    lab.start_daemon()
    until(lambda: lab.ctl("info")["vifs_connected"] == 2, "attached again")
    for name, count in counts.items():
        assert pages(name) == count * PAGES
    all_go({"g1": 0, "g2": 0})
    for name, guest in guests.items():
        found = lab.stop(guest)
        assert_intact(found)
        # What waited in the rings when the daemon came back is answered with an error (design 8).
        assert found["faults"] == found["errors"] <= counts[name] * RING_SLOTS, found
        assert found["staged_pages"] == counts[name] * PAGES, found


@scenario("a guest whose pages stay mapped, and one whose do not")
def one_of_two(lab):
    two_guests(lab)
    for options, staged in ((("--staging",), ()), ((), ("--staging",))):
        received, used = numbered(lab, 1514, options, staged)
        assert received["staged_pages"] == (PAGES if staged else 0)
        assert bool(used["to_guest_copy_calls"]) != bool(staged), used


@scenario("mapped pages: frames as long as the protocol has them")
def long_frames(lab):
    lab.drain_daemon()
    lab.configure(BIG_CONFIG)
    lab.start_daemon()
    lab.create("g1", G1)
    for size in BIG_SIZES:
        both = lab.result(lab.pktgen("g1", "--staging", "--numbered", "--count", "200", "--seconds",
                                     "10", "both", "--size", size, "--rate", "2000"))
        assert both["faults"] == 0 and both["answered"] > 0, (size, both)
    workers = lab.ask("stats")["workers"][0]
    assert workers["worker_from_guest_copy_calls"] == workers["worker_to_guest_copy_calls"] == 0


def restarted(lab, stop):
    """A daemon that stops in traffic and comes back: what was mapped is mapped again."""
    two_guests(lab)
    echo = lab.pktgen("g2", "--staging", "--events", "echo")
    pings = lab.pktgen("g1", "--staging", "--events", "ping", "--to", G2)
    until(lambda: lab.count("g1", "from_guest_staged_copies") > 100, "traffic")
    stop()
    lab.start_daemon()
    until(lambda: lab.count("g1", "from_guest_staged_copies") > 100, "traffic again")
    assert lab.count("g1", *HYPERCALLS) + lab.count("g2", *HYPERCALLS) == 0
    for vif in ("g1.0", "g2.0"):
        assert lab.ctl("show", vif)["connection"]["staged_pages"] == PAGES
    assert lab.stop(pings)["bad_answers"] == 0
    assert lab.stop(echo)["bad_answers"] == 0


@scenario("mapped pages are mapped again after a restart")
def restart(lab):
    restarted(lab, lab.drain_daemon)


@scenario("mapped pages are mapped again after the daemon was killed")
def crash(lab):
    def kill():
        lab.daemon.send_signal(signal.SIGKILL)
        lab.daemon.wait()
    restarted(lab, kill)


@scenario("a guest with mapped pages is killed in traffic: all is given back")
def killed(lab):
    with witnesses(lab):
        held = lab.daemon_holds()
        two_guests(lab)
        victims = [lab.pktgen("g2", "--staging", "echo"),
                   lab.pktgen("g1", "--staging", "both", "--to", G2)]
        until(lambda: lab.count("g1", "to_guest_staged_copies") > 1000, "traffic")
        assert lab.daemon_holds()["mapped"] >= held["mapped"] + 2 * PAGES
        kill_two(lab, victims)
        given_back(lab, held)
    assert not list(lab.directory.glob("staging-*"))


@scenario("a guest that disconnects has its pages back, and comes again without")
def comes_again(lab):
    lab.create("g1", G1)
    for options, pages in ((("--staging",), PAGES), ((), 0)):
        sent = lab.result(lab.pktgen("g1", *options, "--count", "1000", "send"))
        assert sent["faults"] == 0 and sent["staged_pages"] == pages, sent
        until(lambda: lab.xenstore("g1", "read", "device/vif/0/state") == "6", "it is closed")
    assert not list(lab.directory.glob("staging-*"))
