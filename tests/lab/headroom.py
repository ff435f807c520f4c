"""A guest that wants headroom in its pages, as Linux's frontend does for XDP."""

from lab import scenario, until
from traffic import G2, assert_intact, two_guests

COUNT = 300


def write(lab, name, key, value):
    """As the guest's frontend."""
    assert lab.xenstore(name, "write", f"device/vif/0/{key}", value) is not None


def send(lab, size, *words):
    sent = lab.result(lab.pktgen("g1", "--numbered", "--events", "--count", COUNT, "send",
                                 "--size", size, "--rate", 5_000, "--to", G2, *words))
    assert sent["faults"] == 0, sent


@scenario("xdp-headroom: frames lie behind it in every page and extra info says so, GSO too")
def headroom(lab):
    two_guests(lab)
    for room in (1, 256, 2048):
        receiver = lab.pktgen("g2", "--xdp-headroom", room, "--numbered", "--events", "receive")
        assert lab.ctl("show", "g2.0")["connection"]["xdp_headroom"] == room
        for size in (60, 1514):
            send(lab, size)
        until(lambda: lab.count("g2", "to_guest_frames") == 2 * COUNT, "delivery")
        assert lab.count("g2", "to_guest_slots") == 2 * 2 * COUNT
        found = lab.stop(receiver)
        # The same numbers came twice.
        assert found["with_headroom"] == found["received"] == 2 * COUNT, found
        assert found["headroom"] == room and found["bad_answers"] == found["changed"] == 0, found
    receiver = lab.pktgen("g2", "--xdp-headroom", 256, "--tcp", "--events", "receive")
    sent = lab.result(lab.pktgen("g1", "--events", "--count", 50, "send", "--size", 65_535,
                                 "--gso", 1400, "--rate", 200, "--burst", 1, "--to", G2))
    assert sent["faults"] == 0, sent
    until(lambda: lab.count("g2", "to_guest_frames") == 50, "delivery")
    assert lab.count("g2", "to_guest_slots") == 50 * (18 + 2)
    found = lab.stop(receiver)
    assert found["segmented"] == 50 and found["with_headroom"] == 50, found
    assert found["changed"] == found["bad_answers"] == found["missing_bytes"] == 0, found


@scenario("xdp-headroom changes in the middle of traffic: Reconfiguring, Reconfigured, Connected;"
          " no frame is lost")
def reconfiguring(lab):
    two_guests(lab)
    backend = f"/local/domain/0/backend/vif/{lab.domid('g2')}/0/state"
    receiver = lab.pktgen("g2", "--numbered", "--events", "receive")
    sender = lab.pktgen("g1", "--numbered", "--events", "--seconds", 2, "send", "--rate", 5_000,
                        "--size", 1514, "--to", G2)
    for room in (256, 0, 128):
        frames = lab.count("g2", "to_guest_frames")
        until(lambda: lab.count("g2", "to_guest_frames") > frames + 500, "traffic")
        write(lab, "g2", "xdp-headroom", room)
        write(lab, "g2", "state", 7)
        until(lambda: lab.xenstore("g2", "read", backend) == "8", "Reconfigured")
        assert lab.ctl("show", "g2.0")["connection"]["xdp_headroom"] == room
        write(lab, "g2", "state", 4)
        until(lambda: lab.xenstore("g2", "read", backend) == "4", "Connected")
    sent = lab.result(sender)
    assert sent["faults"] == 0, sent
    until(lambda: lab.count("g2", "to_guest_frames", "to_guest_drop_") == sent["sent"], "delivery")
    drops = lab.count("g2", "to_guest_drop_")
    found = lab.stop(receiver)
    assert_intact(found)
    assert found["received"] + drops == sent["sent"] and found["bad_answers"] == 0, found
    assert 500 < found["with_headroom"] < found["received"] and found["headroom"] == 128, found
    lab.note(f"{found['with_headroom']} of {found['received']} frames with headroom, {drops}"
             " dropped by name")
