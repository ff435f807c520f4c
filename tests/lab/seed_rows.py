"""What the original driver does with frames and addresses, row by row (S1 to S16), and how it
begins (L1), of a daemon."""

import signal
import subprocess

from capture import frames_of
from crafted import ALL_KINDS, TCP, Flow, Kind, Maker
from lab import LabError, config_of, scenario, until
from links import link_of
from nic_filters import BELOW, Nic
from traffic import G1, G2, G3, NOBODY, assert_intact
from vlan import send, write_file
from wires import OUTSIDE, Wire, exchanger, pcap_bytes, same, validate

FRAMES = 200
HIDDEN = 1 << 2 | 1 << 3  # RTE_ETH_TX_OFFLOAD_UDP_CKSUM, _TCP_CKSUM
POSTED, BACKLOG = 256, 512  # a guest's buffers, and the frames that wait for one


def wired(lab):
    """A guest on a port that does nothing itself, and its wire."""
    wire = Wire(lab, "af_packet")
    lab.start_daemon()
    lab.create("g1", G1)
    return wire


def out(lab, wire, sent):
    """What these frames of the guest's are at the far end."""
    path = lab.directory / "far.pcap"
    dump, before = wire.capture(path), lab.port_frames()
    guest, _ = exchanger(lab, "g1", sent)
    until(lambda: lab.port_frames() >= before + len(sent), "all frames on the wire")
    found = lab.stop(guest)
    assert found["faults"] == found["unanswered"] == 0 and found["sent"] == len(sent), found
    wanted = pcap_bytes([frame for each in sent for frame in each.wire])
    until(lambda: path.stat().st_size >= wanted, "all frames in the capture")
    dump.send_signal(signal.SIGINT)
    dump.wait(10)
    return [frame for frame, _ in frames_of(path.read_bytes())]


@scenario("seed_S01_frames_leave_in_order_as_bursts_and_none_before_the_port_runs", daemon=False)
def chain(lab):
    wire = wired(lab)
    maker = Maker(Flow(G1, OUTSIDE))
    sent = [maker.whole(Kind(), 60 + number) for number in range(FRAMES)]
    same([each.bytes for each in sent], out(lab, wire, sent), "from the guest")
    [port] = lab.ask("stats")["ports"]
    assert port["port_sent_frames"] == FRAMES > port["port_sent_bursts"], port
    wire.near.run("ip", "link", "del", "near")
    until(lambda: link_of(lab, "wire") == "gone", "the port gone")
    guest, _ = exchanger(lab, "g1", sent)
    until(lambda: lab.count("g1", "from_guest_drop_too_early_frames") == FRAMES, "drops by name")
    found = lab.stop(guest)
    assert found["faults"] == found["unanswered"] == 0 and found["sent"] == FRAMES, found


@scenario("seed_S02_what_a_full_port_does_not_take_is_dropped_by_name_and_answered")
def full_port(lab):
    Nic(lab, takes=3)
    lab.create("g1", G1)
    sender = lab.pktgen("g1", "send", "--to", NOBODY)
    until(lambda: lab.count("g1", "from_guest_drop_port_full_frames") > 10_000, "a full port")
    [vif] = lab.ask("stats")["vifs"]
    found = lab.stop(sender)
    assert found["faults"] == 0 and found["answered"] == found["sent"], found
    # Only now: a look meanwhile may find a burst's frames counted and the burst not yet.
    [port] = lab.ask("stats")["ports"]
    assert 0 < port["port_sent_frames"] <= 3 * port["port_sent_bursts"], port
    others = {key: value for key, value in vif.items() if value and "_drop_" in key}
    assert list(others) == ["from_guest_drop_port_full_frames"], others


@scenario("seed_S03_blank_checksums_are_filled_in_for_a_port_that_fills_in_none", daemon=False)
def blank(lab):
    wire = wired(lab)
    maker = Maker(Flow(G1, OUTSIDE))
    sent = [maker.blank(Kind(kind.version, kind.protocol, tag), size) for kind in ALL_KINDS
            for tag in (b"", maker.tag()) for size in (100, 101, 1200)]
    came = out(lab, wire, sent)
    same([frame for each in sent for frame in each.wire], came, "from the guest")
    validate(lab, came)
    assert lab.ask("stats")["ports"][0]["port_checksums_completed"] == len(sent)


