"""What Xen, dom0 and guests are told so that QEMU's emulated CPU runs them, and runs them fast."""

import pathlib
import re

# With SMAP or SMEP on, dom0 dies at its first page fault: the emulation's fault (real-xen). A CPU
# with erms or fsrm is given a byte at a time to copy, which the emulation does one by one.
CPU = "max,-smap,-smep,-pku,-la57,-erms,-fsrm"


def tsc_khz():
    """The rate of this machine's time stamps, which are the emulated CPU's too."""
    rate = re.search(r"^cpu MHz\s*: ([\d.]+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return round(float(rate[1]) * 1000)


# Boots 4 s sooner: no tests of ciphers, the emulated CPU has nothing to be protected from, and its
# time stamps are the real CPU's, whose rate takes 0.6 s to measure.
FAST_BOOT = ("cryptomgr.notests initcall_blacklist=crypto_kdf108_init rodata=off mitigations=off"
             f" tsc_early_khz={tsc_khz()} loglevel=4")
# The emulated CPU speculates nothing that Xen would have to keep from a guest. But eager-fpu stays:
# without it Xen switches a PV domain's vector registers only when they are used next, which it
# notices by a fault that the emulated CPU does not raise: programs computed with each other's.
XEN_SPECULATION = "spec-ctrl=no,eager-fpu xpti=no pv-l1tf=no"

# Xen emulates a guest's reads of the time stamp unless the CPU says that it goes on at one rate.
# QEMU's does and does not say so: each read was a fault, 8,000 a second in two guests that have a
# TCP stream between them.
GUEST_TSC_MODE = "native"
