"""bench/demo: what makes it fail, and the run that the readme does not have."""

import contextlib
import io
import os
import subprocess
import sys

from lab import CHECKOUT, Skip, scenario

sys.path.append(str(CHECKOUT / "bench"))

from demos import DemoError, Row, guest_rows, summary  # noqa: E402

VIF = {"domain": "g1", "from_guest_frames": 90, "from_guest_drop_bad_size_frames": 10,
       "from_guest_drop_port_full_frames": 5, "to_guest_frames": 50,
       "to_guest_drop_backlog_full_frames": 7}


def complaint(rows):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            summary(rows)
    except DemoError as error:
        return str(error)
    return None


@scenario("bench/demo fails when counts differ, unless a named drop explains it, and at silence")
def verdicts(_):
    # 10 frames were refused before we counted them as the guest's; the port's 5 came after that.
    assert complaint(guest_rows(VIF, 100, 50)) is None
    assert complaint(guest_rows(VIF, 101, 50)) == \
        "counts differ and no named drop explains it: g1 sent 101, we counted 90"
    assert complaint(guest_rows(VIF, 100, 49)) == \
        "counts differ and no named drop explains it: g1 received 49, we counted 50"
    assert complaint([Row("all", 7, 5, {"x_drop_y": 2}, 2)]) is None
    assert complaint([Row("all", 7, 5, {"x_drop_y": 2})]) is not None
    assert complaint([Row("tap sent", 0, 0), Row("all", 7, 7)]) == \
        "there was no traffic: tap sent nothing"


@scenario("bench/demo --tap: frames come from the port too, every count agrees")
def tap(_):
    if os.geteuid() != 0:
        raise Skip("a network namespace needs root")
    done = subprocess.run([CHECKOUT / "bench" / "demo", "--tap", "--seconds", "2"], text=True,
                          capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and "every count agrees" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("CYCLES/FRAME") == 2, done.stdout
    wrong = subprocess.run([CHECKOUT / "bench" / "demo", "--xen", "--tap"], text=True,
                           capture_output=True)
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == \
        (2, "bench/demo: --tap is for the lab"), wrong
