"""Frames of an MTU of 9,000: the port's, the vif's and the guest's."""

from guests import address, mac, make_guest
from scenarios.lab import DOM0, JUMBO, scenario

PAYLOAD = 9000 - 20 - 8
UDP_HEADERS = 14 + 20 + 8
DATAGRAMS = 50


@scenario("frames of an MTU of 9,000", guests=(), daemon=JUMBO)
def jumbo(lab):
    lab.host.run("dom0", "ip link set xenbr0 mtu 9000")
    make_guest(lab.host, 8, vif="mtu=9000")
    lab.host.run("g8", "ip link set eth0 mtu 9000")
    assert lab.ctl(f"show {mac(8)}")["settings"]["mtu"] == {"value": 9000, "from": "xenstore"}
    before = lab.vif(8)
    lab.echo_udp("g8", "dom0", DOM0, (PAYLOAD,), DATAGRAMS)
    after = lab.vif(8)
    for way in ("from_guest", "to_guest"):
        frames, octets = (after[f"{way}_{what}"] - before[f"{way}_{what}"]
                          for what in ("frames", "bytes"))
        # Whole: in fragments of 1,500 bytes there would be six times as many.
        assert octets >= DATAGRAMS * (PAYLOAD + UDP_HEADERS), (way, octets)
        assert frames <= DATAGRAMS + 20, (way, frames)
    lab.transfer("g8", "dom0", DOM0, 16)
    lab.transfer("dom0", "g8", address(8), 16)
    lab.host.destroy_guest("g8")
    lab.host.run("dom0", "ip link set xenbr0 mtu 1500")