@scenario("seed_S04_a_checksum_counts_as_checked_only_when_somebody_says_so", daemon=False)
def checked(lab):
    wire = wired(lab)
    lab.create("g2", G2)
    receiver, record = exchanger(lab, "g2", [])
    maker = Maker(Flow(G1, G2))
    sent = [maker.whole(Kind(), 100), maker.blank(Kind(), 100), maker.blank(Kind(6, TCP), 100)]
    sender, _ = exchanger(lab, "g1", sent)
    until(lambda: lab.count("g2", "to_guest_frames") == 3, "the guest's frames")
    wire.send([Maker(Flow(OUTSIDE, G2)).whole(Kind(), 100).bytes])
    until(lambda: lab.count("g2", "to_guest_frames") == 4, "the port's frame")
    for guest in (sender, receiver):
        assert lab.stop(guest)["faults"] == 0
    flags = [line.split()[1:] for line in record.read_text().splitlines()]
    assert flags == [[], ["blank", "validated"], ["blank", "validated"], []], flags


@scenario("seed_S05_frames_without_a_buffer_wait_in_order_and_are_dropped_when_too_many_wait")
def waiting(lab):
    lab.create("g1", G1)
    lab.create("g2", G2)
    receiver = lab.pktgen("g2", "--numbered", "--events", "--count", POSTED + BACKLOG, "receive")
    receiver.send_signal(signal.SIGSTOP)
    count = 1000
    sent = lab.result(lab.pktgen("g1", "--numbered", "--events", "--count", count, "send",
                                 "--rate", 20_000, "--to", G2))
    assert sent["faults"] == 0 and sent["answered"] == count, sent
    dropped = lab.count("g2", "to_guest_drop_backlog_full_frames")
    assert dropped == count - POSTED - BACKLOG, dropped
    receiver.send_signal(signal.SIGCONT)
    found = lab.result(receiver)
    assert found["received"] == POSTED + BACKLOG, found
    assert_intact(found)


@scenario("seed_S06_a_vif_gets_broadcast_multicast_and_its_own_frames_unless_it_wants_all",
          daemon=False)
def rx_filter(lab):
    write_file(lab, "g2", G2, "rx-filter = false")
    wire = wired(lab)
    lab.create("g2", G2)
    guests = {name: exchanger(lab, name, []) for name in ("g1", "g2")}
    targets = [G1, G2, G3, "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05"]
    frames = [Maker(Flow(OUTSIDE, to)).whole(Kind(), 100).bytes for to in targets]
    wire.send(frames)
    until(lambda: lab.count_all("to_guest_frames") == 8, "the frames")
    got = {}
    for name, (guest, record) in guests.items():
        assert lab.stop(guest)["faults"] == 0
        got[name] = [bytes.fromhex(line) for line in record.read_text().splitlines()]
    assert got == {"g1": [frames[0], *frames[3:]], "g2": frames}, got


@scenario("seed_S08_of_two_vifs_with_one_address_the_newest_has_it_and_the_other_after_it")
def one_address(lab):
    for name, address in (("g1", G1), ("g2", G1), ("g3", G3)):
        lab.create(name, address)
    first = lab.pktgen("g1", "--numbered", "--events", "receive")
    send(lab, "g3", G1)
    until(lambda: lab.count("g1", "to_guest_frames") == 50, "the frames to the only one")
    second = lab.pktgen("g2", "--numbered", "--events", "receive")
    send(lab, "g3", G1)
    until(lambda: lab.count("g2", "to_guest_frames") == 50, "the frames to the newest")
    assert lab.count("g1", "to_guest_frames") == 50
    assert lab.stop(second)["received"] == 50
    until(lambda: lab.connected() == {"g1"}, "the newest gone")
    send(lab, "g3", G1)
    until(lambda: lab.count("g1", "to_guest_frames") == 100, "the frames to the other")
    lab.stop(first)


@scenario("seed_S11_checksums_are_the_drivers_when_it_says_so_at_the_start_and_ours_if_not",
          daemon=False)
