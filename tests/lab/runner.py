"""Runs the scenarios of some modules and prints TAP lines."""

import importlib
import pathlib
import time
import traceback

import lab as labs


def run(suite, scenario):
    """Runs one in a lab of its own."""
    started = time.monotonic()
    result, notes = f"ok - {suite}: {scenario.name}", []
    try:
        with (scenario.lab or labs.Lab)() as lab:
            notes = lab.notes
            try:
                if scenario.daemon:
                    lab.start_daemon()
                scenario.run(lab)
                if lab.daemon:
                    lab.drain_daemon()
            except labs.Skip:
                raise
            except Exception:
                lab.note(lab.log())
                raise
    except labs.Skip as skip:
        result += f" # SKIP {skip}"
    except Exception as error:
        result = f"not ok - {suite}: {scenario.name}"
        place = traceback.extract_tb(error.__traceback__)[-1]
        notes.append(f"{type(error).__name__}: {error}\n"
                     f"at {pathlib.Path(place.filename).name}:{place.lineno}")
    notes.append(f"({time.monotonic() - started:.1f} s)")
    for line in "\n".join(notes).splitlines():
        print(f"  {line}")
    print(result, flush=True)


def run_all(suite, modules, names):
    """All scenarios, or those with one of `names` in their name."""
    for module in modules:
        importlib.import_module(module)
    for scenario in labs.SCENARIOS:
        if not names or any(part in scenario.name for part in names):
            run(suite, scenario)
