"""bench/compare xen: Linux's netback and ours by turns, in one boot, on one guest."""

import collections
import json
import sys
import time

import report
from cases import CASES, CEILINGS, STAGING
from host import HostError, XenHost
from place import FAR, FAR_MAC, GUEST, GUEST_CPU, PEER, PEER_CPU, POLLER
from netback import POLLER_RAMDISK
from sides import Ceiling, Linux, Ours, make_network, overlay

BUILD = "build/release"
NUMBERED_FRAMES = 10_000
NUMBERED_RATE = 4_000
GROUP_S_MAX = 30  # longer, and the windows of the sides would lie far apart in time


def say(text):
    print(f"== {time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def chosen(names):
    cases = {name: case for name, case in CASES.items()
             if not names or any(part in row for part in names for row in case.rows(name))}
    if not cases:
        raise HostError(f"no case like {', '.join(names)}; there are {', '.join(CASES)}")
    return cases


def check_numbered_frames(host, side):
    """Numbered frames from the guest to a capture behind the bridge: all of them, once, intact."""
    side.start("bridge")
    side.attach("bridge")
    # SEED is the same at both ends; the capture ends a few seconds after the last frame.
    host.start("dom0", "capture", f"netcheck frames-capture {FAR} {NUMBERED_FRAMES} --timeout=5")
    time.sleep(1)
    host.run(GUEST, f"netcheck frames-send eth0 {NUMBERED_FRAMES} 60 --rate={NUMBERED_RATE} "
                    f"--dst={FAR_MAC}", 120)
    _, out = host.finish("dom0", "capture", 120)
    side.detach("bridge")
    side.stop()
    seen = json.loads(out)
    if any(seen[fault] for fault in ("missing", "repeated", "changed")):
        raise HostError(f"{side.name}: numbered frames did not arrive as sent: {out.strip()}")
    say(f"{side.name}: {NUMBERED_FRAMES} numbered frames arrived, none missing, repeated, changed")


def totals(stats):
    """What the worker was busy, and sums over vifs of what the copies say."""
    vif = {key: sum(v.get(key, 0) for v in stats["vifs"]) for key in
           ("from_guest_frames", "from_guest_copy_calls", "from_guest_copy_slots",
            "from_guest_notifications")}
    vif["drops"] = sum(value for v in stats["vifs"] for key, value in v.items()
                       if key.startswith("from_guest_drop_"))
    return vif | {key: stats["workers"][0][key] for key in ("worker_busy_cycles", "worker_cycles")}


def groups(cases, seconds):
    """Cases of the same way, a few at a time: what is measured between attaching and detaching."""
    found, most = [], max(1, int(GROUP_S_MAX / seconds))
    for name, case in cases.items():
        if not found or found[-1][0][1].way != case.way or len(found[-1]) == most:
            found.append([])
        found[-1].append((name, case))
    return found


def turn(side, group, seconds):
    """One side's windows: by case its figure for each row, and our counters of the window."""
    way = group[0][1].way
    side.start(way)
    side.attach(way)
    figures, counters = {}, {}
    for name, case in group:
        if isinstance(side, Ours):
            before = totals(side.counters())
        figures[name] = case.window(side, seconds)
        if isinstance(side, Ours):
            now = totals(side.counters())
            counters[name] = {key: now[key] - before[key] for key in now}
    if isinstance(side, Ours) and way in ("discard", "poll"):
        stats = side.counters()
        # A poller's vif is gone with its counters: it says itself what it sent.
        check_all_arrived(stats, sum(case.frames for _, case in group) if way == "poll" else
                          sum(v["from_guest_frames"] for v in stats["vifs"]))
    if isinstance(side, Ours) and way == "pair":
        check_none_left(side.counters())
    side.detach(way)
    side.stop()
    return figures, counters


def check_all_arrived(stats, frames):
    """Discarded frames are accounted for: what the null port took is what came from the guest."""
    sent = sum(p["driver_sent_frames"] for p in stats["ports"] if p["port"] == "null")
    if frames != sent or frames == 0:
        raise HostError(f"{frames} frames from the guest, but the null port took {sent}")


def check_none_left(stats):
    """What one guest says to another is not sent out of the port that both are on."""
    said = sum(v["from_guest_bytes"] for v in stats["vifs"])
    left = sum(p["port_sent_bytes"] for p in stats["ports"])
    if left > said / 100 or said == 0:
        raise HostError(f"of {said} bytes between guests {left} went out of the port")


def measure_group(host, group, sides, options):
    """All windows of a group, the sides by turns: by row and side, and by case our counters."""
    values = {row: collections.defaultdict(list) for name, case in group for row in case.rows(name)}
    counters = collections.defaultdict(list)
    limited = [(name, case) for name, case in group if name in CEILINGS]
    turns = [(side, group) for side in sides] + ([(Ceiling(host), limited)] if limited else [])
    for window in range(options.windows):
        for side, part in turns:
            figures, counted = turn(side, part, options.seconds)
            for name, case in part:
                for row, figure in zip(case.rows(name), figures[name]):
                    values[row][side.name].append(figure)
                    say(f"{row} window {window + 1}/{options.windows} {side.name}: "
                        f"{figure:,.1f} {case.unit}")
                if side.name == "ours":
                    counters[name].append(counted[name])
    return values, counters


def rows_of(name, case, values, counters):
    cycles = sum(c["worker_cycles"] for c in counters)
    busy = sum(c["worker_busy_cycles"] for c in counters)
    more = {"worker_idle_pct": round(100 * (1 - busy / cycles), 1)}
    calls = sum(c["from_guest_copy_calls"] for c in counters)
    if calls and name.startswith("xen_from_guest"):
        more["slots_per_copy_call"] = round(
            sum(c["from_guest_copy_slots"] for c in counters) / calls, 1)
        frames = sum(c["from_guest_frames"] for c in counters)
        more["notifications_per_frame"] = round(
            sum(c["from_guest_notifications"] for c in counters) / max(frames, 1), 4)
    yield report.row(name, case.unit, case.better, values["ours"], values["linux"], "linux",
                     **more)
    if "ceiling" in values:
        yield report.row(CEILINGS[name], case.unit, case.better, values["ours"],
                         values["ceiling"], "ceiling")


def staging_rows(values):
    """What mapped pages make of the same frames, both of ours."""
    for name, row in STAGING.items():
        if name in values and f"{name}_copied" in values:
            yield report.row(row, "frames/s", "more", values[name]["ours"],
                             values[f"{name}_copied"]["ours"], "grant-copy")


def run(options):
    cases = chosen(options.case)
    rows = []
    say("booting Xen with dom0 and guests, one vCPU each; dom0 has a CPU, guests have two others")
    with XenHost("compare", overlay=overlay(BUILD), memory=2304, dom0_vcpus=1, pin_dom0=True,
                 cpus=3) as host:
        # Room for a run: Linux 6.1's netfront loses 1 MiB at each detach, whoever the backend is.
        host.create_guest(GUEST, cpus=GUEST_CPU, memory=512)
        if any(case.way == "pair" for case in cases.values()):
            host.create_guest(PEER, cpus=PEER_CPU, memory=160)
        if any(case.way.startswith("poll") for case in cases.values()):
            host.create_guest(POLLER, cpus=GUEST_CPU, memory=192, ramdisk=POLLER_RAMDISK)
        make_network(host)
        sides = [Linux(host), Ours(host)]
        for side in sides:
            check_numbered_frames(host, side)
        for group in groups(cases, options.seconds):
            values, counters = measure_group(host, group, sides, options)
            fresh = [row for name, case in group for each in case.rows(name)
                     for row in rows_of(each, case, values[each], counters[name])]
            fresh += staging_rows(values)
            rows += fresh
            if options.json:
                report.print_json(fresh)
        host.shutdown()
    report.print_table(rows)
    return 0
