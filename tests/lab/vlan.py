"""Vifs on VLANs of a port: one daemon, and what leaves it in a capture."""

from capture import frames_of
from lab import config_of, scenario, until
from traffic import G1, G2, G3, NOBODY

COUNT = 50
TAG = {7: b"\x81\x00\x00\x07", 300: b"\x81\x00\x01\x2c"}


def write_file(lab, name, mac, *lines):
    path = lab.directory / "config" / "vif.d" / f"{name}.toml"
    path.write_text("\n".join([f'mac = "{mac}"', *lines, ""]))


def send(lab, name, to, *words, rate=5_000):
    """Numbered frames, all answered."""
    sent = lab.result(lab.pktgen(name, "--numbered", "--events", "--count", COUNT, "send",
                                 "--rate", rate, "--to", to, *words))
    assert sent["faults"] == 0 and sent["sent"] == COUNT, sent
    return sent


@scenario("vlan: vifs of one VLAN see one another untagged, those of others never; what leaves has"
          " the tag", daemon=False)
def tags(lab):
    written = lab.directory / "written.pcap"
    lab.configure(config_of("capture", f"net_pcap0,tx_pcap={written}"))
    write_file(lab, "g2", G2, "vlan = 7")
    write_file(lab, "g3", G3, "vlan = 300")
    lab.start_daemon()
    lab.create("g1")
    lab.add_vif("g1", G1, vlan=7)
    lab.create("g2", G2)
    lab.create("g3", G3)
    shown = {name: lab.ctl("show", f"{name}.0")["settings"]["vlan"] for name in ("g1", "g2")}
    assert shown == {"g1": {"value": 7, "from": "xenstore"},
                     "g2": {"value": 7, "from": "vif file"}}, shown
    receivers = {name: lab.pktgen(name, "--numbered", "--events", "receive")
                 for name in ("g2", "g3")}
    send(lab, "g1", G2)
    until(lambda: lab.count("g2", "to_guest_frames") == COUNT, "the frames to g2")
    send(lab, "g1", "ff:ff:ff:ff:ff:ff", "--size", 1514)
    until(lambda: lab.count("g2", "to_guest_frames") == 2 * COUNT, "the broadcasts to g2")
    send(lab, "g1", G3)
    send(lab, "g1", NOBODY, "--size", 1514)
    assert lab.count("g3", "to_guest_frames", "to_guest_drop_") == 0
    assert lab.count("g2", "to_guest_drop_") == 0
    found = lab.stop(receivers["g2"])
    # The same numbers came twice; every frame is as it was sent, without a tag.
    assert found["received"] == found["repeated"] + COUNT == 2 * COUNT, found
    assert found["received_bytes"] == COUNT * (60 + 1514) and found["changed"] == 0, found
    lab.stop(receivers["g3"])
    send(lab, "g3", G1)
    lab.drain_daemon()
    lab.daemon = None
    frames = [frame for frame, _ in frames_of(written.read_bytes())]
    assert [frame[12:16] for frame in frames] == 3 * COUNT * [TAG[7]] + COUNT * [TAG[300]]
    assert [len(frame) for frame in frames] == COUNT * [1518] + COUNT * [64] + COUNT * [1518] + \
        COUNT * [64]


@scenario("vlan: what comes from the port with the tag arrives without; 64 KiB and GSO too",
          daemon=False)
def returns(lab):
    """A port that returns what it gets: g2 sees all of VLAN 7, g3 all of another."""
    lab.configure(config_of("loop", "net_ring0", "mtu = 65517").replace(
        'device = "net_ring0"', 'device = "net_ring0"\nmtu = 65517'))
    write_file(lab, "g1", G1, "vlan = 7")
    write_file(lab, "g2", G2, "vlan = 7", "rx-filter = false")
    write_file(lab, "g3", G3, "vlan = 300", "rx-filter = false")
    lab.start_daemon()
    for name, mac in (("g1", G1), ("g2", G2), ("g3", G3)):
        lab.create(name, mac)
    for size in (60, 1514, 65_531):
        receivers = [lab.pktgen(name, "--numbered", "--events", "receive")
                     for name in ("g2", "g3")]
        send(lab, "g1", NOBODY, "--burst", 1, "--size", size, rate=200)
        # Once as a frame of the VLAN, once when it came back from the port.
        until(lambda: lab.count("g2", "to_guest_frames") == 2 * COUNT, "all of them, twice")
        assert lab.count("g3", "to_guest_frames", "to_guest_drop_") == 0
        assert lab.count("g2", "to_guest_drop_") == 0
        found, other = map(lab.stop, receivers)
        assert found["received_bytes"] == 2 * COUNT * size, found
        assert other["received"] == 0, other
        assert found["changed"] == found["bad_answers"] == 0, found
    receiver = lab.pktgen("g2", "--tcp", "--events", "receive")
    sent = lab.result(lab.pktgen("g1", "--events", "--count", COUNT, "send", "--rate", 200,
                                 "--burst", 1, "--size", 60_000, "--gso", 1_400, "--to", G2))
    assert sent["faults"] == 0, sent
    until(lambda: lab.count("g2", "to_guest_frames") == COUNT, "GSO frames")
    found = lab.stop(receiver)
    assert found["segmented"] == COUNT and found["longest"] == 60_000, found
    assert found["changed"] == found["missing_bytes"] == found["bad_answers"] == 0, found
