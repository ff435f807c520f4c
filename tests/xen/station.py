"""The other side of an emulated NIC's wire: a Linux host of its own in a network namespace, and
beside it the test, which sees each frame and can send any.

QEMU hands out and takes one frame a datagram on a pair of sockets. A thread carries them to and
from a tap; the kernel's stack behind that is the peer that guests talk to.
"""

import concurrent.futures
import contextlib
import ctypes
import fcntl
import hashlib
import os
import re
import select
import socket
import struct
import subprocess
import threading
import time

import packages

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
FRAME_BYTES_MAX = 65536
MAC = "02:00:00:00:00:01"
TRANSFER_TIMEOUT = 360  # seconds


def in_own_network():
    """Of the calling thread, and of the processes that it starts."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace (needs root)")


def make_tap(name):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


class Station:
    """`addresses` with their prefix lengths. `qemu` is the end of the wire that QEMU gets."""

    def __init__(self, addresses):
        self.wire, self.qemu = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.wire.setblocking(False)
        self.captures = []
        # One thread is in the namespace, which lives as long as it: all that is to happen there
        # happens in it.
        self.inside = concurrent.futures.ThreadPoolExecutor(1)
        self.transfers = concurrent.futures.ThreadPoolExecutor(2)
        self.call(in_own_network)
        self.tap = self.call(make_tap, "wire")
        self.run("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6;"  # until all is set
                 f" ip link set lo up; ip link set wire address {MAC}"
                 " && echo 0 >/proc/sys/net/ipv6/conf/wire/accept_dad"
                 " && echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && ip link set wire up")
        for address in addresses:
            self.run(f"ip address add {address} dev wire")
        self.ended, self.wake = False, os.eventfd(0)
        self.carrier = threading.Thread(target=self.carry, daemon=True)
        self.carrier.start()

    def close(self):
        self.ended = True
        os.eventfd_write(self.wake, 1)
        self.carrier.join()
        self.inside.shutdown()
        for descriptor in (self.tap, self.wake):
            os.close(descriptor)
        self.wire.close()
        self.qemu.close()

    # --- the host in the namespace ---

    def call(self, function, *words):
        """A function's result in the station's network. A socket made there stays there."""
        return self.inside.submit(function, *words).result()

    def run(self, command):
        """A shell command there; its output."""
        done = self.call(lambda: subprocess.run(["sh", "-c", command], text=True, timeout=180,
                                                capture_output=True))
        assert done.returncode == 0, f"station$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ping(self, target, count):
        """How many come back."""
        busybox = packages.fetch().root / "bin" / "busybox"
        verb = "ping6" if ":" in target else "ping"
        output = self.run(f"{busybox} {verb} -q -c {count} -i 0.05 -W 5 {target}; true")
        return int(re.search(r"(\d+) packets received", output)[1])

    # --- the wire ---

    def carry(self):
        """The thread that is the wire. While QEMU has no room, the tap's frames wait in the
        kernel's queue, as they do behind any slow link."""
        waiting = None
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        while not self.ended:
            poll.register(self.tap, 0 if waiting else select.POLLIN)
            poll.register(self.wire, select.POLLIN | (select.POLLOUT if waiting else 0))
            poll.poll()
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.from_nic(self.wire.recv(FRAME_BYTES_MAX))
            with contextlib.suppress(BlockingIOError):
                while True:
                    waiting = waiting or os.read(self.tap, FRAME_BYTES_MAX)
                    self.wire.send(waiting)
                    waiting = None

    def from_nic(self, frame):
        for capture in self.captures:
            capture.append(frame)
        os.write(self.tap, frame)

    @contextlib.contextmanager
    def capture(self):
        """The list of frames that leave the NIC meanwhile."""
        frames = []
        self.captures.append(frames)
        try:
            yield frames
        finally:
            self.captures.remove(frames)

    def inject(self, frames):
        """Frames onto the wire, whatever is in them."""
        for frame in frames:
            while True:
                try:
                    self.wire.send(frame)
                    break
                except BlockingIOError:
                    time.sleep(0.001)

    # --- TCP with it ---

    def receive(self, port):
        """Takes one connection and all that comes by it: a future of (bytes, sha256)."""
        listener = self.call(lambda: socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True))

        def take():
            listener.settimeout(TRANSFER_TIMEOUT)
            with listener, listener.accept()[0] as peer:
                peer.settimeout(TRANSFER_TIMEOUT)
                digest, count = hashlib.sha256(), 0
                while piece := peer.recv(1 << 16):
                    digest.update(piece)
                    count += len(piece)
                return count, digest.hexdigest()
        return self.transfers.submit(take)

    def send(self, address, port, count):
        """The sha256 of the random bytes that the peer has taken when this returns."""
        data = os.urandom(count)

        def connected():  # once somebody listens
            end = time.monotonic() + TRANSFER_TIMEOUT
            while True:
                try:
                    return socket.create_connection((address, port), TRANSFER_TIMEOUT)
                except ConnectionRefusedError:
                    assert time.monotonic() < end, f"nobody listens at {address}, port {port}"
                    time.sleep(0.1)
        with self.call(connected) as peer:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(1) == b"", "an answer"
        return hashlib.sha256(data).hexdigest()
