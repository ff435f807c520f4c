"""bench/compare lab, cases lab_scale_*: what many vifs cost. There is no rival in them: a busy vif
with a crowd beside it is compared with one alone, by turns, on the same two CPUs."""

import contextlib
import pathlib
import signal
import statistics
import sys
import time

import report
from compare_lab import class_of, say
from sides import CHECKOUT, GUEST_CPU, WARM_UP_S, WORKER_CPU, round_trip_ns

sys.path.insert(0, str(CHECKOUT / "tests" / "lab"))

from crowd import Crowd, jain, mac  # noqa: E402
from lab import COPY_NS, Lab  # noqa: E402

IDLE, BUSY = 1000, 64
CONNECT_S_MAX, MEMORY_KIB_MAX = 60, 1024
NODES = 2000  # of xenstore: 64 vifs of one domain take more than the usual 1,000
# What the guest asks for and what the lab charges, by case.
FAIR = {f"lab_scale_fair_{BUSY}": ((), ()),
        f"lab_scale_fair_{BUSY}_staged": (("--staging",), ()),
        f"lab_scale_fair_{BUSY}_modelled": ((), ("--copy", COPY_NS))}
CASES = (f"lab_scale_connect_{IDLE}", "lab_scale_memory", f"lab_scale_idle_{IDLE}", *FAIR)
ELSEWHERE = "00:16:3e:ff:ff:ff"
FIRST = 0x10000
CONFIG = f"""
lcores = [{WORKER_CPU}]
memory = "pages"
wait-for-hotplug = false
log-level = "warn"

[[port]]
name = "null"
device = "net_null0,no-rx=1"

[defaults]
nic = "null"
"""


class Scale(Lab):
    """A lab with a file for each of the crowd's vifs, a busy domain and a daemon that can be
    stopped: only one of two has the CPUs."""

    def __init__(self):
        super().__init__("--entries", NODES)

    def __enter__(self):
        super().__enter__()
        self.configure(CONFIG)
        for number in range(IDLE):
            (self.directory / "config" / "vif.d" / f"{number:04}.toml").write_text(
                f'mac = "{mac(FIRST + number)}"\nlock-mac = true\n')
        self.start_daemon()
        self.create("busy")
        self.tool("vif", "add", "busy", "--count", BUSY, f"mac={mac(0x20000)}")
        return self

    @contextlib.contextmanager
    def stopped(self):
        self.daemon.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.daemon.send_signal(signal.SIGCONT)

    def send(self, seconds, vifs=1, rate=0, options=()):
        """What netfront-pktgen found. The rate is that of a stream that flows: the daemon first has
        to fault in the guest's pages, 256 of each vif."""
        found = self.result(self.pktgen("busy", "--vifs", vifs, "--seconds", WARM_UP_S + seconds,
                                        "--warm-up", WARM_UP_S, *options,
                                        "send", "--rate", rate, "--to", ELSEWHERE, pin=GUEST_CPU))
        if found["faults"] != 0:
            raise RuntimeError(f"netfront-pktgen found faults: {found}")
        found["rate"] = found["steady_answered"] / found["steady_seconds"]
        return found

    def memory(self):
        """Of the daemon, in KiB: all, and what is not shared with the lab."""
        status = pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text()
        return [int(status.split(key)[1].split()[0]) for key in ("VmRSS:", "RssAnon:")]


