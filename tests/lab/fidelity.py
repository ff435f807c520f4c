"""A lab is as a Xen host: for programs of Xen that nobody here wrote, for ordinary users, for the
daemon."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

from costs import COPIER, shared_page
from lab import (DAEMON, PKTGEN, XENLAB, Lab, scenario, sha256, until, xen_programs, xenstored)
from traffic import G2, two_guests

PIECE = 1 << 20


def proxy(lab, domain, mode, other, path):
    """A vchan-socket-proxy between its standard input and output and another domain."""
    program = xen_programs() / "usr/lib/xen-4.17/bin/vchan-socket-proxy"
    process = subprocess.Popen(
        lab.command(domain, [program, f"--mode={mode}", other, path, "-"]),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    lab.processes.append(process)
    return process


def pass_on(source, target):
    """Random bytes through both of them, while the target is read: whether they came out so."""
    data = os.urandom(PIECE)

    def write():
        source.stdin.write(data)
        source.stdin.flush()
    writer = threading.Thread(target=write)
    writer.start()
    received = target.stdout.read(PIECE)
    writer.join()
    return received == data


@scenario("vchan-socket-proxy passes data between two domains, both ways")
def vchan(lab):
    one, two = lab.create("g1"), lab.create("g2")
    path = f"/local/domain/{one}/data/vchan"
    server = proxy(lab, "g1", "server", two, path)
    until(lambda: lab.xenstore("g2", "read", f"{path}/ring-ref"), "the server's ring")
    client = proxy(lab, "g2", "client", one, path)
    for _ in range(4):
        assert pass_on(client, server) and pass_on(server, client)
    lab.note(f"{8 * PIECE >> 20} MiB through vchan")


@scenario("a copy stays as it is when the guest changes its page afterwards", daemon=False)
def copied(lab):
    domid = lab.create("g1")
    ref, owner = shared_page(lab, "g1")

    def fill(byte):
        print(byte, file=owner.stdin, flush=True)
        assert owner.stdout.readline() == "filled\n"
    fill(17)
    holder = lab.start(0, sys.executable, COPIER, "hold", domid, ref, stdin=True)
    assert holder.stdout.readline() == "held\n", holder.stderr.read()
    for byte in (18, 19):
        fill(byte)
        print(file=holder.stdin, flush=True)
        assert holder.stdout.readline() == f"17 {byte}\n"


@scenario("copies find the guests' pages by superpages, where the system has some")
def superpages(lab):
    """Whether it has some just now is not ours to say: that they are asked for, and fit, is."""
    found = lab.machine_in_daemon()
    assert found["Size"] > 4 << 20 and found["start"] % (2 << 20) == 0, found
    assert "hg" in found["VmFlags"], found


@scenario("pages that are given back are given again, and are zero", daemon=False)
def pages_again(lab):
    """More of them in all than a lab has."""
    lab.create("g1")
    each, rounds = 2048, 520
    assert each * rounds > 1 << 20
    churn = lab.start("g1", sys.executable, COPIER, "churn", each, rounds)
    _, err = churn.communicate(timeout=60)
    assert churn.returncode == 0, err


@scenario("who is told late of an event that it has read waits for no other", daemon=False)
def told_late(lab):
    """As a process does that raised one and was held up before it told of it."""
    lab.create("g1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        for handle in sorted((lab.path / "events").iterdir()):
            teller.sendto(b"\1", str(handle))
    time.sleep(0.1)  # until it has been read: an event of the next domain's would end the wait
    domid = lab.create("g2")  # xenstored answers, which waits for all that it serves
    assert lab.xenstore("g2", "read", "domid") == str(domid)


class OrdinaryLab(Lab):
    """A lab of a user without any rights, who has copies of the programs."""

    def __init__(self):
        super().__init__()
        self.copies = self.directory / "bin"
        self.copies.mkdir()
        for path in (XENLAB, XENLAB.parent / "libxenlab.so", DAEMON, PKTGEN, xenstored()):
            shutil.copy(path, self.copies)
        if os.getuid() == 0:
            self.user_words = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
                               "--no-new-privs"]
            for path in (self.directory, self.copies, *self.copies.iterdir()):
                shutil.chown(path, "nobody", "nogroup")

    def program(self, path):
        return self.copies / path.name


@scenario("a lab and the daemon in it need no root and no hugepages", lab=OrdinaryLab)
def no_root(lab):
    status = pathlib.Path(f"/proc/{lab.daemon.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status and "Uid:\t0" not in status, status
    assert lab.ask("info")["memory"] == "pages"
    assert sha256(lab.program(DAEMON)) == sha256(DAEMON)
    two_guests(lab)
    echo = lab.pktgen("g2", "--events", "echo")
    ping = lab.result(lab.pktgen("g1", "--events", "--count", "1000", "ping", "--to", G2))
    assert ping["received"] == 1000 and ping["faults"] == 0, ping
    assert lab.stop(echo)["faults"] == 0
