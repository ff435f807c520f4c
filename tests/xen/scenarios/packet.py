"""A port of dom0 without vhost-net: af_packet on a veth whose other end is on the bridge."""

from guests import address, address6
from scenarios.lab import DOM0, DOM0_6, PACKET, scenario
from scenarios.traffic import MIB


@scenario("af_packet on a veth: ping, UDP, TCP both ways", daemon=PACKET)
def af_packet(lab):
    assert [port["driver"] for port in lab.ctl("port")["ports"]] == ["net_af_packet"]
    lab.ping("g1", DOM0, 50)
    lab.ping("dom0", address6(1), 50)
    with lab.counted(1, from_guest=20 * MIB, to_guest=20 * MIB):
        lab.transfer("g1", "dom0", DOM0, 16)
        lab.transfer("dom0", "g1", address(1), 16)
        lab.transfer("g1", "dom0", DOM0_6, 4)
        lab.transfer("dom0", "g1", address6(1), 4)
    lab.echo_udp("g1", "dom0", DOM0, (1, 17, 60, 1472), 50)
