"""What is measured: each case prepares traffic, measures one window, and ends the traffic. A window
gives a figure for each of the case's rows."""

import json
import re
import time

from place import (FAR, FAR_MAC, GUEST, GUEST_ADDRESS, GUEST_CPU, HOST_ADDRESS, MACS, PEER,
                   PEER_ADDRESS, PEER_CPU, POLL_BYTES, POLLER)

WARM_UP_S = 1.5


def pktgen_start(host, where, device, size, target_mac, target):
    """Frames of `size` bytes from the kernel's packet generator until pktgen_stop()."""
    settings = [f"pkt_size {size}", "count 0", "delay 0", f"dst_mac {target_mac}", f"dst {target}"]
    lines = "; ".join(f'echo "{line}" >/proc/net/pktgen/{device}' for line in settings)
    host.run(where, "modprobe pktgen; echo rem_device_all >/proc/net/pktgen/kpktgend_0; "
                    f'echo "add_device {device}" >/proc/net/pktgen/kpktgend_0; {lines}')
    host.start(where, "pktgen", "echo start >/proc/net/pktgen/pgctrl")


def pktgen_stop(host, where):
    host.run(where, "echo stop >/proc/net/pktgen/pgctrl", 30)
    host.finish(where, "pktgen", 30)
    host.run(where, "echo rem_device_all >/proc/net/pktgen/kpktgend_0")


def rate_of(host, where, device, counter, seconds):
    """Frames per second that the interface itself counted, by its own machine's clock."""
    path = f"/sys/class/net/{device}/statistics/{counter}"
    read = f"cat /proc/uptime {path}"
    out = host.run(where, f"{read}; sleep {seconds}; {read}", seconds * 4 + 30).split()
    (start, _, first), (end, _, last) = out[:3], out[3:]
    return (int(last) - int(first)) / (float(end) - float(start))


class OneRow:
    """A case whose row has its name."""

    def rows(self, name):
        return [name]


class FromGuest(OneRow):
    """The guest's pktgen; the count is the guest's own completed frames."""
    unit = "frames/s"
    better = "more"

    def __init__(self, size, way="discard"):
        self.size, self.way = size, way

    def window(self, side, seconds):
        host = side.host
        pktgen_start(host, GUEST, "eth0", self.size, FAR_MAC, "10.0.0.99")
        time.sleep(WARM_UP_S)
        if self.way == "bridge":
            rate = rate_of(host, "dom0", FAR, "rx_packets", seconds)
        else:
            rate = rate_of(host, GUEST, "eth0", "tx_packets", seconds)
        pktgen_stop(host, GUEST)
        return [rate]


class ToGuest(OneRow):
    """pktgen in dom0, on the veth of the bridge; the count is what the guest received."""
    unit = "frames/s"
    better = "more"
    way = "bridge"

    def __init__(self, size):
        self.size = size

    def window(self, side, seconds):
        host = side.host
        pktgen_start(host, "dom0", FAR, self.size, MACS["bridge"], "10.0.0.98")
        time.sleep(WARM_UP_S)
        rate = rate_of(host, GUEST, "eth0", "rx_packets", seconds)
        pktgen_stop(host, "dom0")
        return [rate]


class Tcp(OneRow):
    """One TCP stream; MiB/s as its sender saw it."""
    unit = "MiB/s"
    better = "more"

    def __init__(self, sender, receiver, target, way="bridge"):
        self.sender, self.receiver, self.target, self.way = sender, receiver, target, way

    def window(self, side, seconds):
        host = side.host
        mebibytes = max(8, round(25 * seconds))
        host.start(self.receiver, "recv", "netcheck tcp-recv 5001 --hash=none")
        time.sleep(0.5)
        sent = json.loads(host.run(
            self.sender, f"netcheck tcp-send {self.target} 5001 {mebibytes << 20} --hash=none",
            seconds * 30 + 60))
        host.finish(self.receiver, "recv", 60)
        return [sent["bytes"] / sent["seconds"] / 2**20]


