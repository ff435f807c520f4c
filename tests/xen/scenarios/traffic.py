"""Linux guests with their own netfront talk to dom0 and to each other."""

import contextlib
import json

from guests import address, address6, load_hashes
from kernel_netback import BRIDGE
from scenarios.lab import DOM0, DOM0_6, scenario

MIB = 1 << 20
PING_BYTES = 14 + 20 + 8 + 56
GROUP = "239.1.2.3"
TAGGED, TAGGED_DOM0 = "10.7.0.11", "10.7.0.1"  # on a VLAN


@scenario("programs of all domains keep their vector registers", guests=(1, 2))
def registers(lab):
    """The host's own health: without it, whatever computes here fails now and then."""
    jobs = [(where, f"registers{seed}", seed) for seed, where in
            enumerate(("dom0", "dom0", "g1", "g1", "g2"))]
    for where, tag, seed in jobs:
        lab.host.start(where, tag, f"exec netcheck keep-registers 3 --seed={seed}")
    for where, tag, _ in jobs:
        status, output = lab.host.finish(where, tag, 60)
        assert status == 0, f"{where}: {output}"


@scenario("the kernel's netback is absent", guests=(1, 2))
def kernel_netback_is_absent(lab):
    modules = lab.host.run("dom0", "cat /proc/modules")
    assert "xen_netback" not in modules, modules
    links = lab.host.run("dom0", "ls /sys/class/net").split()
    assert not [link for link in links if link.startswith("vif")], links
    vifs = lab.ctl("list")["vifs"]
    assert [(vif["domain"], vif["state"], vif["port"]) for vif in vifs] == \
        [("g1", "connected", "bridge"), ("g2", "connected", "bridge")], vifs


@scenario("ping 100 of 100")
def ping(lab):
    with lab.counted(1, from_guest=100 * PING_BYTES, to_guest=100 * PING_BYTES):
        times = lab.ping("g1", DOM0, 100)
    lab.note(f"g1 to dom0, ms: least {times[0]}, mean {times[1]}, most {times[2]}")


@contextlib.contextmanager
def calls_counted(lab, functions):
    """How often dom0's kernel calls each of these meanwhile: filled in at the end."""
    trace, calls = "/sys/kernel/tracing", {}
    lab.host.run("dom0", f"mount -t tracefs none {trace} && echo 0 >{trace}/tracing_on &&"
                         f" echo {' '.join(functions)} >{trace}/set_ftrace_filter &&"
                         f" echo function >{trace}/current_tracer && echo 1 >{trace}/tracing_on")
    try:
        yield calls
    finally:
        seen = lab.host.run("dom0", f"cd {trace}; echo 0 >tracing_on; cat trace;"
                                    " echo nop >current_tracer; echo >set_ftrace_filter;"
                                    f" cd /; umount {trace}")
        calls.update({name: seen.count(f": {name} <-") for name in functions})


@scenario("while frames pass no system call ends with a hypercall about I/O ports")
def io_ports(lab):
    """As those of a thread do that may use them: DPDK asks for them (lib/dpdk/eal.cpp)."""
    about_ports, switches = "xen_update_io_bitmap", "xen_load_tls"
    with calls_counted(lab, [about_ports, switches]) as calls:
        lab.ping("g1", DOM0, 50)
    assert calls[switches] > 50 and calls[about_ports] == 0, calls


@contextlib.contextmanager
def large_frames(lab, ports=(), **vifs):
    """Meanwhile frames of more than 1,514 bytes pass: these counters of ports and of vifs grow."""
    def counts():
        port = lab.ctl("stats")["ports"][0]
        found = {key: port[key] for key in ports}
        for name, key in vifs.items():
            found[name] = lab.vif(int(name[1:]))[key]
        return found
    before = counts()
    yield
    grown = {key: count - before[key] for key, count in counts().items()}
    assert min(grown.values()) > 100, f"frames that stand for several: {grown}"
    lab.note(f"of these, frames that stand for several: {grown}")


def tcp(family, to_dom0, to_guest, mebibytes):
    """The scenarios of one address family, one per direction."""
    @scenario(f"{mebibytes} MiB by TCP, guest to dom0, {family}")
    def guest_to_dom0(lab):
        with lab.counted(1, from_guest=mebibytes * MIB), \
                large_frames(lab, ["port_gso_frames"], g1="from_guest_gso_frames"):
            lab.transfer("g1", "dom0", to_dom0, mebibytes)

    @scenario(f"{mebibytes} MiB by TCP, dom0 to guest, {family}")
    def dom0_to_guest(lab):
        with lab.counted(1, to_guest=mebibytes * MIB), \
                large_frames(lab, ["port_received_gso_frames"], g1="to_guest_gso_frames"):
            lab.transfer("dom0", "g1", to_guest, mebibytes)
        check_receive_buffers(lab)


def check_receive_buffers(lab):
    """The port receives into large buffers: a quarter of them wait in its ring."""
    info = lab.ctl("info")
    held = info["large_buffers"] - info["large_buffers_free"]
    quarter = info["large_buffers"] // 4
    assert quarter <= held < 2 * quarter, info


