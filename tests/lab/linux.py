"""The main job with Linux's network stacks at both ends, as on a real Xen host (tests/xen)."""

import subprocess

from lab import scenario, until, xen_programs
from stacks import (DOM0, MIB, PORT_TAP, Guest, address, address6, begin_transfer, echo_udp,
                    end_transfer, start_dom0, transfer)

PING_BYTES = 14 + 20 + 8 + 56
SIZES = "1,17,60,1472"


def counted(lab, guest, before=None):
    """Bytes of the guest's vif, both ways; with `before` how many more."""
    now = {way: lab.count(guest.name, f"{way}_bytes") for way in ("from_guest", "to_guest")}
    return now if before is None else {way: now[way] - before[way] for way in now}


@scenario("Linux stacks: ping 100 of 100, guest to dom0 and guest to guest, IPv4 and IPv6",
          daemon=False)
def ping(lab):
    start_dom0(lab)
    one = Guest(lab, 1)
    Guest(lab, 2)
    before = counted(lab, one)
    times = {target: one.ping(target) for target in
             (address(DOM0), address6(DOM0), address(2), address6(2))}
    passed = counted(lab, one, before)
    assert min(passed.values()) >= 4 * 100 * PING_BYTES, passed
    lab.note(f"min/mean/max ms: {times}")


@scenario("Linux stacks: 64 MiB by TCP, guest and dom0, both ways, IPv4 and IPv6, equal sha256",
          daemon=False)
def guest_and_dom0(lab):
    dom0 = start_dom0(lab)
    guest = Guest(lab, 1)
    for to_dom0, to_guest in ((address(DOM0), address(1)), (address6(DOM0), address6(1))):
        before = counted(lab, guest)
        transfer(lab, guest, dom0, to_dom0)
        transfer(lab, dom0, guest, to_guest)
        passed = counted(lab, guest, before)
        assert min(passed.values()) >= 64 * MIB, passed


@scenario("Linux stacks: 64 MiB by TCP between guests, both ways, then with dom0 at the same time",
          daemon=False)
def between_guests(lab):
    dom0 = start_dom0(lab)
    one, two = Guest(lab, 1), Guest(lab, 2)
    before = lab.port_frames()
    transfer(lab, one, two, address(2))
    transfer(lab, two, one, address6(1))
    assert lab.port_frames() - before < 1000, "what guests say to each other left by the port"
    ends = [begin_transfer(one, two, address(2), 5001, 32),
            begin_transfer(two, dom0, address(DOM0), 5002, 32),
            begin_transfer(dom0, one, address6(1), 5003, 32)]
    rates = [end_transfer(*each, 32) for each in ends]
    lab.note(f"three at once, MiB/s: {', '.join(f'{rate:.0f}' for rate in rates)}")


@scenario("Linux stacks: a guest that takes no blank checksums gets whole ones", daemon=False)
def whole_checksums(lab):
    dom0 = start_dom0(lab)
    one, two = Guest(lab, 1), Guest(lab, 2, "--no-csum-offload", "--no-ipv6-csum-offload")
    for target in (address(2), address6(2)):
        transfer(lab, one, two, target, 8)
        transfer(lab, dom0, two, target, 8)


@scenario("Linux stacks: UDP of every size from 1 to 1472, guest to dom0 and guest to guest",
          daemon=False)
def udp(lab):
    dom0 = start_dom0(lab)
    one, two = Guest(lab, 1), Guest(lab, 2)
    same = echo_udp(one, dom0, address(DOM0), "1-1472", 1)
    same += echo_udp(one, two, address6(2), "1-1452", 1)
    same += echo_udp(one, two, address(2), SIZES, 50)
    same += echo_udp(one, dom0, address6(DOM0), SIZES.replace("1472", "1452"), 50)
    lab.note(f"{same} datagrams came back unchanged")


@scenario("Linux stacks: the daemon is stopped and started again, twice, in the middle of 64 MiB of"
          " TCP: equal sha256, no xenstore state changes", daemon=False)
def restart(lab):
    dom0 = start_dom0(lab)
    one, two = Guest(lab, 1), Guest(lab, 2)
    states = [f"/local/domain/{lab.domid(guest.name)}/device/vif/0/state" for guest in (one, two)]
    states += [f"/local/domain/0/backend/vif/{lab.domid(guest.name)}/0/state"
               for guest in (one, two)]
    watch = subprocess.Popen(
        lab.command(0, [xen_programs() / "usr/bin/xenstore-watch", "-n", "100", *states]),
        stdout=open(lab.directory / "watched", "w"), text=True)
    lab.processes.append(watch)
    rate = 16 * MIB  # a second: long enough for two restarts
    ends = [begin_transfer(one, two, address(2), 5001, 64, rate),
            begin_transfer(dom0, one, address6(1), 5002, 64, rate)]
    for _ in range(2):
        before = [lab.count(name, "to_guest_bytes") for name in ("g1", "g2")]
        until(lambda: all(lab.count(name, "to_guest_bytes") > count + 2 * MIB
                          for name, count in zip(("g1", "g2"), before)), "traffic")
        lab.drain_daemon()
        lab.start_daemon()
        dom0.configure(PORT_TAP, DOM0)
        until(lambda: lab.connected() == {"g1", "g2"}, "both guests")
    rates = [end_transfer(*each) for each in ends]
    watch.kill()
    watched = (lab.directory / "watched").read_text().split()
    assert sorted(watched) == sorted(states), f"not once each: {watched}"
    lab.note(f"MiB/s: {', '.join(f'{rate:.0f}' for rate in rates)}; state events: those of the"
             " start")
