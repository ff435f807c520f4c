"""Frames between a lab's domains, each of them numbered and checked."""

import pathlib
import re
import signal
import time

from lab import DAEMON, scenario, sha256, until

RING_SLOTS = 256
G1, G2, G3 = "00:16:3e:00:00:01", "00:16:3e:00:00:02", "00:16:3e:00:00:03"
# Nearly all of it is the port's: net_null wakes nobody, so the worker looks every 100 us.
IDLE_SHARE_MAX, IDLE_GUEST_SHARE_MAX = 0.3, 0.05
NOBODY = "02:00:00:00:00:77"
# A port that returns what it gets, and frames as long as the protocol has them.
BIG_CONFIG = """
memory = "pages"
memory-mb = 128
wait-for-hotplug = false

[[port]]
name = "loop"
device = "net_ring0"
mtu = 65517

[defaults]
nic = "loop"
mtu = 65517
"""
BIG_SIZES = (1515, 4095, 4096, 4097, 8192, 9014, 16_385, 40_000, 65_531)


def two_guests(lab):
    lab.create("g1", G1)
    lab.create("g2", G2)


def assert_intact(received):
    for fault in ("changed", "repeated", "reordered", "bad_status"):
        assert received[fault] == 0, received


@scenario("the daemon is the one of a real host, and knows of no lab")
def same_daemon(lab):
    lab.note(f"sha256 of the daemon: {sha256(DAEMON)}")
    assert b"xenlab" not in DAEMON.read_bytes()
    assert lab.ctl("info")["version"]


@scenario("frames from a guest to a port: all answered, all sent")
def to_the_port(lab):
    lab.create("g1", G1)
    sent = lab.result(lab.pktgen("g1", "--count", "200000", "send", "--size", "60"))
    assert sent["sent"] == sent["answered"] == 200_000 and sent["faults"] == 0, sent
    assert lab.port_frames() == 200_000
    lab.note(f"{sent['sent_per_s']:,.0f} frames/s")


