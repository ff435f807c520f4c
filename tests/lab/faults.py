"""What can go wrong below a daemon, on demand. The guests themselves check that each of their slots
is answered once and that what arrives is what was sent."""

import time

from lab import scenario, until
from traffic import G2, two_guests

FRAMES = 20_000


def fault(lab, name, *words):
    """Arms a fault: how often it had struck."""
    return int(lab.tool("fault", name, *words))


def numbered_frames(lab, *fault_words):
    """Numbered frames from g1 to g2 under a fault: its strikes, the sender's result, the drops."""
    two_guests(lab)
    receiver = lab.pktgen("g2", "--numbered", "--events", "receive")
    sender = lab.pktgen("g1", "--numbered", "--events", "--seconds", "4",
                        "send", "--rate", FRAMES // 2, "--to", G2)
    until(lambda: lab.count("g2", "to_guest_frames") > 0, "traffic")
    fault(lab, *fault_words)
    until(lambda: lab.count("g1", "from_guest_frames") > FRAMES, "frames")
    strikes = fault(lab, fault_words[0])
    refused = lab.count("g1", "from_guest_drop_copy_failed_frames")
    sent = lab.result(sender)
    time.sleep(0.2)  # longer than a lost notification can hold the last frames up
    dropped = lab.count("g2", "to_guest_drop_")
    received = lab.stop(receiver)
    assert strikes > 0, "the fault never struck"
    assert sent["unanswered"] == sent["bad_answers"] == 0, sent
    for wrong in ("changed", "repeated", "reordered"):
        assert received[wrong] == 0, received
    assert received["received"] + refused + dropped == sent["sent"], \
        f"{sent}, {received}, refused {refused}, dropped {dropped}"
    lab.note(f"{strikes} strikes; {sent['sent']} sent, {received['received']} received, "
             f"{refused} refused, {dropped} dropped by name")
    return strikes, sent, refused, dropped


@scenario("single grant copies fail: just those frames are dropped, by name")
def operations_fail(lab):
    strikes, sent, refused, dropped = numbered_frames(lab, "copy-operation", "--one-in", "200",
                                                      "--seed", "7")
    assert sent["errors"] == refused and refused + dropped == strikes
    assert refused > 0 and dropped > 0


@scenario("whole grant-copy calls fail: tried again vif by vif, then dropped by name")
def calls_fail(lab):
    strikes, sent, refused, dropped = numbered_frames(lab, "copy-call", "--one-in", "3",
                                                      "--seed", "7")
    assert sent["errors"] == refused
    assert 0 < refused + dropped < sent["sent"] / 3 and strikes > 10


@scenario("notifications get lost: no frame does")
def notifications_lost(lab):
    _, sent, refused, dropped = numbered_frames(lab, "notification-lost", "--one-in", "100",
                                                "--seed", "7")
    assert sent["faults"] == refused == dropped == 0


@scenario("notifications come twice: no frame does")
def notifications_twice(lab):
    _, sent, refused, dropped = numbered_frames(lab, "notification-twice", "--one-in", "2",
                                                "--seed", "7")
    assert sent["faults"] == refused == dropped == 0


@scenario("xenstore answers nobody for two seconds: traffic goes on, a guest that comes waits")
def slow_xenstore(lab):
    two_guests(lab)
    echo = lab.pktgen("g2", "--events", "echo")
    ping = lab.pktgen("g1", "--events", "--seconds", "4", "ping", "--rate", "500", "--to", G2)
    lab.tool("pause-xenstore", 2000)
    started = time.monotonic()
    before = lab.count_all("from_guest_frames")
    time.sleep(1)
    passed = lab.count_all("from_guest_frames") - before
    lab.create("g3", "00:16:3e:00:00:03")
    waited = time.monotonic() - started
    assert 1.5 < waited < 10, f"the third guest came after {waited:.1f} s"
    found = lab.result(ping)
    lab.stop(echo)
    assert passed > 200, f"{passed} frames in the second without xenstore"
    assert found["faults"] == 0 and found["received"] == found["sent"], found
    lab.note(f"{passed} frames in a second without xenstore; a guest came after {waited:.1f} s")
