"""A port with a queue pair for each worker: each worker sends and receives by its own."""

import errno
import subprocess

from lab import scenario, until
from nic_filters import Nic
from stacks import Space
from traffic import G1, G2, G3, NOBODY, assert_intact
from wires import QUIET, SYS
from workers import G4, two_cpus

COUNT, FLOWS, PER_SECOND = 3_000, 32, 6_000
MACS = {"g1": G1, "g2": G2, "g3": G3, "g4": G4}
HEAD = """
lcores = [{0}, {1}]
memory = "pages"
memory-mb = 128
frame-buffers = 8192
wait-for-hotplug = false
"""
# Two ports that the kernel joins: what leaves by one comes back by the other.
CONFIG = HEAD + """
[[port]]
name = "a"
device = "net_tap0,iface=tap-a"
bridge = "br0"
{2}

[[port]]
name = "b"
device = "net_tap1,iface=tap-b"
{2}
"""

# A host whose vhost-user port gives back what it gets, to the sender's address.
REFLECTED = HEAD + """
[[port]]
name = "a"
device = "net_virtio_user0,path={2},queue_size=1024"
queue-pairs = 2

[defaults]
nic = "a"
"""
STEERED = HEAD + """
[[port]]
name = "a"
device = "net_null0,no-rx=1"
"""


def place(lab, cpus):
    """Guests by turns on both workers."""
    for number, (name, mac) in enumerate(MACS.items()):
        file = lab.directory / "config" / "vif.d" / f"{name}.toml"
        file.write_text(f'mac = "{mac}"\nlcores = [{cpus[number % 2]}]\n')


