"""bench/compare lab: our daemon in a lab and DPDK's own vhost-user by turns, on the same two CPUs.

Virtual CPUs move under us, and the distance between the two decides more than any code: each window
is classed by the round trip of a cache line measured before and after it. A window whose class
changed meanwhile is in no row, and said on standard error. Beside each row stands what rings and
copies alone allow on the same CPUs (bench/micro/ring_limit)."""

import statistics
import sys
import time

import report
from sides import (Ours, RingLimit, VhostUser, give_hugepages_back, numbered_frames,
                   round_trip_ns, take_hugepages)

SIZES = (64, 128, 256, 512, 1024, 1518)
CASES = {f"lab_{direction}_{size}": (direction, size)
         for size in SIZES for direction in ("from_guest", "to_guest", "both")}
NUMBERED = 5_000  # frames of each case that are numbered and checked, in a window of their own
NEAR_NS_MAX = 150
HUGEPAGES = 640
CLASS_WINDOWS_MIN = 5
SMOKE_WINDOWS_MAX = 2  # fewer windows than a class needs: whoever asks for them wants no claim


def say(text):
    print(f"== {time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def class_of(before, after):
    """near, far, or mixed when the CPUs moved."""
    near = [trip <= NEAR_NS_MAX for trip in (before, after)]
    return "mixed" if near[0] != near[1] else "near" if near[0] else "far"


def sides(direction, size):
    """Ours, without and with pages that stay mapped, the limit of one way, and each ring of the
    rival with and without vector instructions."""
    yield Ours(staging=False)
    yield Ours(staging=True)
    if direction != "both":
        yield RingLimit()
    for ring in ("split", "packed"):
        for vectorized in (False, True):
            yield VhostUser(ring, vectorized)


def measure_case(name, options):
    """By class: the windows of each side, by its position in sides()."""
    direction, size = CASES[name]
    takers = list(sides(direction, size))
    say(f"{name}: {numbered_frames(size, NUMBERED)}")
    classes = {}
    before = round_trip_ns()
    for window in range(options.windows):
        for position, side in enumerate(takers):
            value = side.window(direction, size, options.seconds)
            after = round_trip_ns()
            classed = class_of(before, after)
            say(f"{name} window {window + 1}/{options.windows} {side.name}"
                f"{' ' + side.ring if hasattr(side, 'ring') else ''}: {value / 1e6:,.2f} M/s, "
                f"{classed} ({before:.0f} ns, {after:.0f} ns)")
            classes.setdefault(classed, {}).setdefault(position, []).append(value)
            before = after
    return takers, classes


def rows_of(name, takers, classes, windows_min):
    """A row for each class, ring and kind of ours; the better half of a ring's two is the one
    compared. The limit is a row of its own and stands in the others."""
    for classed, values in sorted(classes.items()):
        limit = next((values[position] for position, side in enumerate(takers)
                      if isinstance(side, RingLimit) and position in values), [])
        more = {"rtt_class": classed}
        best = {}
        for ring in ("split", "packed"):
            rivals = [values[position] for position, side in enumerate(takers)
                      if side.name == f"vhost-user-{ring}" and position in values]
            best[ring] = max(rivals, key=statistics.median, default=[])
        for position, suffix in ((0, ""), (1, "_staged")):
            ours = values.get(position, [])
            if classed != "mixed" and ours and len(limit) >= windows_min:
                top = statistics.median(limit)
                more |= {"limit": round(top),
                         "limit_pct": round(100 * statistics.median(ours) / top, 1)}
                yield report.row(name.replace("lab_", "lab_limit_") + suffix, "frames/s", "more",
                                 ours, limit, "ring_limit", **more)
            for ring, rival in best.items():
                if classed == "mixed" or min(len(ours), len(rival)) < windows_min:
                    say(f"{name}{suffix} {classed}, {ring}: {len(ours)} windows of ours, "
                        f"{len(rival)} of the rival's: no row")
                    continue
                yield report.row(f"{name}{suffix}", "frames/s", "more", ours, rival,
                                 f"vhost-user-{ring}", **more)


def against_vhost_user(chosen, options, windows_min):
    """The rows of the chosen cases, as they come."""
    before = take_hugepages(HUGEPAGES)
    try:
        for name in chosen:
            takers, classes = measure_case(name, options)
            yield from rows_of(name, takers, classes, windows_min)
        for side in takers:
            if isinstance(side, VhostUser):
                say("the rival: " + " | ".join(side.lines))
    finally:
        give_hugepages_back(before)


def run(options):
    import modelled  # these use what is above
    import scale
    import shared
    everything = [*CASES, *scale.CASES, *shared.CASES, *modelled.CASES]
    chosen = [name for name in everything
              if not options.case or any(part in name for part in options.case)]
    if not chosen:
        raise RuntimeError(f"no case like {', '.join(options.case)}; there are "
                           f"{', '.join(everything)}")
    windows_min = CLASS_WINDOWS_MIN if options.windows > SMOKE_WINDOWS_MAX else 1
    rows = []
    for measure, cases in ((against_vhost_user, CASES), (scale.measure, scale.CASES),
                           (shared.measure, shared.CASES), (modelled.measure, modelled.CASES)):
        if not (mine := [name for name in chosen if name in cases]):
            continue
        for row in measure(mine, options, windows_min):
            rows.append(row)
            if options.json:
                report.print_json([row])
    report.print_table(rows)
    return 0
