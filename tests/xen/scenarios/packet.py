"""A port of dom0 without vhost-net: af_packet on a veth whose other end is on the bridge."""

from guests import address, address6
from scenarios.lab import DOM0, DOM0_6, PACKET, scenario
from scenarios.traffic import MIB


@scenario("af_packet on a veth: ping, UDP, TCP both ways", daemon=PACKET)
def af_packet(lab):
    assert [port["driver"] for port in lab.ctl("port")["ports"]] == ["net_af_packet"]
    lab.ping("g1", DOM0, 50)
    lab.ping("dom0", address6(1), 50)
    with lab.counted(1, from_guest=10 * MIB, to_guest=10 * MIB):
        lab.transfer("g1", "dom0", DOM0, 8)
        lab.transfer("dom0", "g1", address(1), 8)
        lab.transfer("g1", "dom0", DOM0_6, 2)
        lab.transfer("dom0", "g1", address6(1), 2)
    lab.echo_udp("g1", "dom0", DOM0, (1, 17, 60, 1472), 50)