class Windows:
    """Figures of two sides by turns, each classed by the round trip between the CPUs."""

    def __init__(self, name, ours, peer):
        self.name, self.ours, self.peer = name, ours, peer
        self.classes, self.pairs = {}, []
        self.before = round_trip_ns()

    def add(self, side, value, more=""):
        after = round_trip_ns()
        classed = class_of(self.before, after)
        say(f"{self.name} {side}: {value / 1e6:,.2f} M/s, {classed} ({self.before:.0f} ns, "
            f"{after:.0f} ns){more}")
        self.classes.setdefault(classed, {}).setdefault(side, []).append(value)
        self.pairs.append((classed, value))
        self.before = after

    def pair_ratios(self, classed):
        """Of neighbouring windows, the peer's first: nothing moved between them."""
        return [ours / peer for (class_peer, peer), (class_ours, ours)
                in zip(self.pairs[::2], self.pairs[1::2]) if class_peer == class_ours == classed]

    def rows(self, windows_min, **more):
        for classed, sides in sorted(self.classes.items()):
            values = [sides.get(side, []) for side in (self.ours, self.peer)]
            if classed == "mixed" or min(map(len, values)) < windows_min:
                say(f"{self.name} {classed}: {len(values[0])} windows {self.ours}, "
                    f"{len(values[1])} {self.peer}: no row")
                continue
            pairs = self.pair_ratios(classed)
            ratio = round(statistics.median(pairs), 3) if pairs else None
            yield report.row(self.name, "frames/s", "more", *values, self.peer, rtt_class=classed,
                             pair_ratio=ratio, **more)


def connect_crowd(lab):
    """The crowd, connected, and the rows of how fast it came and what it takes."""
    lab.send(0.5)  # what the first traffic takes is not the crowd's
    before = lab.memory()
    started = time.monotonic()
    crowd = Crowd(lab, IDLE, FIRST)
    made = time.monotonic() - started
    crowd.connect()
    took = time.monotonic() - started
    connected = lab.ctl("info")["vifs_connected"]
    if connected != IDLE:
        raise RuntimeError(f"{connected} of {IDLE} vifs are connected")
    grown = [(after - first) / IDLE for after, first in zip(lab.memory(), before)]
    say(f"{IDLE} vifs: made in {made:.1f} s, connected {took - made:.1f} s later; "
        f"{grown[0]:.1f} KiB of the daemon each, {grown[1]:.1f} of them its own")
    return crowd, [report.row(CASES[0], "s", "less", [took], [CONNECT_S_MAX], "allowed"),
                   report.row(CASES[1], "KiB", "less", [grown[0]], [MEMORY_KIB_MAX], "allowed",
                              not_shared=round(grown[1], 1))]


def idle(options, windows_min):
    """A busy vif with and without the crowd beside it; how fast the crowd came, what it takes."""
    with Scale() as alone, Scale() as full:
        with alone.stopped():
            crowd, rows = connect_crowd(full)
            yield from rows
        windows = Windows(CASES[2], "crowd", "alone")
        for _ in range(options.windows):
            for side, lab, other in (("alone", alone, full), ("crowd", full, alone)):
                with other.stopped():
                    windows.add(side, lab.send(options.seconds)["rate"])
        yield from windows.rows(windows_min)
        with alone.stopped():
            found = crowd.disconnect()
            if any(each["faults"] for each in found):
                raise RuntimeError(f"the crowd found faults: {found}")
        for lab in (alone, full):
            lab.drain_daemon()


def fair(case, options, windows_min):
    """64 vifs that together offer twice what one alone gets through, and that one alone."""
    guest, costs = FAIR[case]
    with Scale() as lab:
        lab.tool("cost", *costs)
        lab.send(options.seconds, BUSY, options=guest)
        windows, indices, full = Windows(case, "sum", "alone"), [], []
        for _ in range(options.windows):
            alone = lab.send(options.seconds, options=guest)["rate"]
            windows.add("alone", alone)
            found = lab.send(options.seconds, BUSY, int(2 * alone / BUSY), guest)
            indices.append(jain([vif["steady_answered"] for vif in found["vifs"]]))
            full.append(100 * found["cut_bursts"] / found["bursts"])
            windows.add("sum", found["rate"], f"; Jain's index {indices[-1]:.4f}, {full[-1]:.0f} % "
                                              "of the bursts found a full ring")
        yield from windows.rows(windows_min, jain=round(min(indices), 4),
                                full_rings_pct=round(min(full), 1))
        lab.drain_daemon()


def measure(chosen, options, windows_min):
    """The rows of the chosen cases, as they come."""
    if set(chosen) & set(CASES[:3]):
        yield from (row for row in idle(options, windows_min) if row["case"] in chosen)
    for case in FAIR:
        if case in chosen:
            yield from fair(case, options, windows_min)
