"""A lab for a scenario: its domains, the daemon in domain 0, programs in the others."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import socket
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


def config_of(name, device, defaults=""):
    """One port and all vifs on it; nothing waits for libxl's scripts."""
    return f"""
memory = "pages"
memory-mb = 128
frame-buffers = 8192
wait-for-hotplug = false
log-level = "info"

[[port]]
name = "{name}"
device = "{device}"

[defaults]
nic = "{name}"
{defaults}
"""


COPY_NS = 500  # about what one took of Linux's netback on a Xeon E5-2699 v3 (linux-maple fdbb2e36)
CONFIG = config_of("null", "net_null0,no-rx=1")


class LabError(Exception):
    """A command failed, or something did not come in time."""


class Skip(Exception):
    """The scenario cannot run here; says why."""


SCENARIOS = []


@dataclasses.dataclass
class Scenario:
    """What it is called, how it begins, and what it does with a Lab."""
    name: str
    run: callable
    daemon: bool = True  # running before
    lab: type = None     # another kind of Lab


def scenario(name, **how):
    """Adds a function of a Lab to the list."""
    def add(function):
        SCENARIOS.append(Scenario(name, function, **how))
        return function
    return add


def xen_programs():
    """Where Debian's Xen tools lie, unpacked; nothing of them is installed."""
    return packages.fetch_tools().root


def xenstored():
    return xen_programs() / "usr/lib/xen-4.17/bin/xenstored"