def start(lab, more):
    """Guests g1 and g2 on the first port, g3 and g4 on the second: one of each on each worker."""
    cpus = two_cpus()
    space = Space(lab)
    space.run("sh", "-c", QUIET)
    space.run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", 0)
    space.run("ip", "link", "set", "br0", "up")
    lab.configure(CONFIG.format(*cpus, more))
    place(lab, cpus)
    lab.daemon_place = [*space.words, *SYS]
    lab.start_daemon()
    space.run("ip", "link", "set", "tap-b", "master", "br0")  # a bridge is one port's in the file
    for number, (name, mac) in enumerate(MACS.items()):
        lab.create(name)
        lab.add_vif(name, mac, nic="ab"[number // 2])
    return cpus


def pairs(lab, name):
    [port] = lab.ctl("port", name)["ports"]
    return port["queue_pairs"]


def moved(before, after, key):
    return [other[key] - one[key] for one, other in zip(before, after, strict=True)]


def pass_streams(lab, ways):
    """A numbered stream each way at once: nothing lost, nothing out of its flow's order."""
    receivers = {to: lab.pktgen(to, "--numbered", "--events", "receive") for _, to in ways}
    senders = [lab.pktgen(name, "--numbered", "--events", "--count", COUNT, "send", "--flows",
                          FLOWS, "--rate", PER_SECOND, "--to", MACS[to]) for name, to in ways]
    for sender in senders:
        sent = lab.result(sender)
        assert sent["answered"] == COUNT and sent["faults"] == 0, sent
    for name, to in ways:
        assert lab.count(name, "from_guest_drop_") == 0, lab.ask("stats")
        until(lambda: lab.count(to, "to_guest_frames", "to_guest_drop_") >= COUNT, f"all to {to}")
    for receiver in receivers.values():
        received = lab.stop(receiver)
        assert_intact(received)
        assert received["received"] == COUNT, received


@scenario("two workers, two ports of two queue pairs each: each worker sends by its own, the kernel"
          " spreads flows over both, in order", daemon=False)
def two_pairs(lab):
    cpus = start(lab, "queue-pairs = 2")
    for name, workers in (("a", [0, 1]), ("b", [1, 0])):
        assert [pair["worker"] for pair in pairs(lab, name)] == workers, pairs(lab, name)
        assert [pair["cpu"] for pair in pairs(lab, name)] == [cpus[each] for each in workers]
    for out, back, ways in (("a", "b", (("g1", "g3"), ("g2", "g4"))),
                            ("b", "a", (("g3", "g1"), ("g4", "g2")))):
        before = {name: pairs(lab, name) for name in "ab"}
        pass_streams(lab, ways)
        # None crossed on its way out: what a pair sent is what the guest of its worker did.
        sent = moved(before[out], pairs(lab, out), "sent_frames")
        assert sent == [COUNT, COUNT], sent
        came = moved(before[back], pairs(lab, back), "received_frames")
        # Flows that the kernel has not seen yet are on both; the others come by the pair that sent
        # their last frame: on the way back one has them all, as both guests' flows look the same.
        assert sum(came) >= 2 * COUNT and (min(came) > 0 or out == "b"), came
        lab.note(f"{out} sent {sent}, {back} received {came}")



def rules(nic):
    """What the NIC has, by its calls: the queue of each address."""
    found = {}
    for name, about, result in nic.calls():
        if name == "flow_create" and result == 0:
            address, found[address] = about.split(",")
        elif name == "flow_destroy" and result == 0:
            del found[about]
    return found


@scenario("flow rules lead a vif's frames to its worker's queue pair; they go with it, and are made"
          " anew with the device", daemon=False)
def steering(lab):
    lab.configure(STEERED.format(*two_cpus()) + '[defaults]\nnic = "a"\n')
    place(lab, two_cpus())
    lab.start_daemon()
    nic = Nic(lab)

    def shown():
        [port] = lab.ctl("port")["ports"]
        return port

    def made():
        return sum(call[0] == "flow_create" for call in nic.calls())
    guests = {}
    for name in ("g1", "g2"):
        lab.create(name, MACS[name])
        guests[name] = lab.pktgen(name, "--events", "receive")
    assert rules(nic) == {G1: "0", G2: "1"}, nic.calls()
    assert [(each["address"], each["vif"].split(".")[1], each["queue"])
            for each in shown()["flow_rules"]] == [(G1, "0", 0), (G2, "0", 1)], shown()
    assert shown()["steering"] == "on", shown()
    lab.stop(guests["g1"])
    until(lambda: rules(nic) == {G2: "1"}, "its rule to go")
    nic.set("removed", "")
    until(lambda: shown()["link"] == "gone", "the device to go")
    assert shown()["flow_rules"] == [] and made() == 2, shown()
    (nic.directory / "removed").unlink()
    until(lambda: made() == 3 and shown()["link"] == "up", "the rule of the device that is back")
    nic.refuse(errno.ENOSPC, "flow_create")
    lab.create("g3", G3)
    lab.pktgen("g3", "--events", "receive")
    assert rules(nic) == {G2: "1"} and "g3" in lab.connected(), nic.calls()
    assert shown()["steering"] == "on, but for 1 address: No space left on device", shown()


def reflector(lab, socket):
    """DPDK's own vhost-user backend with two queue pairs, each of which it sends back by."""
    words = ["dpdk-testpmd", "--no-pci", "--no-huge", "--no-shconf", "-m", 128, "-l", "0,1",
             f"--vdev=net_vhost0,iface={socket},queues=2", "--", "--rxq=2", "--txq=2",
             "--total-num-mbufs=8192", "--forward-mode=macswap", "--auto-start",
             "--no-flush-rx"]
    log = open(lab.directory / "testpmd.log", "w")
    process = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=log,
                               stderr=log)
    lab.processes.append(process)
    until(lambda: process.poll() is not None or socket.exists(), "testpmd's socket")
    assert process.poll() is None, (lab.directory / "testpmd.log").read_text()


@scenario("two workers on a vhost-user port of two queue pairs: each sends and receives by its own,"
          " nothing crosses", daemon=False)
def vhost_user(lab):
    cpus = two_cpus()
    socket = lab.directory / "vhost"
    reflector(lab, socket)
    lab.configure(REFLECTED.format(*cpus, socket))
    place(lab, cpus)
    lab.start_daemon()
    for name in ("g1", "g2"):
        lab.create(name, MACS[name])
    words = ("--numbered", "--events", "--count", COUNT, "both", "--linger", "--rate", PER_SECOND,
             "--to", NOBODY)
    guests = {name: lab.pktgen(name, *words) for name in ("g1", "g2")}
    # testpmd drops what finds no room in the ring back.
    until(lambda: all(pair["sent_frames"] == COUNT and pair["received_frames"] > COUNT / 2
                      for pair in pairs(lab, "a")), "both pairs both ways")
    crossed = [each["worker_crossed_frames"] for each in lab.ask("stats")["workers"]]
    assert crossed == [0, 0], crossed
    for guest in guests.values():
        found = lab.stop(guest)
        assert_intact(found)
        assert found["sent"] == found["answered"] == COUNT and found["received"] > 0, found
