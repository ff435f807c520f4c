"""Guests that say which multicast groups they want, and those that do not."""

import signal

from lab import scenario, until
from lifecycle import G4
from traffic import G1, G2, G3

JOINED, ALSO_JOINED, OTHER = "01:00:5e:00:00:01", "33:33:00:00:00:02", "01:00:5e:00:00:09"
ALL = "ff:ff:ff:ff:ff:ff"
FRAMES = 40  # to each address
KEY = "device/vif/0/request-multicast-control"


def guests(lab, *options):
    """A sender, a guest that joins two groups, one that takes what comes: the two receivers."""
    lab.create("g1", G1)
    lab.create("g2", G2)
    lab.create("g3", G3)
    witness = lab.pktgen("g3", "--events", "receive")
    chooser = lab.pktgen("g2", "--events", "--join", f"{JOINED},{ALSO_JOINED}", *options, "receive")
    until(lambda: lab.count("g2", "from_guest_multicast_answered") == 2, "joined")
    return chooser, witness


def send(lab, *to):
    """Frames to each of these by turns: how many of them came to the chooser, and the witness."""
    before = [lab.count(name, "to_guest_frames") for name in ("g2", "g3")]
    count = FRAMES * len(to)
    sent = lab.result(lab.pktgen("g1", "--events", "--count", count, "send", "--burst", "8",
                                 "--rate", "8000", "--to", ",".join(to)))
    assert sent["faults"] == 0 and sent["answered"] == count, sent
    until(lambda: lab.count("g3", "to_guest_frames") - before[1] == count, "the witness's frames")
    return lab.count("g2", "to_guest_frames") - before[0]


def shown(lab):
    connection = lab.ctl("show", "g2.0")["connection"]
    return connection["multicast_control"], {group.lower()
                                             for group in connection["multicast_groups"]}


@scenario("multicast control: joined groups arrive, others do not, until the guest leaves them")
def joined(lab):
    chooser, witness = guests(lab, "--multicast-control", "--leave-after", 3 * FRAMES)
    assert shown(lab) == ("on", {JOINED, ALSO_JOINED}), shown(lab)
    assert send(lab, OTHER) == 0
    assert lab.count("g2", "to_guest_multicast_filtered_frames") == FRAMES
    assert send(lab, JOINED, OTHER) == FRAMES
    assert send(lab, ALSO_JOINED, ALL) == 2 * FRAMES  # the last of which have it leave
    until(lambda: lab.count("g2", "from_guest_multicast_answered") == 4, "left")
    assert shown(lab) == ("on", set()), shown(lab)
    assert send(lab, JOINED, ALSO_JOINED, ALL) == FRAMES
    found = lab.stop(chooser)
    assert found["received"] == found["received_multicast"] == 4 * FRAMES, found
    assert found["faults"] == 0, found
    assert lab.stop(witness)["received_multicast"] == 8 * FRAMES


@scenario("multicast control goes on and off while the guest is connected")
def dynamic(lab):
    chooser, _ = guests(lab)
    groups = {JOINED, ALSO_JOINED}
    assert shown(lab) == ("off", groups), shown(lab)
    assert send(lab, JOINED, OTHER) == 2 * FRAMES
    for value, state, arrive in (("1", "on", 1), ("0", "off", 2), ("1", "on", 1), ("x", "off", 2)):
        assert lab.xenstore("g2", "write", KEY, value) is not None
        until(lambda: shown(lab) == (state, groups), state)
        assert send(lab, JOINED, OTHER) == arrive * FRAMES, value
    assert lab.log().count("request-multicast-control is neither 0 nor 1: \"x\"") == 1
    assert lab.connected() >= {"g2", "g3"}
    assert lab.stop(chooser)["faults"] == 0


@scenario("hostile_h22_the_65th_group_and_an_address_that_is_none_are_refused_in_a_lab")
def full(lab):
    lab.create("g2", G2)
    many = [f"01:00:5e:01:00:{number:02x}" for number in range(65)]
    chooser = lab.pktgen("g2", "--multicast-control", "--join", ",".join([*many, many[3], G4]),
                         "receive")
    until(lambda: lab.count("g2", "from_guest_multicast_refused") == 2, "refused")
    assert lab.count("g2", "from_guest_multicast_answered") == 65
    assert shown(lab) == ("on", set(many[:64])), shown(lab)
    found = lab.stop(chooser)
    assert found["errors"] == 2 and found["bad_answers"] == found["unanswered"] == 0, found


def restarted(lab, stop):
    chooser, witness = guests(lab, "--multicast-control")
    stop()
    lab.start_daemon()
    until(lambda: {"g2", "g3"} <= lab.connected(), "attached again")
    return chooser, witness


@scenario("multicast control: what was joined is known after a restart")
def restart(lab):
    restarted(lab, lab.drain_daemon)
    assert shown(lab) == ("on", {JOINED, ALSO_JOINED}), shown(lab)
    assert send(lab, JOINED, OTHER) == FRAMES


@scenario("multicast control: after the daemon was killed a guest gets all groups until it comes"
          " anew")
def crash(lab):
    def kill():
        lab.daemon.send_signal(signal.SIGKILL)
        lab.daemon.wait()
    chooser, _ = restarted(lab, kill)
    assert shown(lab)[0] == "list lost", shown(lab)
    assert send(lab, JOINED, OTHER) == 2 * FRAMES
    lab.stop(chooser)
    until(lambda: lab.xenstore("g2", "read", "device/vif/0/state") == "6", "it is closed")
    lab.pktgen("g2", "--events", "--multicast-control", "receive")
    assert shown(lab) == ("on", set()), shown(lab)
    assert send(lab, JOINED, OTHER) == 0
