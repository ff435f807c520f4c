"""What can go wrong below a daemon, on demand. The guests themselves check that each of their slots
is answered once and that what arrives is what was sent."""

import signal
import time

from lab import scenario, until
from lifecycle import given_back, witnesses
from traffic import G1, G2, two_guests

FRAMES = 20_000
BATCH_INDEXES = (0, 15, 16, 31, 63)
BURST = 128  # slots, all of them in one batch


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


@scenario("the grant copy of one index of each batch fails: just that frame is dropped, by name")
def index_fails(lab):
    two_guests(lab)
    for index in BATCH_INDEXES:
        receiver = lab.pktgen("g2", "--numbered", "receive")
        before = fault(lab, "copy-operation", "--index", index, "--one-in", "1")
        # Bursts of more slots than the index, so that there are such batches in both directions.
        sent = lab.result(lab.pktgen("g1", "--numbered", "--count", 40 * BURST, "send",
                                     "--burst", BURST, "--rate", 100 * BURST, "--to", G2))
        refused = sent["errors"]
        until(lambda: lab.count("g2", "to_guest_frames", "to_guest_drop_") ==
              sent["sent"] - refused, f"{sent['sent']} frames")
        strikes = fault(lab, "copy-operation") - before
        failed = lab.count("g2", "to_guest_drop_copy_failed_frames")
        dropped = lab.count("g2", "to_guest_drop_")
        received = lab.stop(receiver)
        assert sent["unanswered"] == sent["bad_answers"] == 0, sent
        assert refused + failed == strikes > 0, f"{index}: {strikes}, {refused}, {failed}"
        assert received["received"] == sent["sent"] - refused - dropped, received
        # An answer that says the copy failed is an answer, too.
        assert received["bad_status"] == failed and received["bad_answers"] == 0, received
        for wrong in ("changed", "repeated", "reordered"):
            assert received[wrong] == 0, received
        lab.note(f"index {index}: {strikes} strikes, {refused} refused, {failed} failed to g2")


@scenario("whole grant-copy calls fail: tried again vif by vif, then dropped by name")
def calls_fail(lab):
    strikes, sent, refused, dropped = numbered_frames(lab, "copy-call", "--one-in", "3",
                                                      "--seed", "7")
    assert sent["errors"] == refused
    assert 0 < refused + dropped < sent["sent"] / 3 and strikes > 10


def domain_dies(lab, index, sends):
    """A domain dies at an operation of a batch, while it sends or receives."""
    lab.create("g2", G2)
    lab.create("g1", G1)
    other = lab.pktgen("g2", *(("--numbered", "receive") if sends else
                               ("send", "--burst", BURST, "--to", G1)))
    held = lab.daemon_holds()
    victim = lab.pktgen("g1", *(("--numbered", "send", "--burst", BURST, "--to", G2) if sends
                                else ("receive",)))
    until(lambda: lab.count("g1", "from_guest_frames", "to_guest_frames") > 1000, "traffic")
    before = fault(lab, "domain-dies", "--domain", "g1", "--index", index, "--at", 1)
    assert victim.wait(10) == -signal.SIGKILL
    took = given_back(lab, held)
    assert fault(lab, "domain-dies") == before + 1
    lab.tool("domain", "destroy", "g1")  # the toolstack cleans up after it
    found = lab.stop(other)
    lab.tool("domain", "destroy", "g2")
    for wrong in ("faults", "unanswered", "errors"):
        assert found[wrong] == 0, found
    lab.note(f"at index {index}: given back after {1000 * took:.0f} ms")


@scenario("a domain dies at a grant copy of its frames: nobody else notices, all is given back")
def dies_sending(lab):
    with witnesses(lab):
        for index in BATCH_INDEXES:
            domain_dies(lab, index, sends=True)


@scenario("a domain dies at a grant copy into its pages: nobody else notices, all is given back")
def dies_receiving(lab):
    with witnesses(lab):
        for index in BATCH_INDEXES:
            domain_dies(lab, index, sends=False)


@scenario("notifications get lost: no frame does")
def notifications_lost(lab):
    _, sent, refused, dropped = numbered_frames(lab, "notification-lost", "--one-in", "10",
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
    # A guest that is still reading xenstore would stand still with it.
    until(lambda: lab.count("g1", "to_guest_frames") > 50, "pings")
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
