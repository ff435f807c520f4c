"""The lab's library against the real one: the same calls, the same outcomes."""

import difflib
import pathlib
import subprocess
import sys

from scenarios.lab import scenario

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "lab"))
from lab import BUILD, DAEMON, Lab, sha256  # noqa: E402

PROGRAM = "xenlab-conformance"
LIBRARIES = ("xengnttab", "xenevtchn")


def functions():
    """All that the two libraries export."""
    for name in LIBRARIES:
        library = f"/usr/lib/x86_64-linux-gnu/lib{name}.so"
        shown = subprocess.run(["nm", "-D", "--defined-only", library],
                               check=True, capture_output=True, text=True).stdout
        yield from (line.split()[2].split("@")[0] for line in shown.splitlines() if " T " in line)


@scenario("the lab answers as a real host does", guests=(), daemon=None)
def same_transcript(lab):
    real = lab.host.run("dom0", f"modprobe xen-gntalloc; {PROGRAM} 2>/dev/null", 60)
    with Lab() as emulated:
        done = subprocess.run(emulated.command(0, [BUILD / "lib" / "xenlab" / PROGRAM]),
                              capture_output=True, text=True, timeout=60, check=True)
    difference = "\n".join(difflib.unified_diff(real.splitlines(), done.stdout.splitlines(),
                                                "real", "lab", lineterm="", n=0))
    assert not difference, difference
    called = {line.split(":")[0] for line in real.splitlines()}
    assert called == set(functions()), f"not called: {set(functions()) - called}"
    lab.note(f"{len(real.splitlines())} outcomes of {len(called)} functions are the same")


@scenario("the daemon is the one of the lab, and knows of no lab")
def same_daemon(lab):
    running = f"/proc/{lab.daemon_pid()}/exe"
    digest = lab.host.run("dom0", f"sha256sum {running}").split()[0]
    lab.note(f"sha256 of the daemon: {digest}")
    assert digest == sha256(DAEMON), f"in a lab: {sha256(DAEMON)}"
    assert lab.host.dom0(f"grep -q xenlab {running}")[0] == 1
