"""What the demos share: progress, who counted what, what named drops explain of differences."""

import argparse
import dataclasses
import signal
import sys
import time

# Drops of frames that from_guest_frames does not count: found before forwarding.
COUNTED_BEFORE_FORWARDING = {f"from_guest_drop_{what}_frames" for what in (
    "bad_size", "too_many_slots", "size_mismatch", "bad_reference", "copy_failed",
    "gso_not_offered", "too_long", "bad_headers", "too_many_segments", "source_address")}


class DemoError(Exception):
    """What was shown is not as it should be."""


@dataclasses.dataclass
class Row:
    """What somebody else counted beside what we did."""
    name: str
    theirs: int
    ours: int
    drops: dict = dataclasses.field(default_factory=dict)  # shown, by name
    explained: int = 0  # of those, frames that only the other one counted

    def unexplained(self):
        return self.theirs - self.ours - self.explained


def say(text):
    print(f"== {time.strftime('%H:%M:%S')}  {text}", flush=True)


def drops(counters, prefix=""):
    """A vif's or port's drops by name, those that there were."""
    return {key: value for key, value in counters.items()
            if key.startswith(prefix) and "_drop_" in key and value}


def guest_rows(vif, sent, received):
    """A guest's own counts beside those of its vif."""
    dropped = drops(vif, "from_guest")
    early = sum(value for key, value in dropped.items() if key in COUNTED_BEFORE_FORWARDING)
    return [Row(f"{vif['domain']} sent", sent, vif["from_guest_frames"], dropped, early),
            Row(f"{vif['domain']} received", received, vif["to_guest_frames"],
                drops(vif, "to_guest"))]


def settled(read_rows, looks=5):
    """Rows that agree, if they do within a few looks a second apart: a network stack says something
    by itself now and then, between one look and the other."""
    rows = read_rows()
    while looks > 1 and any(row.unexplained() for row in rows):
        time.sleep(1)
        rows = read_rows()
        looks -= 1
    return rows


def summary(rows):
    """Prints the rows. Raises when a count is 0, or is not ours and no named drop says why."""
    print(f"\n{'who':<22}{'counted':>14}{'we counted':>14}   named drops")
    for row in rows:
        named = ", ".join(f"{key} {value:,}" for key, value in row.drops.items()) or "none"
        print(f"{row.name:<22}{row.theirs:>14,}{row.ours:>14,}   {named}")
    bad = [f"{row.name} {row.theirs}, we counted {row.ours}" for row in rows if row.unexplained()]
    if bad:
        raise DemoError("counts differ and no named drop explains it: " + "; ".join(bad))
    silent = [row.name for row in rows if row.theirs == 0]
    if silent:
        raise DemoError("there was no traffic: " + ", ".join(silent) + " nothing")
    say("every count agrees")


def main(run, seconds, more=lambda parser: None):
    """Runs run(options); the exit status. What failed is one line, its details follow."""
    parser = argparse.ArgumentParser(prog="bench/demo")
    parser.add_argument("--seconds", type=int, default=seconds, help="how long traffic runs")
    more(parser)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that all is ended
    try:
        run(options)
    except KeyboardInterrupt:
        print("\nbench/demo: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        reason, *details = str(error).splitlines() or [type(error).__name__]
        print("\n".join([f"bench/demo: {reason}", *details]), file=sys.stderr)
        return 1
    return 0
