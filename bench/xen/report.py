"""From windows to rows, and rows to JSON lines and a table."""

import json
import statistics
import sys


def percentile(values, share):
    """Nearest rank, so that a few windows give one that was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def row(case, unit, better, ours, peer, peer_name, **more):
    """`ours` and `peer`: a figure a window, in the order of the turns."""
    middle, rival = statistics.median(ours), statistics.median(peer)
    ratio = middle / rival if better == "more" else rival / middle
    return {"case": case, "peer_name": peer_name, "ours": round(middle, 1),
            "peer": round(rival, 1), "unit": unit, "ratio": round(ratio, 3), "windows": len(ours),
            "ours_p10": round(percentile(ours, 0.1), 1),
            "ours_p90": round(percentile(ours, 0.9), 1),
            "peer_p10": round(percentile(peer, 0.1), 1),
            "peer_p90": round(percentile(peer, 0.9), 1), **more}


def print_json(rows):
    for line in rows:
        print(json.dumps(line), flush=True)


def print_table(rows):
    print("| case | ours | peer | unit | ratio | ours p10..p90 | peer p10..p90 | windows | |\n"
          "|---|---:|---:|---|---:|---|---|---:|---|", file=sys.stderr)
    known = {"case", "peer_name", "ours", "peer", "unit", "ratio", "windows", "ours_p10",
             "ours_p90", "peer_p10", "peer_p90"}
    for line in rows:
        more = ", ".join(f"{key} {value}" for key, value in line.items() if key not in known)
        print(f"| {line['case']} | {line['ours']:,.0f} | {line['peer_name']} {line['peer']:,.0f} "
              f"| {line['unit']} | {line['ratio']:.2f} | {line['ours_p10']:,.0f}.."
              f"{line['ours_p90']:,.0f} | {line['peer_p10']:,.0f}..{line['peer_p90']:,.0f} "
              f"| {line['windows']} | {more} |", file=sys.stderr)
