"""A guest with several cpus: its netfront takes as many queues."""

from guests import address, mac, make_guest
from scenarios.lab import DOM0, DOM0_6, scenario

FLOWS = 16  # each of a source port of its own: some of them go by each queue


@scenario("a guest with 2 cpus uses 2 queues, both of them both ways")
def two_cpus(lab):
    make_guest(lab.host, 3, vcpus=2)
    lab.wait_connected(3)
    shown = lab.ctl(f"show {mac(3)}")["connection"]["queues"]
    assert len(shown) == 2, shown
    for target in (DOM0, DOM0_6):
        lab.echo_udp("g3", "dom0", target, (60,) * FLOWS, 10)
    lab.transfer("g3", "dom0", DOM0, 16)
    lab.transfer("dom0", "g3", address(3), 16)
    for way in ("from_guest", "to_guest"):
        frames = [queue[f"{way}_frames"] for queue in lab.vif(3)["queues"]]
        lab.note(f"frames {way} by queue: {frames}")
        assert min(frames) >= 20, frames