def sleeps(process):
    """How often it has given its CPU away itself."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", status, re.M)[1])


@scenario("whoever sends at a rate and sleeps meanwhile wakes for each burst, by one queue, by two"
          " and both ways")
def paced(lab):
    lab.create("g1", G1)
    burst, bursts, seconds = 8, 1_000, 2
    for words in (("send",), ("--queues", "2", "send"), ("both",)):
        sender = lab.pktgen("g1", "--events", "--seconds", seconds, *words, "--burst", burst,
                            "--rate", burst * bursts, "--to", NOBODY)
        time.sleep(0.3)
        before = sleeps(sender)
        time.sleep(1)
        slept = sleeps(sender) - before
        sent = lab.result(sender)
        queues = len(sent.get("queues", [0]))
        assert sent["sent"] >= 0.95 * seconds * bursts * burst * queues, sent
        # Two in 10 ms, for the answers and then as long as it sleeps at most, would be 200.
        assert slept >= bursts / 2, f"{words}: {slept} sleeps a second"
        lab.note(f"{' '.join(words)}: {slept} sleeps for {bursts} bursts a second of each queue")


@scenario("frames from guest to guest, of every size: once, unchanged, in order")
def guest_to_guest(lab):
    count = 5_000
    two_guests(lab)
    for size in (60, 61, 62, 63, 64, 65, 127, 128, 129, 1000, 1486, 1513, 1514):
        receiver = lab.pktgen("g2", "--numbered", "--events", "receive")
        sender = lab.pktgen("g1", "--numbered", "--count", count, "--events",
                            "send", "--size", size, "--rate", "20000", "--to", G2)
        sent = lab.result(sender)
        assert sent["faults"] == 0 and sent["answered"] == count, sent
        until(lambda: lab.count("g2", "to_guest_frames", "to_guest_drop_") == count, "delivery")
        drops = lab.count("g2", "to_guest_drop_")
        received = lab.stop(receiver)
        assert_intact(received)
        assert received["received"] + drops == count, f"{received}, {drops} dropped by name"
        assert received["received_bytes"] == received["received"] * size, received
        assert received["received_multicast"] == 0, received
        lab.note(f"{size} bytes: {received['received']} received, {drops} dropped by name")


@scenario("who is stopped late has received all that had come by then")
def stopped_late(lab):
    vifs = 4
    macs = [f"00:16:3e:00:00:{number:02x}" for number in range(0x10, 0x10 + vifs)]
    lab.create("g1", G1)
    lab.create("g2")
    lab.tool("vif", "add", "g2", "--count", vifs, f"mac={macs[0]}")
    for words in (("--vifs", vifs, "receive"), ("--vifs", vifs, "hold"), ("receive",),
                  ("--count", 1, "both", "--linger", "--to", NOBODY)):
        to = macs if "--vifs" in words else macs[:1]
        before = lab.count("g2", "to_guest_frames")
        receiver = lab.pktgen("g2", "--numbered", *words)
        receiver.send_signal(signal.SIGSTOP)
        count = len(to) * RING_SLOTS // 2
        sent = lab.result(lab.pktgen("g1", "--numbered", "--count", count, "send", "--rate",
                                     20_000, "--to", ",".join(to)))
        until(lambda: lab.count("g2", "to_guest_frames") - before == count, "the last frames")
        receiver.send_signal(signal.SIGTERM)
        receiver.send_signal(signal.SIGCONT)
        found = lab.result(receiver)
        assert sent["faults"] == found["faults"] == 0, (words, sent, found)
        assert found["received"] == count, (words, found)


@scenario("guests that send and receive at once, to each other and to the port by turns")
def both_at_once(lab):
    two_guests(lab)
    outside = "00:16:3e:00:01:00"
    guests = [lab.pktgen(name, "--numbered", "--events", "--count", "20000", "both", "--linger",
                         "--rate", "20000", "--to", f"{other},{outside}")
              for name, other in (("g1", G2), ("g2", G1))]
    until(lambda: lab.count_all("from_guest_frames") == 40_000, "all sent")
    until(lambda: sum(lab.count(name, "to_guest_frames", "to_guest_drop_")
                      for name in ("g1", "g2")) + lab.port_frames() == 40_000, "all delivered")
    counted = {name: lab.count(name, "to_guest_frames") for name in ("g1", "g2")}
    for name, guest in zip(("g1", "g2"), guests):
        found = lab.stop(guest)
        assert found["sent"] == found["answered"] == 20_000 and found["faults"] == 0, found
        assert found["received"] == counted[name] > 0, (found, counted)
        assert_intact(found)
    lab.note(f"received: {counted}, of 10,000 each; {lab.port_frames()} to the port, of 20,000")


@scenario("frames of up to 64 KiB in several slots: guest to guest, and to a port and back",
          daemon=False)
def several_slots(lab):
    lab.configure(BIG_CONFIG)
    (lab.directory / "config" / "vif.d" / "g1.toml").write_text(
        f'mac = "{G1}"\nrx-filter = false\n')
    lab.start_daemon()
    two_guests(lab)
    receiver = lab.pktgen("g2", "--events", "echo")
    for size in BIG_SIZES:
        for target in (G2, NOBODY):
            before = lab.port_frames()
            found = lab.result(lab.pktgen("g1", "--events", "--numbered", "--count", "200", "ping",
                                          "--size", size, "--to", target))
            assert found["sent"] == found["received"] == 200 and found["faults"] == 0, found
            assert found["received_bytes"] == 200 * size, found
            by_port = lab.port_frames() - before
            assert by_port == (200 if target == NOBODY else 0), f"{by_port} by the port"
    found = lab.stop(receiver)
    assert found["faults"] == 0 and found["received"] == 200 * len(BIG_SIZES), found
    lab.note(f"{', '.join(map(str, BIG_SIZES))} bytes, 200 frames each there and back")


@scenario("pages that a guest overwrites once they are answered: frames stay as they were")
def spoilt_pages(lab):
    two_guests(lab)
    receiver = lab.pktgen("g2", "--numbered", "--events", "receive")
    receiver.send_signal(signal.SIGSTOP)  # its buffers fill, then its backlog
    count = 3 * RING_SLOTS - 20
    sent = lab.result(lab.pktgen("g1", "--numbered", "--spoil", "--count", count, "send",
                                 "--size", "1514", "--rate", "20000", "--to", G2))
    assert sent["faults"] == 0 and sent["answered"] == count, sent
    assert lab.count("g2", "to_guest_frames") <= RING_SLOTS, "nobody waits"
    receiver.send_signal(signal.SIGCONT)
    until(lambda: lab.count("g2", "to_guest_frames", "to_guest_drop_") == count, "delivery")
    assert lab.count("g2", "to_guest_drop_") == 0
    received = lab.stop(receiver)
    assert_intact(received)
    assert received["received"] == count, received
    lab.note(f"{count} frames, {count - RING_SLOTS} of them delivered after their pages were"
             " overwritten")


@scenario("guests that sleep until they are notified lose nothing")
def events(lab):
    two_guests(lab)
    echo = lab.pktgen("g2", "--events", "echo")
    ping = lab.result(lab.pktgen("g1", "--events", "--count", "2000", "ping", "--to", G2))
    lab.stop(echo)
    assert ping["received"] == 2000 and ping["faults"] == 0, ping
    lab.note(f"round trip: {ping['round_trip_us']}")


@scenario("a guest with one event channel for both directions")
def one_event_channel(lab):
    two_guests(lab)
    echo = lab.pktgen("g2", "--events", "--one-event-channel", "echo")
    ping = lab.result(lab.pktgen("g1", "--events", "--one-event-channel", "--count", "500",
                                 "ping", "--to", G2))
    lab.stop(echo)
    assert ping["received"] == 500 and ping["faults"] == 0, ping


@scenario("the daemon is stopped and started again, twice, in the middle of traffic")
def restart(lab):
    two_guests(lab)
    receiver = lab.pktgen("g2", "--numbered", "--events", "receive")
    sender = lab.pktgen("g1", "--numbered", "--events", "--seconds", "6",
                        "send", "--rate", "10000", "--to", G2)
    elsewhere = 0  # what came while g2 was not attached yet went to the port
    dropped = 0
    for _ in range(2):
        before = lab.count("g2", "to_guest_frames")
        until(lambda: lab.count("g2", "to_guest_frames") > before + 2000, "traffic")
        elsewhere += lab.port_frames()
        dropped += lab.count("g2", "to_guest_drop_")
        lab.drain_daemon()
        lab.start_daemon()
        assert lab.xenstore("g1", "read", "device/vif/0/state") == "4"
    sent = lab.result(sender)
    elsewhere += lab.port_frames()
    dropped += lab.count("g2", "to_guest_drop_")
    # What waited in the ring when the daemon came back is answered with an error (design 8).
    assert sent["faults"] == sent["errors"] <= 2 * RING_SLOTS and sent["unanswered"] == 0, sent
    received = lab.stop(receiver)
    assert_intact(received)
    lab.note(f"{sent['sent']} sent, {received['received']} received, {elsewhere} to the port, "
             f"{sent['errors']} answered with an error, {dropped} dropped by name")
    assert received["received"] + elsewhere + sent["errors"] + dropped == sent["sent"], received


@scenario("guests with nothing to say cost the daemon little, and so does one without guests")
def idle(lab):
    shares = []
    for name, address in ((None, None), ("g1", G1), ("g2", G2)):
        if name:
            lab.create(name, address)
            lab.pktgen(name, "--events", "receive")
        time.sleep(0.3)
        began, used = time.monotonic(), lab.daemon_cpu_seconds()
        time.sleep(1.5)
        shares.append((lab.daemon_cpu_seconds() - used) / (time.monotonic() - began))
    lab.note(f"share of a CPU with 0, 1 and 2 idle guests: {', '.join(f'{s:.1%}' for s in shares)}")
    assert max(shares) <= IDLE_SHARE_MAX, shares
    assert max(shares) - shares[0] <= 2 * IDLE_GUEST_SHARE_MAX, shares
