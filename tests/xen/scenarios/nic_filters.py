"""The NIC's own filters, read from the machine's registers and not from our daemon: what no vif
wants stops there."""

import contextlib
import json

import netback
from guests import configure, mac
from pvh import NIC_MAC
from scenarios.lab import DOM0, WIRE
from scenarios.nic import until, wire_scenario
from station import MAC as STATION_MAC

COUNT = 100
STRAYS_MAX = 10  # of what the station's own stack says meanwhile
# Of different bits in the NIC's table.
GROUP, OTHER_GROUP = "01:00:5e:01:02:03", "01:00:5e:05:06:07"
STRANGER = "02:00:00:00:00:77"
FRAME_TYPE = 0x88B5  # IEEE 802 local experimental
GROUPS_GUEST, GROUPS_NUMBER = "groups", 9


def frames_to(destination, count):
    addresses = bytes.fromhex((destination + STATION_MAC).replace(":", ""))
    return [addresses + FRAME_TYPE.to_bytes(2, "big") + bytes(46)] * count


def inject(lab, destination, count, taken):
    """Frames onto the wire; whether the NIC takes all of them, or none, is as it should be."""
    def received():
        return lab.ctl("stats")["ports"][0]["driver_received_frames"]
    before = received()
    lab.station.inject(frames_to(destination, count))
    if taken:
        until(lambda: received() >= before + count, f"{count} frames to {destination} taken")
        return
    lab.station.inject(frames_to(NIC_MAC, 1))  # after it, all that was before it is decided
    until(lambda: received() > before, "the NIC's own frame")
    taken_after_all = received() - before - 1
    assert taken_after_all <= STRAYS_MAX, f"{taken_after_all} frames to {destination}"


@contextlib.contextmanager
def quiet(lab):
    """The station sends nothing unasked."""
    lab.station.run("ip link set wire arp off")
    try:
        yield
    finally:
        lab.station.run("ip link set wire arp on")


@contextlib.contextmanager
def vif_file(lab, text):
    path = f"{lab.config_directory(WIRE)}/vif.d/g1.toml"
    lab.host.dom0(f"cat >{path}", data=f'mac = "{mac(1)}"\n{text}\n'.encode())
    try:
        yield
    finally:
        lab.host.run("dom0", f"rm {path}")


def nic(lab):
    """((all unicast, all multicast), addresses, groups) as the NIC has them."""
    host = lab.host
    return host.nic_receives_all(), host.nic_addresses(), host.nic_multicast_bits()


NOTHING = ((False, False), [NIC_MAC], 0)


def detach(lab):
    lab.host.run("dom0", "xl network-detach g1 0", 60)
    lab.host.run("g1", "until [ ! -e /sys/class/net/eth0 ]; do sleep 0.1; done")
    until(lambda: nic(lab) == NOTHING, "a NIC as it was")


def attach(lab):
    lab.host.run("dom0", f"xl network-attach g1 mac={mac(1)},bridge=xenbr0", 60)
    configure(lab.host, 1)
    lab.wait_connected(1)


@wire_scenario("seed_S06_S09_S10_S12: it takes what its vifs need, no more once they are gone")
def needs(lab):
    # Linux's netfront asks for no groups: it gets all.
    assert nic(lab) == ((False, True), [NIC_MAC, mac(1)], 0), nic(lab)
    with quiet(lab):
        inject(lab, STRANGER, COUNT, taken=False)
        inject(lab, GROUP, COUNT, taken=True)
        detach(lab)
        inject(lab, mac(1), COUNT, taken=False)
        inject(lab, GROUP, COUNT, taken=False)
    with vif_file(lab, "rx-filter = false"):
        attach(lab)
        assert lab.host.nic_receives_all() == (True, True), nic(lab)
        with quiet(lab), lab.counted(1, to_guest=COUNT * 60):
            inject(lab, STRANGER, COUNT, taken=True)
        detach(lab)
    with vif_file(lab, "set-physaddr = true"):
        attach(lab)
        assert lab.host.nic_addresses()[0] == mac(1), nic(lab)
        lab.ping("g1", DOM0, 10)
        detach(lab)
    attach(lab)
    lab.ping("g1", DOM0, 10)


def receive(lab, group, before):
    """What a guest that joins a group, and leaves it after so many frames, is given; `before` is
    sent meanwhile to one that it does not join. All is said by the guest's own frontend."""
    host = lab.host
    host.start(GROUPS_GUEST, "pktgen", "exec netfront-pktgen --multicast-control --events --join"
                                       f" {group} --leave-after {COUNT} receive")
    until(lambda: host.nic_multicast_bits() == 1, "the group joined", 20)
    assert nic(lab) == ((False, False), [NIC_MAC, mac(GROUPS_NUMBER)], 1), nic(lab)
    inject(lab, before, COUNT, taken=False)
    inject(lab, group, COUNT, taken=True)
    until(lambda: host.nic_multicast_bits() == 0, "the group left")
    inject(lab, group, COUNT, taken=False)
    host.stop(GROUPS_GUEST, "pktgen", "TERM")
    status, output = host.finish(GROUPS_GUEST, "pktgen")
    assert status == 0, output
    found = json.loads(output.splitlines()[-1])
    assert found["faults"] == 0 and found["received"] == COUNT, found


@wire_scenario("seed_S13: groups that no guest has joined stop at it, and those that were left",
               guests=())
def groups(lab):
    lab.end_guests()  # the others, which are all for all groups
    until(lambda: nic(lab) == NOTHING, "a NIC as it was")
    lab.host.create_guest(GROUPS_GUEST, [f"mac={mac(GROUPS_NUMBER)},bridge=xenbr0"], memory=192,
                          ramdisk=netback.POLLER_RAMDISK)
    with quiet(lab):
        receive(lab, GROUP, OTHER_GROUP)
        receive(lab, OTHER_GROUP, GROUP)
    lab.host.destroy_guest(GROUPS_GUEST)
    until(lambda: nic(lab) == NOTHING, "a NIC as it was")
