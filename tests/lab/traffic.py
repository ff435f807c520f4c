"""Frames between a lab's domains, each of them numbered and checked."""

from lab import DAEMON, scenario, sha256, until

RING_SLOTS = 256
G1, G2, G3 = "00:16:3e:00:00:01", "00:16:3e:00:00:02", "00:16:3e:00:00:03"


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


@scenario("frames from guest to guest, of every size: once, unchanged, in order")
def guest_to_guest(lab):
    two_guests(lab)
    for size in (60, 64, 1000, 1514):
        receiver = lab.pktgen("g2", "--numbered", "--events", "receive")
        sender = lab.pktgen("g1", "--numbered", "--count", "20000", "--events",
                            "send", "--size", size, "--rate", "20000", "--to", G2)
        sent = lab.result(sender)
        assert sent["faults"] == 0 and sent["answered"] == 20_000, sent
        until(lambda: lab.count("g2", "to_guest_frames", "to_guest_drop_") == 20_000, "delivery")
        drops = lab.count("g2", "to_guest_drop_")
        received = lab.stop(receiver)
        assert_intact(received)
        assert received["received"] + drops == 20_000, f"{received}, {drops} dropped by name"
        assert received["received_bytes"] == received["received"] * size, received
        lab.note(f"{size} bytes: {received['received']} received, {drops} dropped by name")


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
    for _ in range(2):
        before = lab.count("g2", "to_guest_frames")
        until(lambda: lab.count("g2", "to_guest_frames") > before + 2000, "traffic")
        elsewhere += lab.port_frames()
        lab.drain_daemon()
        lab.start_daemon()
        assert lab.xenstore("g1", "read", "device/vif/0/state") == "4"
    sent = lab.result(sender)
    elsewhere += lab.port_frames()
    # What waited in the ring when the daemon came back is answered with an error (design 8).
    assert sent["faults"] == sent["errors"] <= 2 * RING_SLOTS and sent["unanswered"] == 0, sent
    received = lab.stop(receiver)
    assert_intact(received)
    lab.note(f"{sent['sent']} sent, {received['received']} received, {elsewhere} to the port, "
             f"{sent['errors']} answered with an error")
    assert received["received"] + elsewhere + sent["errors"] == sent["sent"], received
