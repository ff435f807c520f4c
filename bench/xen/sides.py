"""The backends that take turns in one boot, and the guest's vif on each of them.

The guest stays; its vif is detached from one side and attached to the other. Two ways for frames:
"discard" (they die at once: Linux's vif up and on no bridge, ours into net_null) and "bridge" (both
end on the same bridge, with a veth whose far end counts and sends).
"""

import netback
from host import HostError
from kernel_netback import BRIDGE

GUEST = "g1"
MACS = {"discard": "00:16:3e:00:01:01", "bridge": "00:16:3e:00:01:02"}
FAR, FAR_MAC = "far0", "00:16:3e:00:02:01"
GUEST_ADDRESS, HOST_ADDRESS = "10.0.0.11", "10.0.0.1"
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
VIF_FILES = {"discard.toml": f'mac = "{MACS["discard"]}"\nnic = "null"\n',
             "bridge.toml": f'mac = "{MACS["bridge"]}"\nnic = "bridge"\n'}
# Brings Linux's vif up and puts it on no bridge.
SCRIPT_UP = """#!/bin/sh
PATH=/usr/sbin:/usr/bin
[ "$1" = online ] || exit 0
ip link set "$vif" up && xenstore-write "$XENBUS_PATH/hotplug-status" connected
"""


def overlay(build_dir):
    """What dom0's image needs beside the daemon: the preload and the script for a bare vif."""
    daemon = netback.daemon_overlay(build_dir, CONFIG, VIF_FILES)

    def add(image):
        daemon(image)
        image.program(PRELOAD, netback.built(build_dir, "no_copy.so"))
        image.text("/etc/xen/scripts/vif-up", SCRIPT_UP, 0o755)
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
        words = f"mac={MACS[way]} bridge={BRIDGE} script={self.script(way)}"
        self.host.run("dom0", f"xl network-attach {GUEST} {words}", 60)
        self.host.run(GUEST, "until ip link set eth0 up 2>/dev/null; do sleep 0.1; done; "
                             f"ip addr add {GUEST_ADDRESS}/24 dev eth0; "
                             "until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; "
                             "do sleep 0.1; done", 30)

    def detach(self):
        self.host.run("dom0", f"xl network-detach {GUEST} {self.devid()}", 60)
        self.host.run(GUEST, "while [ -e /sys/class/net/eth0 ]; do sleep 0.1; done", 30)

    def devid(self):
        lines = self.host.run("dom0", f"xl network-list {GUEST}").splitlines()
        if len(lines) != 2:
            raise HostError(f"the guest should have one vif: {lines}")
        return lines[1].split()[0]


class Linux(Side):
    """xen-netback with its stock parameters."""
    name = "linux"

    def start(self):
        self.host.run("dom0", "modprobe xen-netback")

    def stop(self):
        self.host.run("dom0", "modprobe -r xen-netback")

    def script(self, way):
        return "vif-bridge" if way == "bridge" else "vif-up"


class Ours(Side):
    """The daemon."""
    name = "ours"

    def start(self):
        netback.start_daemon(self.host)

    def stop(self):
        status, log = netback.stop_daemon(self.host)
        if status != 0:
            raise HostError(f"dpdk-netback ended with {status}: {log[-500:]}")

    def script(self, _):
        return "vif-dpdk"

    def counters(self):
        """Flat counters of the guest's vif, and those of the null port."""
        return netback.ctl(self.host, "stats")


class Ceiling(Ours):
    """The same worker, answering slots without copying: what the guest and the rings allow."""
    name = "ceiling"

    def start(self):
        netback.start_daemon(self.host, preload=PRELOAD)
