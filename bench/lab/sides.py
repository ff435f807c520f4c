"""The two backends that take turns on one worker core and one guest core: ours in a lab, and DPDK's
own vhost-user (testpmd between net_vhost and net_null, testpmd on net_virtio_user as the guest)."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests" / "lab"))

from lab import Lab, until  # noqa: E402

WORKER_CPU, GUEST_CPU = 1, 0
WARM_UP_S = 0.5
MAC, OTHER_MAC = "00:16:3e:00:00:01", "00:16:3e:00:00:02"
NUMBERED_PER_S = 50_000
CONFIG = """
lcores = [{worker}]
memory = "hugepages"
spin-us = "always"
wait-for-hotplug = false

[[port]]
name = "null"
device = "net_null0,size={size},no-rx={no_rx}"
mtu = 1504

[defaults]
nic = "null"
mtu = 1504
rx-filter = {filtered}
"""


def config_for(size, no_rx, filtered):
    return CONFIG.format(worker=WORKER_CPU, size=size, no_rx=int(no_rx),
                         filtered=str(filtered).lower())


def numbered_frames(size, count):
    """Numbered frames from one guest to another, every one checked: lost beyond named drops,
    repeated, changed or reordered ones end the measurement. Says what was found."""
    with Lab() as lab:
        lab.configure(config_for(size, no_rx=True, filtered=True))
        lab.start_daemon()
        lab.create("g1", MAC)
        lab.create("g2", OTHER_MAC)
        # On one CPU, so both sleep when they can; paced, or most would find no buffer.
        receiver = lab.pktgen("g2", "--numbered", "--events", "receive", pin=GUEST_CPU)
        sender = lab.pktgen("g1", "--numbered", "--events", "--count", count, "send", "--rate",
                            NUMBERED_PER_S, "--size", size, "--to", OTHER_MAC, pin=GUEST_CPU)
        sent = lab.result(sender)
        until(lambda: lab.count("g2", "to_guest_frames", "to_guest_drop_") == sent["sent"],
              "the last frames")
        dropped = lab.count("g2", "to_guest_drop_")
        found = lab.stop(receiver)
        lab.drain_daemon()
    if (sent["faults"] or found["faults"] or found["received"] + dropped != sent["sent"] or
            found["received_bytes"] != found["received"] * size):
        raise RuntimeError(f"numbered frames of {size} bytes: {sent}, {found}, {dropped} dropped")
    return (f"{sent['sent']} numbered frames of {size} bytes: {found['received']} arrived intact "
            f"and in order, {dropped} were dropped by name")


class RingLimit:
    """What rings and copies alone allow."""
    name = "ring_limit"

    def window(self, direction, size, seconds):
        program = CHECKOUT / "build" / "release" / "bench" / "ring_limit"
        shown = subprocess.run([program, direction, str(size), str(GUEST_CPU), str(WORKER_CPU),
                                str(seconds)], check=True, capture_output=True, text=True).stdout
        return json.loads(shown)["frames_per_s"]


class Ours:
    """The daemon and netfront-pktgen: a grant copy for each frame, or pages that stay mapped."""
    VERBS = {"from_guest": "send", "to_guest": "receive", "both": "both"}

    def __init__(self, staging, costs=()):
        """`costs`: what the lab charges, in the words of `xenlab cost`; nothing."""
        self.name = "ours-staged" if staging else "ours"
        self.options = ["--staging"] if staging else []
        self.costs = costs

    def window(self, direction, size, seconds):
        """Frames per second that the worker moved in the middle of a stream."""
        counters = [f"{way}_frames" for way in ("from_guest", "to_guest")
                    if direction in (way, "both")]
        with Lab() as lab:
            lab.configure(config_for(size, direction == "from_guest", filtered=False))
            lab.tool("cost", *self.costs)
            lab.start_daemon()
            lab.create("g1", MAC)
            verb = [self.VERBS[direction]]
            if direction != "to_guest":
                verb += ["--size", size]
            guest = lab.pktgen("g1", *self.options, *verb, pin=GUEST_CPU)
            time.sleep(WARM_UP_S)
            began, first = time.monotonic(), lab.count("g1", *counters)
            time.sleep(seconds)
            ended, last = time.monotonic(), lab.count("g1", *counters)
            found = lab.stop(guest)
            if found["faults"] != 0:
                raise RuntimeError(f"netfront-pktgen found faults: {found}")
            lab.drain_daemon()
        return (last - first) / (ended - began)


class TestPmd:
    """A dpdk-testpmd that takes commands."""

    def __init__(self, prefix, main_cpu, forward_cpu, vdevs, *options):
        self.prefix = prefix
        self.words = ["dpdk-testpmd", "--no-pci", f"--file-prefix={prefix}", "-m", "256",
                      "--single-file-segments", "--lcores", f"0@{main_cpu},1@{forward_cpu}",
                      *(f"--vdev={vdev}" for vdev in vdevs), "--", "-i", "--burst=32", *options]
        self.process = subprocess.Popen(["stdbuf", "-oL", *self.words], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)

    def say(self, command):
        """What it answers. A command that it cannot take marks the end."""
        print(f"{command}\nshow port info 99999", file=self.process.stdin, flush=True)
        lines = []
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"testpmd ended: {' '.join(self.words)}\n{''.join(lines)}")
            lines.append(line)
            if "Bad arguments" in line:
                return "".join(lines)

    def counted(self, port, which):
        return int(re.search(rf"{which}-packets: (\d+)", self.say(f"show port stats {port}"))[1])

    def end(self):
        try:
            self.process.communicate("stop\nquit\n", timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # testpmd leaves its pages for whoever would attach to it; the machine would miss them.
        for left in pathlib.Path("/dev/hugepages").glob(f"{self.prefix}map_*"):
            left.unlink()


class VhostUser:
    """The rival; `ring` is split or packed. Both ways at once: its guest sends back what comes."""
    MODES = {"from_guest": "txonly", "to_guest": "rxonly", "both": "io"}
    MEASURED = {"from_guest": [("host", 1, "TX")], "to_guest": [("guest", 0, "RX")],
                "both": [("host", 1, "TX"), ("guest", 0, "RX")]}

    def __init__(self, ring, vectorized):
        self.name = f"vhost-user-{ring}"
        self.ring = f"packed_vq={int(ring == 'packed')},vectorized={int(vectorized)}"

    def window(self, direction, size, seconds):
        with tempfile.TemporaryDirectory() as directory:
            socket = f"{directory}/vhost"
            host = TestPmd("host", GUEST_CPU, WORKER_CPU,
                           [f"net_vhost0,iface={socket},queues=1",
                            f"net_null0,size={size},no-rx={int(direction == 'from_guest')}"],
                           "--forward-mode=io", "--rxd=1024", "--txd=1024")
            guest = None
            try:
                host.say("show port info all")
                guest = TestPmd("guest", WORKER_CPU, GUEST_CPU,
                                [f"net_virtio_user0,path={socket},queue_size=1024,mrg_rxbuf=1,"
                                 f"in_order=1,{self.ring}"],
                                f"--txpkts={size}", "--rxd=1024", "--txd=1024",
                                f"--forward-mode={self.MODES[direction]}")
                self.lines = [" ".join(host.words), " ".join(guest.words)]
                guest.say("start")
                host.say("start")
                time.sleep(WARM_UP_S)
                measured = self.MEASURED[direction]
                count = lambda: sum((host if where == "host" else guest).counted(port, which)
                                    for where, port, which in measured)
                began, first = time.monotonic(), count()
                time.sleep(seconds)
                ended, last = time.monotonic(), count()
            finally:
                for each in (guest, host):
                    if each:
                        each.end()
        return (last - first) / (ended - began)


def round_trip_ns():
    """Between the two CPUs, now."""
    program = CHECKOUT / "build" / "release" / "bench" / "round_trip"
    shown = subprocess.run([program, str(GUEST_CPU), str(WORKER_CPU)], check=True,
                           capture_output=True, text=True).stdout
    return float(re.search(r"[\d.]+(?=})", shown)[0])


def take_hugepages(count):
    """Sets the machine's number of hugepages: how many there were."""
    path = pathlib.Path("/proc/sys/vm/nr_hugepages")
    before = int(path.read_text())
    if before < count:
        path.write_text(str(count))
        if int(path.read_text()) < count:
            raise RuntimeError(f"there are no {count} hugepages to have")
    if "hugetlbfs" not in pathlib.Path("/proc/mounts").read_text():
        os.makedirs("/dev/hugepages", exist_ok=True)
        subprocess.run(["mount", "-t", "hugetlbfs", "none", "/dev/hugepages"], check=True)
    return before


def give_hugepages_back(before):
    pathlib.Path("/proc/sys/vm/nr_hugepages").write_text(str(before))
