#!/usr/bin/env python3
"""Proves the Xen host of this directory with Linux's own netback: no code of ours is in it."""

import sys
import time

from guests import address, address6, make_guest, ping, transfer
from host import XenHost
from kernel_netback import use_kernel_netback


class Steps:
    """Prints what each step took."""

    def __init__(self):
        self.start = self.last = time.monotonic()

    def done(self, text):
        now = time.monotonic()
        print(f"{now - self.last:7.2f} s  {text}", flush=True)
        self.last = now

    def total(self):
        print(f"{time.monotonic() - self.start:7.2f} s  in all")


def megabytes(result):
    return f"{result['bytes'] / result['seconds'] / 2**20:.1f} MiB/s"


def main():
    steps = Steps()
    with XenHost("smoke") as host:
        steps.done("Xen and dom0 up")
        use_kernel_netback(host)
        steps.done("xen-netback and bridge up")
        make_guest(host, 1)
        steps.done("guest g1 up")
        make_guest(host, 2)
        steps.done("guest g2 up")
        for where, target in (("g1", "10.0.0.1"), ("g2", address6(1)), ("dom0", address(2))):
            received, times = ping(host, where, target)
            assert received == 20, f"{where} to {target}: {received} of 20 pings"
            steps.done(f"20 pings from {where} to {target}, ms {times}")
        for sender, receiver, target in (("g1", "dom0", "10.0.0.1"), ("dom0", "g1", address(1)),
                                         ("g1", "g2", address6(2))):
            sent, _ = transfer(host, sender, receiver, target)
            steps.done(f"64 MiB {sender} to {receiver}, {megabytes(sent)}, equal sha256")
        host.reboot_guest("g2")
        steps.done("g2 rebooted")
        host.power_off_guest("g1")
        steps.done("g1 powered off")
        host.shutdown()
        steps.done("dom0 powered off")
    steps.total()


if __name__ == "__main__":
    sys.exit(main())
