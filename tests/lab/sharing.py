"""Vifs that share a port: isolated, on VLANs, with addresses of their own."""

from capture import frames_of
from lab import LabError, config_of, scenario, until
from stacks import DOM0, PORT_TAP, Guest, address, address6, mac, start_dom0
from traffic import G1, G2, G3, NOBODY
from vlan import COUNT, TAG, send, write_file

ALL = "ff:ff:ff:ff:ff:ff"


def octets(mac):
    return bytes.fromhex(mac.replace(":", ""))


def got(lab, *names):
    return [lab.count(name, "to_guest_frames") for name in names]


@scenario("isolated: what such a vif sends leaves by the port alone, and no other vif reaches it",
          daemon=False)
def isolated(lab):
    written = lab.directory / "written.pcap"
    lab.configure(config_of("capture", f"net_pcap0,tx_pcap={written}"))
    write_file(lab, "g1", G1, "switching = false")
    lab.start_daemon()
    for name, mac in (("g1", G1), ("g2", G2), ("g3", G3)):
        lab.create(name, mac)
    shown = {name: lab.ctl("show", f"{name}.0")["settings"]["switching"] for name in ("g1", "g2")}
    assert shown == {"g1": {"value": False, "from": "vif file"},
                     "g2": {"value": True, "from": "built in"}}, shown
    receivers = [lab.pktgen(name, "--numbered", "--events", "receive") for name in ("g2", "g3")]
    for to in (G2, ALL):
        send(lab, "g1", to)
    assert got(lab, "g2", "g3") == [0, 0]
    lab.stop(receivers[0])
    receivers[0] = lab.pktgen("g1", "--numbered", "--events", "receive")
    for to in (G1, ALL, G3):
        send(lab, "g2", to)
    until(lambda: got(lab, "g3") == [2 * COUNT], "the frames to g3")
    assert got(lab, "g1") == [0]
    assert lab.count("g1", "to_guest_drop_") == lab.count("g3", "to_guest_drop_") == 0
    for receiver in receivers:
        lab.stop(receiver)
    lab.drain_daemon()
    lab.daemon = None
    left = [frame[:12] for frame, _ in frames_of(written.read_bytes())]
    assert left == [octets(to) + octets(source) for source, to in
                    ((G1, G2), (G1, ALL), (G2, G1), (G2, ALL)) for _ in range(COUNT)]


@scenario("isolated: a far end that sends back what it gets lets such vifs talk", daemon=False)
def hairpin(lab):
    lab.configure(config_of("loop", "net_ring0", "switching = false"))
    lab.start_daemon()
    lab.create("g1", G1)
    lab.create("g2", G2)
    receiver = lab.pktgen("g2", "--numbered", "--events", "receive")
    send(lab, "g1", G2)
    until(lambda: got(lab, "g2") == [COUNT], "the frames that came back")
    found = lab.stop(receiver)
    assert found["received"] == COUNT and found["faults"] == 0, found
    [port] = lab.ask("stats")["ports"]
    assert port["port_sent_frames"] == port["port_received_frames"] == COUNT, port


@scenario("two VLANs on one trunk: two vifs with one address each get their VLAN's frames, and"
          " a vif on none sees the tags", daemon=False)
