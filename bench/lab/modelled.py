"""bench/compare lab, cases lab_staging_*: pages that stay mapped beside grant copies, where each
copy is charged what one takes of a hypervisor. A projection, printed as one: `modelled`."""

from compare_lab import HUGEPAGES, say
from scale import COPY_NS, Windows
from sides import Ours, give_hugepages_back, take_hugepages

SIZE = 64
CASES = {f"lab_staging_{direction}_{SIZE}": direction for direction in ("from_guest", "to_guest")}
COSTS = ("--copy", COPY_NS)


def rows_of(case, options, windows_min):
    sides = {"grant-copy": Ours(staging=False, costs=COSTS),
             "staging": Ours(staging=True, costs=COSTS)}
    say(f"{case}: modelled, {COPY_NS} ns charged for each grant copy")
    windows = Windows(case, "staging", "grant-copy")
    for _ in range(options.windows):
        for name, side in sides.items():
            windows.add(name, side.window(CASES[case], SIZE, options.seconds))
    yield from windows.rows(windows_min, modelled=f"{COPY_NS} ns a grant copy")


def measure(chosen, options, windows_min):
    """The rows of the chosen cases, as they come."""
    before = take_hugepages(HUGEPAGES)
    try:
        for case in chosen:
            yield from rows_of(case, options, windows_min)
    finally:
        give_hugepages_back(before)