def until(condition, what, seconds=10):
    """Waits for a condition; what it gave."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise LabError(f"not within {seconds} s: {what}")
        time.sleep(0.005)
    return result


class Batch:
    """A xenlab that takes one command after the other: quick, for who has many."""

    def __init__(self, lab):
        self.lab = lab
        command = [*lab.user_words, lab.program(XENLAB), "--lab", lab.path, "batch"]
        self.process = subprocess.Popen(list(map(str, command)), text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def tool(self, *words):
        """What the command printed."""
        print(*words, file=self.process.stdin, flush=True)
        printed = []
        while (line := self.process.stdout.readline().rstrip("\n")) != "ok":
            printed.append(line)
            if line.startswith("failed: ") or self.process.poll() is not None:
                raise LabError(f"xenlab {' '.join(map(str, words))}: {line}")
        return "\n".join(printed)

    def pktgen(self, domain, *words):
        """A netfront-pktgen that has connected, with no xenlab between."""
        lines = self.tool("environment", domain).splitlines()
        environment = {**os.environ, **dict(line.split("=", 1) for line in lines)}
        return self.lab.wait_connected(domain, subprocess.Popen(
            [self.lab.program(PKTGEN), *words], text=True, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE))

    def end(self):
        self.process.communicate()


class Lab:
    """A lab that is up for as long as the context lasts."""

    def __init__(self, *up_words):
        self.up_words = up_words
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="xl"))
        self.path = self.directory / "lab"
        self.daemon = None
        self.daemon_place = []  # words before its command: where it runs
        self.user_words = []    # words before every command: who runs it
        self.script = None      # of its vifs
        self.processes = []
        self.notes = []

    def __enter__(self):
        (self.directory / "config" / "vif.d").mkdir(parents=True)
        self.tool("up", "--xenstored", self.program(xenstored()), *self.up_words)
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

    def program(self, path):
        """Where this lab's user finds it."""
        return path

    # --- xenlab ---

    def command(self, domain, words):
        return [str(word) for word in [*self.user_words, self.program(XENLAB), "--lab", self.path,
                                       "exec", domain, "--", *words]]

    def tool(self, *words):
        """What `xenlab WORDS` printed."""
        command = [*self.user_words, self.program(XENLAB), "--lab", self.path, *words]
        path = f"{os.environ['PATH']}:{xen_programs() / 'usr/bin'}"  # for scripts of vifs
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              timeout=60, check=False, env={**os.environ, "PATH": path})
        if done.returncode != 0:
            raise LabError(f"xenlab {' '.join(map(str, words))}: {done.stderr.strip()}")
        return done.stdout

    def create(self, name, mac=None):
        """A domain, with a vif if it has an address: its number."""
        [domain] = json.loads(self.tool("--json", "domain", "create", name))
        if mac:
            self.add_vif(name, mac)
        return domain["domid"]

    def add_vif(self, name, mac, **words):
        """As xl does with these words of a vif."""
        script = {"script": self.script} if self.script else {}
        words = [f"{key}={value}" for key, value in {"mac": mac, **script, **words}.items()]
        self.tool("vif", "add", name, *words)

    def batch(self):
        """A Batch of this lab."""
        return Batch(self)

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

    def start(self, domain, *words, pin=None, stdin=False):
        """A process of a domain, on one CPU if told; with a pipe to its input if told."""
        pinned = ["taskset", "-c", str(pin)] if pin is not None else []
        process = subprocess.Popen([*pinned, *self.command(domain, words)], text=True,
                                   stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.processes.append(process)
        return process

    def pktgen(self, domain, *words, pin=None, place=()):
        """A running netfront-pktgen that has connected; `place`: words before its command."""
        return self.wait_connected(
            domain, self.start(domain, *place, self.program(PKTGEN), *words, pin=pin))

    @staticmethod
    def wait_connected(domain, process):
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

    def start_daemon(self, prefix=(), meanwhile=lambda: None):
        """Starts it, does `meanwhile`, and waits until it is ready. `prefix`: words in front of the
        daemon's, of a program that becomes it."""
        before = self.log().count("dpdk-netback: ready")
        log = open(self.directory / "daemon.log", "a")
        environment = {**os.environ, "RUNTIME_DIRECTORY": str(self.directory)}
        words = [*prefix, self.program(DAEMON), "--config", self.directory / "config",
                 "--socket", self.directory / "control.sock"]
        self.daemon = subprocess.Popen(self.command(0, [*self.daemon_place, *words]),
                                       stderr=log, stdout=log, env=environment)
        meanwhile()
        until(lambda: self.daemon.poll() is not None or
              self.log().count("dpdk-netback: ready") > before, "daemon ready")
        if self.daemon.poll() is not None:
            raise LabError(f"the daemon ended:\n{self.log()}")

    def log(self):
        path = self.directory / "daemon.log"
        return path.read_text() if path.exists() else ""

    def ask(self, verb, **arguments):
        """What the daemon answers on its socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.directory / "control.sock"))
            connection.sendall(json.dumps({"verb": verb, "args": arguments}).encode() + b"\n")
            answer = json.loads(connection.makefile().readline())
        if not answer["ok"]:
            raise LabError(f"{verb} {arguments}: {answer}")
        return answer["result"]

    def ctl(self, *words):
        """The answer of netbackctl."""
        done = subprocess.run([NETBACKCTL, "--json", "--socket", self.directory / "control.sock",
                               *words], capture_output=True, text=True, timeout=20, check=False)
        if done.returncode != 0:
            raise LabError(f"netbackctl {' '.join(words)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def count(self, name, *counters):
        """The sum of a connected vif's counters; NAME_ stands for all that begin so."""
        return sum(value for vif in self.ask("stats")["vifs"] if vif["domain"] == name
                   for key, value in vif.items() for counter in counters
                   if key == counter or counter.endswith("_") and key.startswith(counter))

    def connected(self):
        """Names of the domains whose vifs are served."""
        return {vif["domain"] for vif in self.ask("list")["vifs"] if vif["state"] == "connected"}

    def count_all(self, counter):
        """The sum of a counter over all connected vifs."""
        return sum(vif.get(counter, 0) for vif in self.ask("stats")["vifs"])

    def port_frames(self):
        """Frames that the port's driver took."""
        return sum(port["driver_sent_frames"] for port in self.ask("stats")["ports"])

    def drain_daemon(self):
        """Stops it as for an update; what it did not give back is an error."""
        self.ctl("stop", "--drain")
        if self.daemon.wait(20) != 0 or "not given back" in self.log():
            raise LabError(f"the daemon stopped badly:\n{self.log()}")

    def daemon_holds(self):
        """What the daemon's process has of guests: descriptors, mapped pages, event channels; and
        its memory in KiB."""
        process = pathlib.Path(f"/proc/{self.daemon.pid}")
        maps = (process / "maps").read_text()
        status = (process / "status").read_text()
        [counted] = [each for each in json.loads(self.tool("--json", "processes"))
                     if each["pid"] == self.daemon.pid]
        return {"fds": len(list((process / "fd").iterdir())),
                "mapped": maps.count("memfd:xenlab"),
                "ports": counted["ports"],
                "rss": sum(int(status.split(key)[1].split()[0])  # guests' pages are "mapped"
                           for key in ("RssAnon:", "RssFile:"))}

    def machine_in_daemon(self):
        """How the daemon has the lab's memory, in which its copies find all guests' pages: the
        lines of /proc/PID/smaps about it, by name, with "start" in bytes."""
        largest = {}
        for line in pathlib.Path(f"/proc/{self.daemon.pid}/smaps").read_text().splitlines():
            first, *words = line.split()
            if not first.endswith(":"):  # a mapping begins
                found = {"start": int(first.split("-")[0], 16), "name": (words + [""])[4]}
            elif first == "VmFlags:":
                found["VmFlags"] = words
                if found["name"].startswith("/memfd:xenlab"):
                    largest = max(largest, found, key=lambda each: each.get("Size", 0))
            elif words[-1] == "kB":
                found[first[:-1]] = int(words[0])
        return largest

    def daemon_cpu_seconds(self):
        """What it has used so far."""
        words = pathlib.Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(word) for word in words[11:13]) / os.sysconf("SC_CLK_TCK")


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
