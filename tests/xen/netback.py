"""Our daemon in dom0: what goes into the image for it, and how tests start and stop it."""

import json
import os
import pathlib
import time

import image
from host import CommandFailed
from kernel_netback import BRIDGE, make_bridge
from packages import CHECKOUT

PMD_DIRECTORY = pathlib.Path("/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0")
DRIVERS = ["bus_vdev", "bus_pci", "mempool_ring", "mempool_stack", "net_null", "net_af_packet",
           "net_tap", "net_virtio", "net_ring", "net_pcap"]
CONFIG_DIRECTORY = "/etc/dpdk-netback"
TAG = "daemon"
POLLER_RAMDISK = "/boot/poller.cpio"

# Enough for these guests; each buffer that is touched at the start costs a fault into Xen.
FEW_BUFFERS = "memory-mb = 64\nframe-buffers = 8192\n"
# The host's stack through a kernel tap on the bridge where Linux's netback would put the vifs.
BRIDGED_PORT = f"""
[[port]]
name = "bridge"
device = "net_virtio_user0,path=/dev/vhost-net,queue_size=1024,iface=netback0"
bridge = "{BRIDGE}"

[defaults]
nic = "bridge"
"""
# Everything a guest sends to the port is discarded: the data path without the host's stack.
NULL_PORT = """
[[port]]
name = "null"
device = "net_null0"

[defaults]
nic = "null"
"""


def built(build_dir, name):
    """The program of that name somewhere in a build directory."""
    for path in sorted(pathlib.Path(build_dir).rglob(name)):
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"no {name} in {build_dir}: build it first")


def add_dpdk(dom0, drivers=()):
    """The few drivers a test needs. Each is one real file: the directory of drivers holds it and
    the library directory links to it, because a bus registered twice finds no devices."""
    for driver in (*DRIVERS, *drivers):
        dom0.program(PMD_DIRECTORY / f"librte_{driver}.so.23")


def add_poller(dom0, build_dir):
    """To dom0's image the one of a guest that has netfront-pktgen, the kernel's ways for it to Xen,
    and no other netfront."""
    guest = image.guest_image(dom0.tree, ["xen-gntalloc", "xen-evtchn"])
    guest.program("/usr/bin/netfront-pktgen", built(build_dir, "netfront-pktgen"))
    dom0.file(POLLER_RAMDISK, guest.write("poller"))


def daemon_overlay(build_dir, config=BRIDGED_PORT, vif_files=None, drivers=()):
    """For XenHost(overlay=...): daemon, netbackctl, drivers, hotplug script and configuration.

    `vif_files` maps names in vif.d to their text, `drivers` are more of DPDK's.
    """
    def add(dom0):
        dom0.program("/usr/sbin/dpdk-netback", built(build_dir, "dpdk-netback"))
        dom0.program("/usr/bin/netbackctl", built(build_dir, "netbackctl"))
        add_dpdk(dom0, drivers)
        dom0.file("/etc/xen/scripts/vif-dpdk", CHECKOUT / "config" / "vif-dpdk")
        dom0.text("/etc/xen/xl.conf", 'autoballoon="off"\nvif.default.script="vif-dpdk"\n')
        dom0.text(f"{CONFIG_DIRECTORY}/dpdk-netback.toml", config)
        dom0.directory(f"{CONFIG_DIRECTORY}/vif.d")
        for name, text in (vif_files or {}).items():
            dom0.text(f"{CONFIG_DIRECTORY}/vif.d/{name}", text)
    return add


def use_daemon(host, args=""):
    """The counterpart of use_kernel_netback(): a bridge, and our daemon running on it."""
    make_bridge(host)
    start_daemon(host, args)


def start_daemon(host, args="", timeout=30, preload=""):
    """Starts the daemon and waits until it answers; the seconds that took."""
    host.run("dom0", "modprobe tun; modprobe vhost_net; ulimit -l unlimited; true")
    started = time.monotonic()
    preload = f"env LD_PRELOAD={preload} " if preload else ""
    host.start("dom0", TAG, f"exec {preload}dpdk-netback {args}")
    # Each netbackctl takes the one CPU from a daemon that is starting: not before the socket is.
    wait = ("until [ -S /run/dpdk-netback/control.sock ] && netbackctl info >/dev/null 2>&1;"
            f" do [ -e /tmp/{TAG}.status ] && exit 1; sleep 0.05; done")
    status, _ = host.dom0(wait, timeout)
    if status != 0:
        raise CommandFailed(f"dpdk-netback did not start (status {status}):\n{daemon_log(host)}")
    return time.monotonic() - started


def stop_daemon(host, drain=True, timeout=30):
    """Stops it the orderly way, guests staying connected: (exit status, its log)."""
    host.run("dom0", f"netbackctl stop {'--drain' if drain else ''}", timeout)
    return host.finish("dom0", TAG, timeout)


def kill_daemon(host, sign="KILL", timeout=30):
    """Ends it with a signal: (exit status, its log)."""
    host.stop("dom0", TAG, sign)
    return host.finish("dom0", TAG, timeout)


def daemon_log(host, lines=60):
    return host.dom0(f"tail -n {lines} /tmp/{TAG}.out; cat /tmp/{TAG}.status 2>/dev/null")[1]


def ctl(host, words, timeout=30):
    """The JSON answer of `netbackctl --json WORDS`."""
    return json.loads(host.run("dom0", f"netbackctl --json {words}", timeout))