tcp("IPv4", DOM0, address(1), 256)
tcp("IPv6", DOM0_6, address6(1), 32)


@scenario("UDP of 1, 17, 60 and 1472 bytes")
def udp(lab):
    sizes, count = (1, 17, 60, 1472), 100
    payload = 2 * count * sum(sizes)  # both families
    with lab.counted(1, from_guest=payload, to_guest=payload):
        lab.echo_udp("g1", "dom0", DOM0, sizes, count)
        lab.echo_udp("g1", "dom0", DOM0_6, sizes, count)


@scenario("two guests talk to each other", guests=(1, 2))
def between_guests(lab):
    port_before = lab.ctl("stats")["ports"][0]["port_sent_bytes"]
    with lab.counted(1, from_guest=16 * MIB, to_guest=16 * MIB), \
            lab.counted(2, from_guest=16 * MIB, to_guest=16 * MIB):
        lab.ping("g1", address(2), 50)
        lab.ping("g2", address6(1), 50)
        with large_frames(lab, g1="from_guest_direct_frames", g2="to_guest_gso_frames"):
            lab.transfer("g1", "g2", address(2), 16)
        lab.transfer("g2", "g1", address6(1), 16)
        lab.echo_udp("g1", "g2", address(2), (1, 17, 60, 1472), 50)
    sent = lab.ctl("stats")["ports"][0]["port_sent_bytes"] - port_before
    assert sent < MIB, f"{sent} bytes of what guests said to each other went out of the port"


@scenario("two guests talk to dom0 at once", guests=(1, 2))
def both_to_dom0(lab):
    host, sums = lab.host, {}
    with lab.counted(1, from_guest=24 * MIB), lab.counted(2, to_guest=24 * MIB):
        load_hashes(host, "dom0", "g1", "g2")
        for where, tag, words in (("dom0", "from", "tcp-recv 5011"), ("g2", "to", "tcp-recv 5012"),
                                  ("g1", "sender", f"tcp-send {DOM0} 5011 {24 * MIB} --seed=2"),
                                  ("dom0", "sender", f"tcp-send {address(2)} 5012 {24 * MIB}")):
            host.start(where, tag, f"exec netcheck {words}")
        for where, tag in (("dom0", "from"), ("g1", "sender"), ("g2", "to"), ("dom0", "sender")):
            status, output = host.finish(where, tag, 120)
            assert status == 0, f"{tag} in {where}: {output}"
            sums[where, tag] = json.loads(output)["sha256"]
    assert sums["dom0", "from"] == sums["g1", "sender"], sums
    assert sums["g2", "to"] == sums["dom0", "sender"], sums


@scenario("a guest's multicast join and leave reach the bridge, and the group's frames the guest")
def multicast_group(lab):
    host, count = lab.host, 50
    snooping = f"/sys/class/net/{BRIDGE}/bridge/multicast_snooping"
    member = f"bridge mdb show dev {BRIDGE} | grep -q 'port netback0 grp {GROUP} '"
    before = host.run("dom0", f"cat {snooping}; echo 1 >{snooping}; "
                              "echo 1 >/sys/class/net/netback0/brport/multicast_fast_leave").strip()
    try:
        assert host.dom0(member)[0] != 0, "a member of a group before anybody joined"
        host.start("g1", "group", f"exec netcheck group-recv {GROUP} 5030 eth0 {count}")
        host.run("dom0", f"until {member}; do sleep 0.1; done", 20)
        host.run("dom0", f"netcheck group-send {GROUP} 5030 {BRIDGE} {count} --rate=200")
        status, output = host.finish("g1", "group", 60)
        assert status == 0, output
        host.run("dom0", f"while {member}; do sleep 0.1; done", 20)
        # Linux's netfront asks for no multicast control: its vif takes all groups.
        assert lab.ctl("show g1.0")["connection"]["multicast_control"] == "off"
    finally:
        host.run("dom0", f"echo {before} >{snooping}")


def add_vlan(lab, where, interface, address_):
    lab.host.run(where, f"modprobe 8021q; ip link add link {interface} name tagged type vlan id 7"
                        f" && ip addr add {address_}/24 dev tagged && ip link set tagged up")


@scenario("a VLAN inside the guest")
def vlan_inside(lab):
    """A tag comes on top of the MTU's 1,514 bytes; large frames have it, too."""
    add_vlan(lab, "dom0", "xenbr0", TAGGED_DOM0)
    add_vlan(lab, "g1", "eth0", TAGGED)
    try:
        lab.ping("g1", TAGGED_DOM0, 20)
        lab.echo_udp("g1", "dom0", TAGGED_DOM0, (1, 60, 1472), 50)
        with lab.counted(1, from_guest=16 * MIB, to_guest=16 * MIB):
            lab.transfer("g1", "dom0", TAGGED_DOM0, 16)
            lab.transfer("dom0", "g1", TAGGED, 16)
    finally:
        for where in ("g1", "dom0"):
            lab.host.run(where, "ip link delete tagged")