def trunk(lab):
    written = lab.directory / "written.pcap"
    lab.configure(config_of("capture", f"net_pcap0,tx_pcap={written}"))
    lab.start_daemon()
    for name, mac, words in (("g1", G1, {"vlan": 7}), ("g2", G1, {"vlan": 300}), ("g3", G3, {}),
                             ("g4", G2, {"vlan": 300})):
        lab.create(name)
        lab.add_vif(name, mac, **words)
    receivers = {name: lab.pktgen(name, "--numbered", "--events", "receive")
                 for name in ("g1", "g2", "g3")}
    send(lab, "g4", G1)
    until(lambda: got(lab, "g2") == [COUNT], "the frames to its VLAN's of that address")
    send(lab, "g4", ALL)
    until(lambda: got(lab, "g2", "g3") == [2 * COUNT, COUNT], "the broadcasts")
    send(lab, "g4", G3)
    until(lambda: got(lab, "g3") == [2 * COUNT], "the frames to the vif on no VLAN")
    assert got(lab, "g1") == [0] and lab.count("g1", "to_guest_drop_") == 0
    assert lab.count("g3", "to_guest_bytes") == 2 * COUNT * 64  # with their tags
    assert lab.count("g2", "to_guest_bytes") == 2 * COUNT * 60
    for receiver in receivers.values():
        lab.stop(receiver)
    send(lab, "g1", NOBODY)
    lab.drain_daemon()
    lab.daemon = None
    left = [frame[12:16] for frame, _ in frames_of(written.read_bytes())]
    assert left == COUNT * [TAG[300]] + COUNT * [TAG[7]], left


def no_answer(space, *words):
    """None of three pings comes back."""
    try:
        space.run("busybox", *words[:1], "-c", 3, "-i", "0.05", "-W", 1, *words[1:])
    except LabError as error:
        assert "100% packet loss" in str(error), error
    else:
        raise AssertionError(f"{words} was answered")


@scenario("addresses: a Linux guest has all of IP with those of its vif, and nothing with others",
          daemon=False)
def addresses(lab):
    write_file(lab, "g1", mac(1), f'ip = "{address(1)} {address6(1)}"')
    write_file(lab, "g2", mac(2), f'ip = "{address(3)}"', "lock-ip = false")
    dom0 = start_dom0(lab)
    guest = Guest(lab, 1)
    assert lab.ctl("show", "g1.0")["settings"]["ip"] == {"value": f"{address(1)} {address6(1)}",
                                                         "from": "vif file"}
    dropped = "from_guest_drop_source_ip_frames"
    for target in (address(DOM0), address6(DOM0)):
        guest.ping(target, 20)
    for target in (address(1), address6(1)):
        dom0.ping(target, 20)
    assert lab.count("g1", dropped) == 0
    guest.run("ip", "address", "add", f"{address(77)}/24", "dev", "eth0")
    guest.run("ip", "address", "add", f"{address6(77)}/64", "dev", "eth0", "nodad")
    for ping, own, other, target in (("ping", address(1), address(77), address(DOM0)),
                                     ("ping6", address6(1), address6(77), address6(DOM0))):
        before = lab.count("g1", dropped)
        no_answer(guest, ping, "-I", other, target)
        assert lab.count("g1", dropped) > before
        before = lab.count("g1", dropped)
        no_answer(dom0, ping, other)  # nobody learns who has it
        assert lab.count("g1", dropped) > before
        assert "lladdr" not in dom0.run("ip", "neigh", "show", "to", other, "dev", PORT_TAP)
        guest.run("busybox", ping, "-c", 2, "-i", "0.05", "-I", own, target)
    guest.close()
    Guest(lab, 2).ping(address(DOM0), 5)


@scenario("addresses: xl's ip holds as well; one that is no address refuses its vif alone")
def addresses_of_xl(lab):
    for name, vif_mac, ip in (("g1", G1, "192.0.2.1 2001:db8::/64"), ("g2", G2, "192.0.2.300")):
        lab.create(name)
        lab.add_vif(name, vif_mac, ip=ip)
    lab.create("g3", G3)
    shown = lab.ctl("show", "g1.0")["settings"]["ip"]
    assert shown == {"value": "192.0.2.1 2001:db8::/64", "from": "xenstore"}, shown
    # Its frames are of no protocol that has addresses.
    sent = lab.result(lab.pktgen("g1", "--count", COUNT, "send", "--to", NOBODY))
    assert sent["sent"] == sent["errors"] == COUNT, sent
    until(lambda: "refused" in {vif["state"] for vif in lab.ask("list")["vifs"]}, "g2 refused")
    assert "xenstore ip: must be addresses like" in lab.log() and "192.0.2.300" in lab.log()
    send(lab, "g3", NOBODY)
