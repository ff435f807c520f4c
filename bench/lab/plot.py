#!/usr/bin/env python3
"""Draws the rows of `bench/compare lab --json` as an SVG: bench/lab/plot.py < ROWS > FILE.svg

A panel for each direction, a group of bars for each size and class. Needs gnuplot."""

import json
import shutil
import subprocess
import sys

DIRECTIONS = {"from_guest": "from the guest", "to_guest": "to the guest",
              "both": "both ways, the sum"}
BARS = [("ours", "dpdk-netback", "#1f6fb4"),
        ("ours-staged", "dpdk-netback, pages mapped", "#7fb3dc"),
        ("vhost-user-split", "vhost-user, split ring", "#e08214"),
        ("vhost-user-packed", "vhost-user, packed ring", "#b2abd2")]
LIMIT = "limit"
PANEL = (900, 300)  # in pixels


def groups_of(rows):
    """{direction: {(size, class): {bar: frames per second}}}"""
    found = {}
    for row in rows:
        words = row["case"].removeprefix("lab_").removeprefix("limit_")
        ours = "ours-staged" if words.endswith("_staged") else "ours"
        words = words.removesuffix("_staged")
        direction, size = words.rsplit("_", 1)
        if direction not in DIRECTIONS:  # of many vifs
            continue
        group = found.setdefault(direction, {}).setdefault((int(size), row["rtt_class"]), {})
        group[ours] = row["ours"]
        group[LIMIT if row["peer_name"] == "ring_limit" else row["peer_name"]] = row["peer"]
    return {direction: dict(sorted(found[direction].items()))
            for direction in DIRECTIONS if direction in found}


def block(name, groups):
    """A gnuplot data block; what was not measured is a question mark."""
    lines = [f"${name} << END"]
    for (size, classed), group in groups.items():
        figures = (f"{group[bar] / 1e6:.2f}" if bar in group else "?"
                   for bar in (*(bar for bar, _, _ in BARS), LIMIT))
        lines.append(f'"{size}\\n{classed}" {" ".join(figures)}')
    return "\n".join([*lines, "END"])


def script(groups):
    width, height = PANEL
    lines = [f"set terminal svg size {width},{height * len(groups)} font 'sans,12' "
             "background 'white'",
             "set datafile missing '?'", "set style data histograms",
             "set style histogram clustered gap 1", "set style fill solid noborder",
             "set boxwidth 0.9", "set yrange [0:*]", "set ylabel 'million frames/s'",
             "set grid ytics lc '#dddddd'", "set key outside right top", "set border 3",
             "set tics nomirror", "set bmargin 4"]
    lines += [block(name, found) for name, found in groups.items()]
    lines.append(f"set multiplot layout {len(groups)},1")
    for name, found in groups.items():
        measured = {bar for group in found.values() for bar in group}
        series = [f"${name} using {column}:xtic(1) title '{title}' lc '{colour}'"
                  for column, (bar, title, colour) in enumerate(BARS, 2) if bar in measured]
        if LIMIT in measured:
            series.append(f"${name} using 0:{len(BARS) + 2} with points pt 7 ps 0.6 lc 'black' "
                          "title 'limit of rings and copies'")
        lines += [f"set title 'Frames {DIRECTIONS[name]}, by bytes and distance of the CPUs'",
                  "plot " + ", ".join(series)]
    return "\n".join([*lines, "unset multiplot", ""])


def main():
    if not shutil.which("gnuplot"):
        sys.exit("plot.py: no gnuplot (fix: apt-get install gnuplot-nox)")
    try:
        groups = groups_of(json.loads(line) for line in sys.stdin if line.strip())
    except (ValueError, KeyError) as error:
        sys.exit(f"plot.py: no rows of bench/compare lab --json: {error!r}")
    if not groups:
        sys.exit("plot.py: there are no rows (fix: bench/compare lab --json | bench/lab/plot.py)")
    done = subprocess.run(["gnuplot"], input=script(groups), capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        sys.exit(f"plot.py: gnuplot: {done.stderr}")
    print(done.stdout, end="")


if __name__ == "__main__":
    main()
