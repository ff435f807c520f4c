"""Programs of Xen that nobody here wrote, in a lab."""

import os
import subprocess
import threading

from lab import scenario, until, xen_programs

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