def capability(lab):
    wire = Wire(lab, "tap")
    lab.start_daemon()
    nic = Nic(lab)
    lab.create("g1", G1)
    maker = Maker(Flow(G1, OUTSIDE))
    sent = [maker.blank(kind, size) for kind in ALL_KINDS for size in (100, 101, 1200)]
    expected = [frame for each in sent for frame in each.wire]

    def checksum_offload():
        return lab.ctl("port", "wire")["ports"][0]["checksum_offload"]
    for hidden, ours in ((0, 0), (HIDDEN, 0), (HIDDEN, len(sent))):
        nic.set("hides", hidden)
        if ours:  # it is asked again
            lab.drain_daemon()
            lab.start_daemon([*BELOW, nic.directory])
        assert checksum_offload() == (not ours)
        before = lab.ask("stats")["ports"][0]["port_checksums_completed"]
        same(expected, out(lab, wire, sent), "from the guest")
        completed = lab.ask("stats")["ports"][0]["port_checksums_completed"] - before
        assert completed == ours, (completed, ours)


@scenario("seed_S14_keys_of_xenstore_choose_the_port_and_what_passes_absent_ones_do_not",
          daemon=False)
def keys(lab):
    lab.configure(config_of("null", "net_null0,no-rx=1").replace('nic = "null"', ""))
    lab.start_daemon()
    lab.create("g1")
    lab.add_vif("g1", G1, nic="null")
    lab.create("g2")
    lab.add_vif("g2", G2, nic="null", **{"SUNW-need-rx-filter": 0, "SUNW-need-set-physaddr": 1})
    shown = {name: lab.ctl("show", f"{name}.0")["settings"] for name in ("g1", "g2")}
    wanted = {"g1": (True, "built in", False, "built in"),
              "g2": (False, "xenstore", True, "xenstore")}
    for name, settings in shown.items():
        assert settings["nic"] == {"value": "null", "from": "xenstore"}, settings
        found = tuple(settings[key][word] for key in ("rx-filter", "set-physaddr")
                      for word in ("value", "from"))
        assert found == wanted[name], settings
    lab.create("g3")
    try:
        lab.add_vif("g3", G3)
        state = lab.xenstore("0", "read", f"backend/vif/{lab.domid('g3')}/0/error")
        assert state and "nic" in state, state
    except LabError as refusal:
        assert "nic" in str(refusal), refusal


@scenario("seed_S16_counters_are_each_vifs_own_and_say_what_was_sent")
def counters(lab):
    sent = {"g1": (G1, 30, 100), "g2": (G2, 20, 1000)}
    for name, address in (("g1", G1), ("g2", G2), ("g3", G3)):
        lab.create(name, address)
    guests = [exchanger(lab, "g3", [])[0]]
    for name, (address, count, size) in sent.items():
        maker = Maker(Flow(address, G3))
        guests.append(exchanger(lab, name, [maker.whole(Kind(), size) for _ in range(count)])[0])
    until(lambda: lab.count("g3", "to_guest_frames") == 50, "the frames")
    vifs = {vif["domain"]: vif for vif in lab.ctl("stats")["vifs"]}
    for name, (_, count, size) in sent.items():
        assert vifs[name]["from_guest_frames"] == vifs[name]["from_guest_slots"] == count, vifs
        assert vifs[name]["from_guest_bytes"] == count * size, vifs
        assert vifs[name]["to_guest_frames"] == 0, vifs
    assert vifs["g3"]["to_guest_bytes"] == 30 * 100 + 20 * 1000, vifs
    assert vifs["g3"]["from_guest_frames"] == 0, vifs
    for guest in guests:
        assert lab.stop(guest)["faults"] == 0


@scenario("seed_L1_a_start_that_fails_undoes_what_it_began", daemon=False)
def failed_start(lab):
    good = config_of("tap", "net_tap0,iface=nbl1")
    bad = '[[port]]\nname = "pcap"\ndevice = "net_pcap0,rx_pcap=/nowhere/there"\n\n[defaults]'
    lab.configure(good.replace("[defaults]", bad))
    try:
        lab.start_daemon()
        raise AssertionError("it started")
    except LabError as error:
        assert "cannot start" in str(error) and "pcap" in str(error), error
    assert not (lab.directory / "control.sock").exists()
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert "nbl1" not in links, links
    lab.configure(good)
    lab.start_daemon()
    assert link_of(lab, "tap") == "up"
