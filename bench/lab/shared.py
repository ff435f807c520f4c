"""bench/compare lab, cases lab_shared_*: what other vifs on its port cost a frame. One vif alone is
compared with several that share its traffic, by turns in one daemon, on the same two CPUs.

From guests it is all that get through. To guests that would be what one guest's core takes out of
120 rings: there the port brings PACED frames a second, which neither core is busy with, and the
figure is how many frames the worker's busy time would do for. Once more where each copy is charged
what one takes of a hypervisor: `modelled`. The lab's own copies take a twentieth of that."""

import struct
import time

from compare_lab import say
from scale import COPY_NS, ELSEWHERE, NODES, Windows
from sides import CHECKOUT, GUEST_CPU, WARM_UP_S, WORKER_CPU

from crowd import Crowd, mac
from lab import Lab, until

FIRST = 0x20000
BUSY_MAX = 120  # of those have traffic: a domain's grants are for 127. The others are connected
FAULTS_S = 0.02  # the daemon faults in the pages of a new vif, before its stream flows
NUMBERED = 20  # frames to each vif, checked before
# How many vifs share the port, which way frames go, and what a copy is charged, in ns.
SHARED = {"second_vif": 2, "256_vifs": 256}
WAYS = {way + more: (way, copy_ns) for more, copy_ns in (("", 0), ("_modelled", COPY_NS))
        for way in ("from_guest", "to_guest")}
CASES = {f"lab_shared_{name}_{way}": (vifs, *WAYS[way])
         for name, vifs in SHARED.items() for way in WAYS}
RUN = 32  # frames of the port's to one vif before the next: what a driver gives at once
PACED, PACED_MODELLED = 8_000_000, 1_000_000  # frames per second
LIBRARY = CHECKOUT / "build" / "release" / "bench" / "wire_source.so"
BELOW = ["sh", "-c", 'export WIRE_SOURCE="$1" LD_PRELOAD="$LD_PRELOAD $0"; shift; exec "$@"',
         LIBRARY]
CONFIG = """
lcores = [{worker}]
memory = "pages"
spin-us = "always"
wait-for-hotplug = false
log-level = "warn"

[[port]]
name = "null"
device = "net_null0,size=60,no-rx={no_rx}"

[defaults]
nic = "null"
"""


class Shared(Lab):
    """A daemon whose port brings frames for vifs, or none; a domain with so many of them."""

    def __init__(self, vifs, way, copy_ns=0):
        super().__init__("--entries", 20 * vifs + NODES)
        self.busy, self.way, self.copy_ns = min(vifs, BUSY_MAX), way, copy_ns
        self.others = vifs - self.busy

    def __enter__(self):
        super().__enter__()
        self.source = self.directory / "wire_source"
        self.bring(1)
        self.configure(CONFIG.format(worker=WORKER_CPU, no_rx=int(self.way == "from_guest")))
        self.start_daemon([*BELOW, self.source] if self.way == "to_guest" else ())
        self.create("busy")
        self.tool("vif", "add", "busy", "--count", self.busy, f"mac={mac(FIRST)}")
        self.others = self.others and Crowd(self, self.others, FIRST + self.busy)
        self.tool("cost", "--copy", self.copy_ns)
        return self

    def bring(self, vifs):
        """The port's frames are for so many vifs."""
        with open(self.source, "r+b" if self.source.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("IIII", FIRST, vifs, RUN,
                                   PACED_MODELLED if self.copy_ns else PACED))

    def clock(self):
        """Seconds, of which frames a second are wanted: of a clock, or that the worker was busy."""
        if self.way == "from_guest":
            return time.monotonic()
        stats = self.ctl("stats")
        return stats["workers"][0]["worker_busy_cycles"] / stats["tsc_hz"]

    def shared_window(self, seconds):
        """As window(), of all vifs."""
        if not self.others:
            return self.window(self.busy, seconds)
        self.others.connect()
        value = self.window(self.busy, seconds, self.others.count)
        if any(found["faults"] for found in self.others.disconnect()):
            raise RuntimeError("the vifs without traffic found faults")
        return value

    def superpages_pct(self):
        """Of the guests' memory that the daemon's copies have touched: how much they find so."""
        found = self.machine_in_daemon()
        return round(100 * found["ShmemPmdMapped"] / found["Rss"])

    def window(self, vifs, seconds, beside=0):
        """Frames per second, by clock(), of so many vifs; as many are connected beside them."""
        if self.way == "from_guest":
            guest = self.pktgen("busy", "--vifs", vifs, "send", "--to", ELSEWHERE, pin=GUEST_CPU)
        else:
            guest = self.pktgen("busy", "--vifs", vifs, "receive", pin=GUEST_CPU)
            self.bring(vifs)
        time.sleep(WARM_UP_S + FAULTS_S * vifs)
        began, first = self.clock(), self.count_all(f"{self.way}_frames")
        time.sleep(seconds)
        ended, last = self.clock(), self.count_all(f"{self.way}_frames")
        found = self.stop(guest)
        if found["faults"] != 0:
            raise RuntimeError(f"netfront-pktgen found faults: {found}")
        until(lambda: self.ctl("info")["vifs_connected"] == beside, "the vifs are gone")
        return (last - first) / (ended - began)


def numbered_frames(vifs):
    """Numbered frames by turns to each of these vifs from another: all arrive intact."""
    with Shared(vifs, "from_guest") as lab:
        lab.create("sender", mac(FIRST - 1))
        receiver = lab.pktgen("busy", "--vifs", vifs, "--numbered", "receive", pin=GUEST_CPU)
        sent = lab.result(lab.pktgen(
            "sender", "--numbered", "--count", NUMBERED * vifs, "send", "--rate", 20_000, "--to",
            ",".join(mac(FIRST + number) for number in range(vifs)), pin=GUEST_CPU))
        until(lambda: lab.count("busy", "to_guest_frames") == NUMBERED * vifs, "the last frames")
        found = lab.stop(receiver)
        lab.drain_daemon()
    each = {vif["received"] for vif in found["vifs"]}
    if sent["faults"] or found["faults"] or each != {NUMBERED}:
        raise RuntimeError(f"numbered frames to {vifs} vifs: {sent}, {found}")
    return f"{NUMBERED} numbered frames to each of {vifs} vifs arrived intact and in order"


def measure(chosen, options, windows_min):
    """The rows of the chosen cases, as they come."""
    for case in chosen:
        vifs, way, copy_ns = CASES[case]
        say(f"{case}: {numbered_frames(min(vifs, BUSY_MAX))}")
        more = {"vifs": vifs, "with_traffic": min(vifs, BUSY_MAX)}
        if copy_ns:
            more["modelled"] = f"{copy_ns} ns a grant copy"
        with Shared(vifs, way, copy_ns) as lab:
            windows = Windows(case, "shared", "alone")
            for _ in range(options.windows):
                windows.add("alone", lab.window(1, options.seconds))
                windows.add("shared", lab.shared_window(options.seconds))
            yield from windows.rows(windows_min, superpages_pct=lab.superpages_pct(), **more)
            lab.drain_daemon()
