"""The steps of the daemon's start-up fail by real means, and leave nothing behind.

Most steps need a file descriptor of their own: with one more allowed each time, the start fails at
one step after the other. What needs none fails for reasons of its own.
"""

import functools
import pathlib
import re

from netback import FEW_BUFFERS
from scenarios.lab import scenario
from scenarios.startup import assert_fails, config, difference, port, traces

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
DESCRIPTORS_MIN = 4   # fewer, and not even the libraries load
DESCRIPTORS_MAX = 64  # enough for any start
WATCHES = "/proc/sys/fs/epoll/max_user_watches"  # how many descriptors root may wait for
OUTPUT = "/tmp/daemon-start.out"
TAP = "net_virtio_user0,path=/dev/vhost-net,iface=nb0"


def steps():
    """The names, as the daemon's list has them."""
    source = (CHECKOUT / "control" / "daemon.cpp").read_text()
    listing = source[source.index("Daemon::steps()"):]
    listing = listing[:listing.index("\n}\n")]
    return re.findall(r'^      \{"([^"]+)",', listing, re.M)


@functools.lru_cache
def traces_before(lab):
    """Taken once: no start may change them."""
    return traces(lab)


def failing_step(lab, words, before="true", after="true", limit=1024):
    """The step at which a start fails, with nothing left behind; None when it does not fail."""
    there = traces_before(lab)
    _, output = lab.host.dom0(
        f": >{OUTPUT}; {before};"  # or the loop reads what the start before has printed
        f" (ulimit -n {limit}; exec dpdk-netback {words}) </dev/null >{OUTPUT} 2>&1 &"
        f" while kill -0 $! 2>/dev/null && ! grep -q '^dpdk-netback: ready' {OUTPUT};"
        f" do sleep 0.1; done; kill $! 2>/dev/null; wait; tail -n 1 {OUTPUT}; {after}", 60)
    left = traces(lab)
    assert left == there, f"{limit} descriptors, {output}left behind:\n{difference(there, left)}"
    found = re.search(r"dpdk-netback: cannot start: ([^:]+): (.+)", output)
    return found.group(1) if found else None


def without_descriptors(lab, words):
    """The steps that fail, with more and more descriptors, until the start succeeds."""
    failed = []
    limit = DESCRIPTORS_MIN
    while limit < DESCRIPTORS_MAX:
        step = failing_step(lab, words, limit=limit)
        if step is None:
            return failed
        if step not in failed:
            failed.append(step)
        limit += 8 if step == "start DPDK" else 1  # that one wants plenty
    raise AssertionError(f"no start with {DESCRIPTORS_MAX} descriptors; failed at {failed}")


def without_watches(lab, words):
    """The step that fails where the daemon may wait for its signals and DPDK for its interrupts,
    and nobody for more."""
    held = int(lab.host.run("dom0", "cat /proc/[0-9]*/fdinfo/* 2>/dev/null | grep -c ^tfd; true"))
    assert_fails(lab, 1, "cannot start: start worker: cannot wait for a descriptor:"
                 " No space left on device (fix: raise fs.epoll.max_user_watches)", words,
                 f"cat {WATCHES} >/tmp/watches; echo {held + 2} >{WATCHES}",
                 f"cat /tmp/watches >{WATCHES}; rm /tmp/watches")
    return "start worker"


@scenario("start-up: each step fails by real means, nothing is left", guests=(),
          daemon=None)
def every_step(lab):
    lab.host.run("dom0", "modprobe tun; modprobe vhost_net; mkdir -p /run/dpdk /run/dpdk-netback;"
                         " touch /run/dpdk-netback/control.sock.lock")
    null = FEW_BUFFERS + port("net_null0")
    words = config(lab, null, "steps")
    failed = without_descriptors(lab, words)
    lab.note("too few descriptors: " + ", ".join(failed))
    others = [
        without_watches(lab, words),
        failing_step(lab, config(lab, "lcorse = [0]\n", "bad")),
        failing_step(lab, words, "modprobe xen-netback", "modprobe -r xen-netback"),
        failing_step(lab, config(lab, port("net_af_packet0,iface=lost0"), "bad")),
        failing_step(lab, config(lab, FEW_BUFFERS + port(TAP, 'bridge = "xenbr7"'), "bad")),
        failing_step(lab, words, "mkdir /run/dpdk-netback/control.sock",
                     "rmdir /run/dpdk-netback/control.sock"),
        failing_step(lab, words, "xenstore-rm /local/domain/0/domid",
                     "xenstore-write /local/domain/0/domid 0"),
        failing_step(lab, config(lab, FEW_BUFFERS.replace("8192", "65536") + port("net_null0"),
                                 "bad")),
    ]
    for step in others:
        assert step is not None, f"one of these starts did not fail: {others}"
    seen = {*failed, *others}
    names = steps()
    assert len(names) >= 10 and seen == set(names), \
        f"never seen to fail: {set(names) - seen}; unknown: {seen - set(names)}"
    lab.note(f"{len(seen)} of {len(names)} steps seen to fail")
    lab.host.run("dom0", "rm -r /etc/bad /etc/steps")
