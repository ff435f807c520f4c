"""The backends that take turns in one boot, and the guest's vif on each of them.

The guests stay; a vif is detached from one side and attached to the other. Ways for frames:
"discard" (they die at once: Linux's vif up and on no bridge, ours into net_null) and "bridge" (both
end on the same bridge, with a veth whose far end counts and sends); in "pair" a second guest is on
that bridge, or port, as well. Another guest polls its vif with netfront-pktgen: "poll", where
frames die as in "discard", and "poll_source", where each side sends to it from the nearest source
that it has: the kernel's pktgen on Linux's vif, net_null on ours.
"""

import netback
from cases import pktgen_start, pktgen_stop
from host import HostError
from kernel_netback import BRIDGE
from place import (FAR, FAR_MAC, GUEST, GUEST_ADDRESS, MACS, PEER, PEER_ADDRESS, POLL_BYTES,
                   POLLER)

# Of each way: the guests that have a vif, and which of MACS.
VIFS = {"discard": [(GUEST, "discard")], "bridge": [(GUEST, "bridge")],
        "pair": [(GUEST, "bridge"), (PEER, "peer")],
        "poll": [(POLLER, "poll")], "poll_source": [(POLLER, "poll_source")]}
ADDRESSES = {GUEST: GUEST_ADDRESS, PEER: PEER_ADDRESS}
PRELOAD = "/usr/lib/netback-bench/no_copy.so"

CONFIG = f"""
[[port]]
name = "null"
device = "net_null0"

[[port]]
name = "bridge"
device = "net_virtio_user0,path=/dev/vhost-net,queue_size=1024,iface=netback0"
bridge = "{BRIDGE}"

[defaults]
nic = "bridge"
"""
# With a port that always has frames for it; of other cases it would take the worker's time.
SOURCE_CONFIG_DIRECTORY = "/etc/dpdk-netback-source"
SOURCE_CONFIG = f"""
[[port]]
name = "source"
device = "net_null1,size={POLL_BYTES},no-rx=0"

[defaults]
nic = "source"
rx-filter = false
"""
VIF_FILES = {"discard.toml": f'mac = "{MACS["discard"]}"\nnic = "null"\n',
             "bridge.toml": f'mac = "{MACS["bridge"]}"\nnic = "bridge"\n',
             "poll.toml": f'mac = "{MACS["poll"]}"\nnic = "null"\n'}
# Brings Linux's vif up and puts it on no bridge.
SCRIPT_UP = """#!/bin/sh
PATH=/usr/sbin:/usr/bin
[ "$1" = online ] || exit 0
ip link set "$vif" up && xenstore-write "$XENBUS_PATH/hotplug-status" connected
"""


def overlay(build_dir):
    """What dom0's image needs beside the daemon: the preload and the script for a bare vif."""
    daemon = netback.daemon_overlay(build_dir, CONFIG, VIF_FILES)

    def add(dom0):
        daemon(dom0)
        dom0.program(PRELOAD, netback.built(build_dir, "no_copy.so"))
        dom0.text("/etc/xen/scripts/vif-up", SCRIPT_UP, 0o755)
        dom0.text(f"{SOURCE_CONFIG_DIRECTORY}/dpdk-netback.toml", SOURCE_CONFIG)
        dom0.directory(f"{SOURCE_CONFIG_DIRECTORY}/vif.d")
        netback.add_poller(dom0, build_dir)
    return add


def make_network(host):
    """The bridge, and the veth on it whose far end counts what left and sends what comes in."""
    netback.make_bridge(host)
    host.run("dom0", f"modprobe veth; ip link add near0 type veth peer name {FAR} && "
                     f"ip link set near0 master {BRIDGE} && ip link set near0 up && "
                     f"ip link set {FAR} address {FAR_MAC} && ip link set {FAR} up")


class Side:
    """One backend: start, attach, detach, stop."""

    def __init__(self, host):
        self.host = host

    def attach(self, way):
        for guest, mac in VIFS[way]:
            words = f"mac={MACS[mac]} bridge={BRIDGE} script={self.script(way)}"
            self.host.run("dom0", f"xl network-attach {guest} {words}", 60)
            if guest in ADDRESSES:
                self.host.run(guest, "until ip link set eth0 up 2>/dev/null; do sleep 0.1; done; "
                                     f"ip addr add {ADDRESSES[guest]}/24 dev eth0; "
                                     "until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; "
                                     "do sleep 0.1; done", 30)

    def detach(self, way):
        for guest, _ in VIFS[way]:
            self.host.run("dom0", f"xl network-detach {guest} {self.devid(guest)}", 60)
            self.host.run(guest, "while [ -e /sys/class/net/eth0 ]; do sleep 0.1; done", 30)

    def devid(self, guest):
        lines = self.host.run("dom0", f"xl network-list {guest}").splitlines()
        if len(lines) != 2:
            raise HostError(f"the guest should have one vif: {lines}")
        return lines[1].split()[0]


class Linux(Side):
    """xen-netback with its stock parameters."""
    name = "linux"

    def start(self, way):
        self.host.run("dom0", "modprobe xen-netback")

    def stop(self):
        self.host.run("dom0", "modprobe -r xen-netback")

    def script(self, way):
        return "vif-bridge" if way in ("bridge", "pair") else "vif-up"

    def start_source(self):
        device = f"vif{self.host.guests[POLLER].domid}.{self.devid(POLLER)}"
        pktgen_start(self.host, "dom0", device, POLL_BYTES, MACS["poll_source"], "10.0.0.97")

    def stop_source(self):
        pktgen_stop(self.host, "dom0")


class Ours(Side):
    """The daemon."""
    name = "ours"

    def start(self, way):
        source = way == "poll_source"
        netback.start_daemon(self.host, f"--config {SOURCE_CONFIG_DIRECTORY}" if source else "")

    def stop(self):
        status, log = netback.stop_daemon(self.host)
        if status != 0:
            raise HostError(f"dpdk-netback ended with {status}: {log[-500:]}")

    def script(self, _):
        return "vif-dpdk"

    def start_source(self):
        """The port is one: it always has frames."""

    def stop_source(self):
        pass

    def counters(self):
        """Flat counters of the guest's vif, and those of the null port."""
        return netback.ctl(self.host, "stats")


class Ceiling(Ours):
    """The same worker, answering slots without copying: what the guest and the rings allow."""
    name = "ceiling"

    def start(self, way):
        netback.start_daemon(self.host, preload=PRELOAD)
