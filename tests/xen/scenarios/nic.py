"""A NIC that DPDK drives, in a PVH dom0; on its wire a Linux host and the test (station.py)."""

import time

import netback
from frames import TCP, UDP, transport, whole
from guests import address, address6, make_guest
from host import PATIENCE
from pvh import NIC, NIC_MAC
from scenarios.lab import DOM0, DOM0_6, PVH, WIRE, WIRE_JUMBO, WIRE_PORT, scenario
from scenarios.startup import assert_fails, config
from scenarios.traffic import MIB, PING_BYTES

LINK_TIMEOUT = 10  # seconds until a change of the link is everywhere
# An idle worker turns twice each time it sleeps, 10 ms or until the NIC wakes it.
IDLE_TURNS_PER_S_MAX = 400


def wire_scenario(name, guests=(1,), daemon=WIRE):
    return scenario(f"NIC in a PVH dom0: {name}", guests=guests, daemon=daemon, shape=PVH)


def until(condition, what, timeout=LINK_TIMEOUT):
    end = time.monotonic() + PATIENCE * timeout
    while not condition():
        assert time.monotonic() < end, f"not in {PATIENCE * timeout} s: {what}"
        time.sleep(0.1)


@wire_scenario("seed_S07: refused without hugepages, and unless bound to a driver for programs",
               guests=(), daemon=None)
def refusals(lab):
    pages = config(lab, f'memory = "pages"\n{netback.FEW_BUFFERS}{WIRE_PORT}')
    assert_fails(lab, 1, f"cannot start: start DPDK: PCI device {NIC} needs hugepages: other memory"
                 " stays at no address that a device could be told (fix: sysctl vm.nr_hugepages=N"
                 " and mount -t hugetlbfs none /dev/hugepages)", pages)
    driver = "/sys/bus/pci/drivers/uio_pci_generic"
    assert_fails(lab, 1, f"cannot start: check ports: port 'wire': device '{NIC}': it is bound to"
                 f" no driver (fix: dpdk-devbind.py -b uio_pci_generic {NIC})", pages,
                 before=f"echo {NIC} >{driver}/unbind", after=f"echo {NIC} >{driver}/bind")


@wire_scenario("seed_S11: its port, its memory and its link are as they should be")
def port(lab):
    [port] = lab.ctl("port")["ports"]
    assert (port["driver"], port["link"], port["mac"]) == ("pci", "up", NIC_MAC), port
    assert port["checksum_offload"] and port["chained_buffers"], port
    assert lab.ctl("info")["memory"] == "hugepages"


def time_and_turns(lab):
    stats = lab.ctl("stats")
    return stats["time_ns"] / 1e9, stats["workers"][0]["worker_turns"]


@wire_scenario("a worker without work sleeps until the NIC's interrupt")
def sleeps(lab):
    def interrupts():
        line = lab.host.run("dom0", "grep uio_pci_generic /proc/interrupts")
        return int(line.split()[1])
    lab.ping("g1", DOM0, 2)
    count = interrupts()
    lab.ping("g1", DOM0, 5, interval=0.5)
    assert interrupts() >= count + 5, f"{interrupts() - count} interrupts of 5 frames"
    began, before = time_and_turns(lab)
    time.sleep(2)
    ended, after = time_and_turns(lab)
    rate = (after - before) / (ended - began)
    lab.note(f"{rate:.0f} turns a second without work")
    assert rate < IDLE_TURNS_PER_S_MAX, rate


@wire_scenario("50 pings to the station and 20 back")
def ping(lab):
    with lab.counted(1, from_guest=50 * PING_BYTES, to_guest=50 * PING_BYTES):
        times = lab.ping("g1", DOM0, 50)
    lab.note(f"g1 to the wire, ms: least {times[0]}, mean {times[1]}, most {times[2]}")
    lab.ping("g1", DOM0_6, 20)
    for target in (address(1), address6(1)):
        assert lab.station.ping(target, 20) == 20, target


@wire_scenario("seed_S03: 16 MiB by TCP each way; the NIC computes the checksums, all right")
def tcp(lab):
    def sent_and_seen():
        """Frames that left by the port, and those of them on the wire once none is on its way."""
        while True:
            seen = len(frames)
            port = lab.ctl("stats")["ports"][0]
            if len(frames) == seen:
                return port, seen
    with lab.station.capture() as frames, lab.counted(1, from_guest=17 * MIB, to_guest=17 * MIB):
        before, seen_before = sent_and_seen()
        lab.transfer_by_wire(1, 16)
        lab.transfer_by_wire(1, 1, ipv6=True)
        lab.host.run("g1", f"netcheck udp-check {DOM0} 9 100 1 --timeout=0; true")  # ends at once
        until(lambda: any(transport(frame)[0] == UDP for frame in frames), "the datagram")
        after, seen = sent_and_seen()
    kinds = [transport(frame)[0] for frame in frames]
    assert kinds.count(TCP) > 10_000 and UDP in kinds, (kinds.count(TCP), kinds.count(UDP))
    wrong = [frame.hex() for frame in frames if not whole(frame)]
    assert not wrong, f"{len(wrong)} of {len(frames)} have wrong checksums: {wrong[0]}"
    assert after["port_checksums_completed"] == before["port_checksums_completed"], after
    sent = after["port_sent_frames"] - before["port_sent_frames"]
    assert sent == seen - seen_before, (sent, seen, seen_before)


@wire_scenario("its link goes and comes, and the vifs' carrier with it; 20 times fast, too")
def link(lab):
    domid = lab.host.guests["g1"].domid
    carrier = f"xenstore-read /local/domain/0/backend/vif/{domid}/0/carrier"

    def seen():
        return lab.ctl("port")["ports"][0]["link"], lab.host.dom0(carrier)[1].strip()

    def cable(up):
        lab.host.monitor.execute("set_link", name="wire", up=up)
    try:
        cable(False)
        until(lambda: seen() == ("down", "0"), "the link down")
        cable(True)
        until(lambda: seen() == ("up", "1"), "the link up")
        lab.ping("g1", DOM0, 10)
        for _ in range(20):
            cable(False)
            cable(True)
    finally:
        cable(True)
    until(lambda: seen() == ("up", "1"), "the link up after all")
    lab.ping("g1", DOM0, 10)


@wire_scenario("the daemon is stopped and started, killed and started; the guest goes on")
def restart(lab):
    for end in (lab.drain_daemon, lambda: netback.kill_daemon(lab.host)):
        end()
        lab.start_daemon(WIRE)
        lab.wait_connected(1)
        info = lab.ctl("info")
        assert info["memory"] == "hugepages", info  # what the last one had is free again
        lab.ping("g1", DOM0, 10)
        lab.transfer_by_wire(1, 1)


@wire_scenario("frames of an MTU of 9,000, which come in several buffers each", guests=(),
               daemon=WIRE_JUMBO)
def jumbo(lab):
    lab.station.run("ip link set wire mtu 9000")
    make_guest(lab.host, 8, vif="mtu=9000")
    lab.host.run("g8", "ip link set eth0 mtu 9000")
    with lab.station.capture() as frames:
        lab.transfer_by_wire(8, 16)
    assert max(map(len, frames)) == 9014 and all(map(whole, frames)), max(map(len, frames))
    vif = lab.vif(8)
    # Whole: in frames of 1,500 bytes there would be six times as many.
    assert vif["to_guest_bytes"] / vif["to_guest_frames"] > 4000, vif
    lab.host.destroy_guest("g8")
    lab.station.run("ip link set wire mtu 1500")
