"""Vifs with several queues."""

from control import backend
from lab import scenario, until
from lifecycle import given_back, witnesses
from traffic import G1, G2, RING_SLOTS, assert_intact, two_guests

FLOWS = 128  # of each queue: enough for every queue of the receiver to have some
H24_COUNTS = ("0", "9", "1e9", "", "-1", "1" * 2000)
RINGS = ("tx-ring-ref", "rx-ring-ref", "event-channel-tx", "event-channel-rx")


def by_queue(lab, name, counter):
    """A counter of each of a vif's queues."""
    [vif] = [vif for vif in lab.ask("stats")["vifs"] if vif["domain"] == name]
    if "queues" not in vif:
        return [vif[counter]]
    assert vif[counter] == sum(queue[counter] for queue in vif["queues"]), vif
    return [queue[counter] for queue in vif["queues"]]


def to_guest(lab, name):
    return lab.count(name, "to_guest_frames", "to_guest_drop_")


@scenario("guests with 1, 2 and 8 queues send and receive at once: by every queue, each flow in"
          " order")
def several_queues(lab):
    two_guests(lab)
    frames = 8_000
    for one, other in ((1, 2), (2, 2), (8, 8), (8, 1)):
        by_port = lab.port_frames()
        guests = {name: lab.pktgen(name, "--queues", queues, "--numbered", "--events", "--count",
                                   frames // queues, "both", "--linger", "--flows", FLOWS,
                                   "--rate", 20_000 // queues, "--to", to)
                  for name, queues, to in (("g1", one, G2), ("g2", other, G1))}
        until(lambda: lab.count_all("from_guest_frames") == 2 * frames, "all sent")
        # What was sent before the other had come went to the port.
        until(lambda: to_guest(lab, "g1") + to_guest(lab, "g2") +
              lab.port_frames() - by_port == 2 * frames, "delivery")
        for name, queues in (("g1", one), ("g2", other)):
            for counter in ("from_guest_frames", "to_guest_frames"):
                counted = by_queue(lab, name, counter)
                assert len(counted) == queues and all(counted), (name, counter, counted)
            shown = lab.ctl("show", f"{name}.0")["connection"]["queues"]
            ports = {queue[f"event_port_{way}"] for queue in shown for way in ("from_guest",
                                                                              "to_guest")}
            assert len(ports) == 2 * queues, shown
        received = {name: by_queue(lab, name, "to_guest_frames") for name in guests}
        for name, guest in guests.items():
            found = lab.stop(guest)
            assert_intact(found)
            assert found["sent"] == found["answered"] == frames and found["faults"] == 0, found
            if len(received[name]) > 1:
                assert [queue["received"] for queue in found["queues"]] == received[name], found
            assert found["received"] == sum(received[name]), (found, received)
        lab.note(f"{one} and {other} queues: received {received}")


@scenario("a guest with 2 queues sees nothing of it when the daemon is stopped and started again,"
          " with a lower limit too")
def restart(lab):
    two_guests(lab)
    words = ("--queues", "2", "--numbered", "--events")
    receiver = lab.pktgen("g2", *words, "receive")
    sender = lab.pktgen("g1", *words, "--seconds", "3", "send", "--flows", FLOWS, "--rate", "5000",
                        "--to", G2)
    until(lambda: all(count > 1000 for count in by_queue(lab, "g2", "to_guest_frames")), "traffic")
    elsewhere, dropped = lab.port_frames(), lab.count("g2", "to_guest_drop_")
    lab.drain_daemon()
    config = lab.directory / "config" / "dpdk-netback.toml"
    config.write_text(config.read_text() + "queues-max = 1\n")
    lab.start_daemon()
    until(lambda: lab.ctl("info")["vifs_connected"] == 2, "attached again")
    for name in ("g1", "g2"):
        assert lab.xenstore(name, "read", "device/vif/0/state") == "4"
        assert len(lab.ctl("show", f"{name}.0")["connection"]["queues"]) == 2
    until(lambda: all(count > 1000 for count in by_queue(lab, "g2", "to_guest_frames")), "traffic")
    sent = lab.result(sender)
    dropped += lab.count("g2", "to_guest_drop_")
    elsewhere += lab.port_frames()
    # What waited in the rings when the daemon came back is answered with an error (design 8).
    assert sent["faults"] == sent["errors"] <= 2 * RING_SLOTS and sent["unanswered"] == 0, sent
    received = lab.stop(receiver)
    assert_intact(received)
    assert received["received"] + elsewhere + sent["errors"] + dropped == sent["sent"], \
        (elsewhere, dropped, sent, received)
    lab.note(f"{sent['sent']} sent, {received['received']} received, {sent['errors']} answered with"
             " an error")


@scenario("H32: a lie on one queue takes all of the vif off, frames of the others are answered, and"
          " it comes back")
def quarantine(lab):
    with witnesses(lab):
        lab.create("g1", G1)
        held = lab.daemon_holds()
        for lie in ("crosses-page", "impossible-producer"):
            liar = lab.pktgen("g1", "--queues", "3", "lie", lie)
            said = lab.result(liar)
            assert said["faults"] == 0 and said["answered"] >= 2 * 4, said
            assert lab.ctl("show", "g1.0")["state"] == "quarantined"
            given_back(lab, held)
            lab.ctl("rearm", "g1.0")
            sent = lab.result(lab.pktgen("g1", "--queues", "3", "--count", "100", "send", "--to",
                                         "00:16:3e:00:00:77"))
            assert sent["answered"] == 300 and sent["faults"] == 0, sent
            assert [queue["answered"] for queue in sent["queues"]] == [100] * 3, sent


def write_vif(lab, keys):
    """What a guest's frontend says, as far as Connected."""
    for key, value in {"request-rx-copy": "1", **keys, "state": "4"}.items():
        assert lab.xenstore("g1", "write", "--", f"device/vif/0/{key}", value) is not None, key


def refusal(lab, keys):
    """A guest begins anew and says this: the error that it gets."""
    lab.xenstore("g1", "rm", "device/vif/0/queue-0")
    lab.xenstore("g1", "rm", "device/vif/0/queue-1")
    for state in ("5", "6", "1"):
        lab.xenstore("g1", "write", "device/vif/0/state", state)
    lab.ctl("rearm", "g1.0")
    until(lambda: backend(lab, "g1", "state") == "2", "InitWait")
    write_vif(lab, keys)
    until(lambda: backend(lab, "g1", "state") == "5", "Closing")
    return backend(lab, "g1", "error")


@scenario("H24 and H25: a count, a ring or a channel of queues that cannot be is refused by name,"
          " and nothing is held")
def impossible_queues(lab):
    lab.create("g1", G1)
    until(lambda: backend(lab, "g1", "state") == "2", "InitWait")
    assert backend(lab, "g1", "multi-queue-max-queues") == "8"
    held = lab.daemon_holds()
    for count in H24_COUNTS:
        said = refusal(lab, {"multi-queue-num-queues": count})
        shown = count if len(count) <= 40 else count[:40] + "..."
        assert f'multi-queue-num-queues is not a number from 1 to 8: "{shown}' in said, said
        given_back(lab, held)
    two = {f"queue-{queue}/{key}": str(100 * (1 + queue) + place)
           for queue in (0, 1) for place, key in enumerate(RINGS)}
    two["multi-queue-num-queues"] = "2"
    for key in RINGS:
        # The same of both, and none: of the keys of a queue none is another's.
        said = refusal(lab, {**two, f"queue-1/{key}": two[f"queue-0/{key}"]})
        assert f"queue-0/{key} and queue-1/{key} are the same" in said, said
        said = refusal(lab, {k: v for k, v in two.items() if k != f"queue-1/{key}"})
        assert f"queue-1/{key} is absent" in said, said
        given_back(lab, held)
    said = refusal(lab, two)  # rings that it never granted
    assert said.startswith("queue-0: "), said
    given_back(lab, held)
    # An honest frontend is served then.
    lab.xenstore("g1", "write", "device/vif/0/state", "5")
    lab.xenstore("g1", "write", "device/vif/0/state", "6")
    lab.ctl("rearm", "g1.0")
    sent = lab.result(lab.pktgen("g1", "--queues", "2", "--count", "100", "send"))
    assert sent["answered"] == 200 and sent["faults"] == 0, sent
