"""A lab for a scenario: its domains, the daemon in domain 0, programs in the others."""

import contextlib
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
BUILD = CHECKOUT / "build" / "release"
XENLAB = BUILD / "lib" / "xenlab" / "xenlab"
DAEMON = BUILD / "control" / "dpdk-netback"
NETBACKCTL = BUILD / "control" / "netbackctl"
PKTGEN = BUILD / "bench" / "netfront-pktgen"
sys.path.insert(0, str(CHECKOUT / "tests" / "xen"))

import packages  # noqa: E402

CONFIG = """
memory = "pages"
memory-mb = 128
frame-buffers = 8192
wait-for-hotplug = false
log-level = "info"

[[port]]
name = "null"
device = "net_null0,no-rx=1"

[defaults]
nic = "null"
"""


class LabError(Exception):
    """A command failed, or something did not come in time."""


class Skip(Exception):
    """The scenario cannot run here; says why."""


SCENARIOS = []


def scenario(name):
    """Adds a function of a Lab with a running daemon to the list."""
    def add(function):
        SCENARIOS.append((name, function))
        return function
    return add


def xen_programs():
    """Where Debian's Xen tools lie, unpacked; nothing of them is installed."""
    return packages.fetch_tools().root


def until(condition, what, seconds=10):
    """Waits for a condition; what it gave."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise LabError(f"not within {seconds} s: {what}")
        time.sleep(0.005)
    return result


class Lab:
    """A lab that is up for as long as the context lasts."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="xl"))
        self.path = self.directory / "lab"
        self.daemon = None
        self.processes = []
        self.notes = []

    def __enter__(self):
        self.tool("up", "--xenstored", xen_programs() / "usr/lib/xen-4.17/bin/xenstored")
        (self.directory / "config" / "vif.d").mkdir(parents=True)
        self.configure(CONFIG)
        return self

    def __exit__(self, *_):
        for process in [self.daemon, *self.processes]:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        with contextlib.suppress(LabError):
            self.tool("down")
        subprocess.run(["rm", "-rf", self.directory], check=True)

    def note(self, text):
        self.notes.append(text)

    # --- xenlab ---

    def command(self, domain, words):
        return [str(word) for word in [XENLAB, "--lab", self.path, "exec", domain, "--", *words]]

    def tool(self, *words):
        """What `xenlab WORDS` printed."""
        done = subprocess.run([str(word) for word in [XENLAB, "--lab", self.path, *words]],
                              capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise LabError(f"xenlab {' '.join(map(str, words))}: {done.stderr.strip()}")
        return done.stdout

    def create(self, name, mac=None):
        """A domain, with a vif if it has an address: its number."""
        self.tool("domain", "create", name)
        if mac:
            self.tool("vif", "add", name, f"mac={mac}")
        return self.domid(name)

    def domid(self, name):
        for domain in json.loads(self.tool("--json", "domain", "list")):
            if domain["name"] == name:
                return domain["domid"]
        raise LabError(f"no domain {name}")

    def xenstore(self, domain, verb, *words):
        """What a xenstore tool prints in a domain, or None when it is refused."""
        program = xen_programs() / "usr/bin/xenstore"
        environment = {**os.environ, "VERB": f"xenstore-{verb}"}
        done = subprocess.run(
            self.command(domain, ["bash", "-c", 'exec -a "$VERB" "$0" "$@"', program, *words]),
            capture_output=True, text=True, timeout=10, check=False, env=environment)
        return done.stdout.rstrip("\n") if done.returncode == 0 else None

    # --- programs ---

    def start(self, domain, *words, pin=None):
        """A process of a domain, on one CPU if told."""
        pinned = ["taskset", "-c", str(pin)] if pin is not None else []
        process = subprocess.Popen([*pinned, *self.command(domain, words)], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.processes.append(process)
        return process

    def pktgen(self, domain, *words, pin=None):
        """A running netfront-pktgen that has connected."""
        process = self.start(domain, PKTGEN, *words, pin=pin)
        said = process.stderr.readline()
        if "connected" not in said:
            raise LabError(f"netfront-pktgen in {domain}: {said.strip()}")
        return process

    @staticmethod
    def result(process, seconds=60):
        """What a netfront-pktgen found."""
        out, err = process.communicate(timeout=seconds)
        try:
            return json.loads(out)
        except json.JSONDecodeError:
            raise LabError(f"status {process.returncode}: {out}{err}") from None

    def stop(self, process):
        """Asks a netfront-pktgen to end: what it found."""
        process.send_signal(signal.SIGTERM)
        return self.result(process)

    # --- the daemon ---

    def configure(self, text):
        (self.directory / "config" / "dpdk-netback.toml").write_text(text)

    def start_daemon(self, prefix=()):
        """`prefix`: words in front of the daemon's, of a program that becomes it."""
        before = self.log().count("dpdk-netback: ready")
        log = open(self.directory / "daemon.log", "a")
        environment = {**os.environ, "RUNTIME_DIRECTORY": str(self.directory)}
        self.daemon = subprocess.Popen(
            self.command(0, [*prefix, DAEMON, "--config", self.directory / "config",
                             "--socket", self.directory / "control.sock"]),
            stderr=log, stdout=log, env=environment)
        until(lambda: self.daemon.poll() is not None or
              self.log().count("dpdk-netback: ready") > before, "daemon ready")
        if self.daemon.poll() is not None:
            raise LabError(f"the daemon ended:\n{self.log()}")

    def log(self):
        path = self.directory / "daemon.log"
        return path.read_text() if path.exists() else ""

    def ctl(self, *words):
        """The answer of netbackctl."""
        done = subprocess.run([NETBACKCTL, "--json", "--socket", self.directory / "control.sock",
                               *words], capture_output=True, text=True, timeout=20, check=False)
        if done.returncode != 0:
            raise LabError(f"netbackctl {' '.join(words)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def count(self, name, *counters):
        """The sum of a connected vif's counters; NAME_ stands for all that begin so."""
        mine = f"{self.domid(name)}.0"
        return sum(value for vif in self.ctl("stats")["vifs"] if vif["vif"] == mine
                   for key, value in vif.items() for counter in counters
                   if key == counter or counter.endswith("_") and key.startswith(counter))

    def count_all(self, counter):
        """The sum of a counter over all connected vifs."""
        return sum(vif.get(counter, 0) for vif in self.ctl("stats")["vifs"])

    def port_frames(self):
        """Frames that the port's driver took."""
        return sum(port["driver_sent_frames"] for port in self.ctl("stats")["ports"])

    def drain_daemon(self):
        """Stops it as for an update; what it did not give back is an error."""
        self.ctl("stop", "--drain")
        if self.daemon.wait(20) != 0 or "not given back" in self.log():
            raise LabError(f"the daemon stopped badly:\n{self.log()}")

    def daemon_holds(self):
        """What the daemon's process has of guests: descriptors, mapped pages, memory in KiB."""
        process = pathlib.Path(f"/proc/{self.daemon.pid}")
        maps = (process / "maps").read_text()
        status = (process / "status").read_text()
        return {"fds": len(list((process / "fd").iterdir())),
                "mapped": maps.count("memfd:xenlab"),
                "rss": int(status.split("VmRSS:")[1].split()[0])}


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
