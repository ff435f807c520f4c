"""Guests with Linux's own network stack: a network namespace whose interface is a guest's vif
(netfront-pktgen tap). Dom0 is such a namespace too: the daemon's port is a tap in it."""

import json
import os
import pathlib
import re
import subprocess
import sys

from lab import LabError, Skip, config_of

STREAM = pathlib.Path(__file__).resolve().parent / "stream.py"
PORT_TAP = "netback0"
CONFIG = config_of("tap", f"net_tap0,iface={PORT_TAP},mac=02:00:00:00:00:fe")
DOM0 = 254  # its number among the addresses
MIB = 1 << 20
NETIF_MAX = 65_535  # bytes of a frame, Ethernet's header included


def mac(number):
    return f"00:16:3e:00:00:{number:02x}"


def address(number):
    return f"10.0.0.{number}"


def address6(number):
    return f"fd00::{number:x}"


class Space:
    """A network namespace; of an ordinary user in a namespace of that user's own."""

    def __init__(self, lab):
        rights, self.words = [], []
        if os.getuid() != 0:
            rights, self.words = ["--map-root-user"], ["--user", "--preserve-credentials"]
        keeper = subprocess.Popen(
            ["unshare", *rights, "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lab.processes.append(keeper)
        self.lab = lab
        if keeper.stdout.readline() != "up\n":
            raise Skip(f"no network namespaces here: {keeper.stderr.read().strip()}")
        self.words = ["nsenter", f"--target={keeper.pid}", "--net", *self.words]

    def run(self, *words, seconds=60, given=""):
        """What the command printed, given that to read; it must go well."""
        done = subprocess.run([*self.words, *map(str, words)], capture_output=True, text=True,
                              timeout=seconds, check=False, input=given)
        if done.returncode != 0:
            raise LabError(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *words):
        process = subprocess.Popen([*self.words, *map(str, words)], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lab.processes.append(process)
        return process

    def configure(self, interface, number):
        self.run("ip", "link", "set", interface, "up")
        self.run("ip", "address", "add", f"{address(number)}/24", "dev", interface)
        self.run("ip", "address", "add", f"{address6(number)}/64", "dev", interface, "nodad")

    def ping(self, target, count=100):
        """All of them come back; the times that ping prints."""
        ping = "ping6" if ":" in target else "ping"
        shown = self.run("busybox", ping, "-c", count, "-i", "0.01", "-W", "2", target)
        assert f"{count} packets received" in shown, shown
        return re.search(r"min/avg/max = (\S+)", shown)[1]

    def stream(self, *words):
        """A stream.py that listens or is connected."""
        process = self.start(sys.executable, STREAM, *words)
        said = process.stderr.readline()
        assert said in ("listening\n", "connected\n"), said + process.stderr.read()
        return process


class Guest(Space):
    """A domain with one vif and a network stack."""

    def __init__(self, lab, number, *options):
        super().__init__(lab)
        self.name, self.number, self.options = f"g{number}", number, options
        lab.create(self.name, mac(number))
        self.connect()

    def connect(self):
        """Its netfront."""
        self.frontend = self.lab.pktgen(self.name, *self.options, "tap", "eth0", place=self.words)
        self.run("ip", "link", "set", "eth0", "gso_max_size", NETIF_MAX - 14)
        self.configure("eth0", self.number)

    def close(self):
        """What the netfront found when it was told to end."""
        found = self.lab.stop(self.frontend)
        assert found["bad_answers"] == 0, found
        return found


def start_dom0(lab):
    """The daemon with its port on a tap of a network namespace: that one."""
    dom0 = Space(lab)
    lab.configure(CONFIG)
    lab.daemon_place = dom0.words
    lab.start_daemon()
    dom0.configure(PORT_TAP, DOM0)
    return dom0


def begin_transfer(sender, receiver, target, port=5001, mebibytes=64, rate=0):
    """TCP; the other end of it and this one."""
    other = receiver.stream("tcp-receive", port)
    return sender.stream("tcp-send", target, port, mebibytes * MIB, port, rate), other


def end_transfer(sending, receiving, mebibytes=64):
    """Both ends have the same bytes: MiB/s."""
    results = []
    for process in (sending, receiving):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        results.append(json.loads(out))
    sent, received = results
    assert sent["bytes"] == received["bytes"] == mebibytes * MIB, results
    assert sent["sha256"] == received["sha256"], results
    return mebibytes / sent["seconds"]


def transfer(lab, sender, receiver, target, mebibytes=64):
    """A TCP transfer with equal sums; a note says how fast it was."""
    ends = begin_transfer(sender, receiver, target, mebibytes=mebibytes)
    lab.note(f"{mebibytes} MiB to {target}: {end_transfer(*ends, mebibytes):.0f} MiB/s")


def echo_udp(sender, receiver, target, sizes, count):
    """Datagrams of each size come back unchanged: how many."""
    echo = receiver.stream("udp-echo", 7000)
    shown = sender.run(sys.executable, STREAM, "udp-check", target, 7000, sizes, count)
    echo.kill()
    echo.wait()
    found = json.loads(shown)
    assert found["changed"] == 0 and found["same"] > 0, found
    return found["same"]