class BetweenGuests(Tcp):
    """The same from one guest to another, whose vCPU stays on `peer_cpu`: one of its own, or the
    sender's."""

    def __init__(self, peer_cpu):
        super().__init__(GUEST, PEER, PEER_ADDRESS, "pair")
        self.peer_cpu = peer_cpu

    def window(self, side, seconds):
        side.host.run("dom0", f"xl vcpu-pin {PEER} 0 {self.peer_cpu}")
        return super().window(side, seconds)


class Ping:
    """Round trips from the guest to dom0, in microseconds."""
    unit = "us"
    better = "less"
    way = "bridge"

    PERCENTILES = (50, 99)

    def rows(self, name):
        return [f"{name}_p{percentile}" for percentile in self.PERCENTILES]

    def window(self, side, seconds):
        host = side.host
        count = max(20, round(seconds * 20))
        out = host.run(GUEST, f"ping -c {count} -i 0.05 -W 2 {HOST_ADDRESS} | "
                              "sed -n 's/.*time=\\([0-9.]*\\) ms/\\1/p'", seconds * 4 + 60)
        times = sorted(float(word) * 1000 for word in re.findall(r"[\d.]+", out))
        return [times[min(len(times) - 1, int(len(times) * percentile / 100))]
                for percentile in self.PERCENTILES]


class Poll(OneRow):
    """netfront-pktgen in a guest that polls; what it says of itself. Its pages stay mapped if it
    asks for that and the backend can, or every frame is a grant copy."""
    unit = "frames/s"
    better = "more"

    def __init__(self, way, verb, counted, staging):
        self.way, self.verb, self.counted = way, verb, counted
        self.options = "--staging" if staging else ""
        self.frames = 0  # of the last window

    def window(self, side, seconds):
        side.host.start(POLLER, "pktgen", f"netfront-pktgen {self.options} --timeout 30 --seconds"
                                          f" {WARM_UP_S + seconds} {self.verb}")
        side.host.run(POLLER, "until grep -q connected /tmp/pktgen.out ||"
                              " [ -e /tmp/pktgen.status ]; do sleep 0.1; done", 40)
        if self.verb == "receive":
            side.start_source()
        _, out = side.host.finish(POLLER, "pktgen", seconds * 4 + 60)
        if self.verb == "receive":
            side.stop_source()
        found = json.loads(out.splitlines()[-1])
        wrong = found["faults"] or found["backend_closed"] or found["answered"] != found["sent"]
        if wrong or not found[self.counted]:
            raise RuntimeError(f"netfront-pktgen on {side.name}: {found}")
        self.frames = found[self.counted]
        return [found[f"{self.counted}_per_s"]]


# Those of the same way are measured together.
CASES = {
    "xen_from_guest_60": FromGuest(60),
    "xen_from_guest_1514": FromGuest(1514),
    "xen_from_guest_60_bridged": FromGuest(60, "bridge"),
    "xen_to_guest_60": ToGuest(60),
    "xen_to_guest_1514": ToGuest(1514),
    "xen_tcp_from_guest": Tcp(GUEST, "dom0", HOST_ADDRESS),
    "xen_tcp_to_guest": Tcp("dom0", GUEST, GUEST_ADDRESS),
    "xen_ping": Ping(),
    f"xen_poll_from_guest_{POLL_BYTES}": Poll("poll", "send", "sent", True),
    f"xen_poll_from_guest_{POLL_BYTES}_copied": Poll("poll", "send", "sent", False),
    f"xen_poll_to_guest_{POLL_BYTES}": Poll("poll_source", "receive", "received", True),
    f"xen_poll_to_guest_{POLL_BYTES}_copied": Poll("poll_source", "receive", "received", False),
    "xen_guest_to_guest": BetweenGuests(PEER_CPU),
    "xen_guest_to_guest_one_cpu": BetweenGuests(GUEST_CPU),
}
# Beside which case the ceiling is measured, and the ceiling's own name.
CEILINGS = {"xen_from_guest_60": "xen_ceiling_from_guest_60"}
# Of ours alone: a case beside itself without mapped pages, and what that row is called.
STAGING = {name.removesuffix("_copied"): name.removesuffix("_copied").replace("poll", "staging")
           for name in CASES if name.endswith("_copied")}
