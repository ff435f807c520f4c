"""A real Xen host in an emulated machine: Xen, a Linux PV dom0, and the guests that xl makes in it.

Xen's and dom0's console is a log file. Commands go over a virtio port to the agent in dom0
(agent.cpp), which is many times as fast as a serial one; a guest's commands go on from there over
the guest's own console.
"""

import atexit
import ctypes
import itertools
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

import image
import packages
from emulation import CPU, FAST_BOOT, GUEST_TSC_MODE, XEN_SPECULATION

LOG_ROOT = packages.CHECKOUT / "build" / "xen-run"
STATUS_TIMEOUT = 124
STATUS_NO_ANSWER = 254
# What callers allow is what a machine takes at most that has its CPUs to itself. Others are slower
# by this; a time that is allowed bounds what a failure takes, and asserts nothing.
PATIENCE = 3
PR_SET_PDEATHSIG = 1
GUEST_LOADS_DRIVER = "loading drivers"  # what image/guest-init says before it does


class HostError(Exception):
    """The machine, dom0 or a guest did not do what was asked; carries the end of its console."""


class MachineFault(HostError):
    """The emulated machine's own: dom0 answers nothing any more and has said nothing of a crash."""


class GuestFault(HostError):
    """A guest crashed before it loaded its network driver: it has used nothing of ours."""


# Of a dom0 that Xen dumps: seen with Xen's code segment and address in place of its own, and with
# an address of its own and no word of its kernel before.
TRIPLE_FAULT = re.compile(r"d\dv\d Triple fault")


class CommandFailed(HostError):
    """A command ended with a status that the caller did not expect."""


class XenHost:
    """One emulated machine. `with XenHost("name") as host:` boots it and always ends it."""

    def __init__(self, name="run", overlay=None, memory=2048, dom0_memory=1024, dom0_vcpus=1,
                 cpus=2, pin_dom0=False, dom0_args="", xen_args="", cpu=CPU, hardware=(),
                 descriptors=()):
        """`overlay` is called with dom0's Image before it is written, to add files to it.

        With pin_dom0 dom0's vCPU n stays on CPU n: for timing, give guests cpus="1" then.
        `hardware` is more of QEMU's words, `descriptors` those that they name.
        """
        self.logs = LOG_ROOT / name
        self.logs.mkdir(parents=True, exist_ok=True)
        self.memory, self.dom0_memory, self.dom0_vcpus = memory, dom0_memory, dom0_vcpus
        self.cpus = cpus
        self.pin_dom0, self.dom0_args, self.xen_args = pin_dom0, dom0_args, xen_args
        self.cpu, self.hardware, self.descriptors = cpu, list(hardware), list(descriptors)
        self.overlay = overlay
        self.guests = {}
        self.machine = None
        self.channel = None
        self.numbers = itertools.count(1)
        self.waiting = {}
        self.up, self.ready = False, threading.Event()  # ready too when the machine has ended
        self.sending = threading.Lock()
        self.started = time.monotonic()

    def __enter__(self):
        self.boot()
        return self

    def __exit__(self, *_):
        self.kill()

    # --- the machine ---

    def boot(self, timeout=240):
        """Starts the machine and waits until dom0 takes commands."""
        tree = packages.fetch()
        dom0 = image.dom0_image(tree, image.guest_image(tree).write("guest"))
        if self.overlay:
            self.overlay(dom0)
        here, there = socket.socketpair()
        command = self.qemu_command(tree, dom0.write("dom0"), there.fileno())
        self.started = time.monotonic()
        self.commands_log = open(self.logs / "commands.log", "w", buffering=1)
        with open(self.logs / "qemu.log", "w") as log:
            self.machine = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[there.fileno(), *self.descriptors], preexec_fn=die_with_parent)
        there.close()
        atexit.register(self.kill)
        self.channel = here
        threading.Thread(target=self.read_answers, daemon=True).start()
        self.ready.wait(timeout)
        if not self.up:
            raise HostError(f"dom0 did not come up, {time.monotonic() - self.started:.0f} s after"
                            f" the start\n{self.console_tail()}")

    def qemu_command(self, tree, ramdisk, channel):
        pinned = "dom0_vcpus_pin" if self.pin_dom0 else ""
        xen = (f"console=com1 com1=115200,8n1 dom0_mem={self.dom0_memory}M,max:{self.dom0_memory}M "
               f"dom0_max_vcpus={self.dom0_vcpus} {pinned} sched=credit loglvl=warning "
               f"guest_loglvl=warning {XEN_SPECULATION} {self.xen_args}")
        dom0 = f"{tree.kernel} console=hvc0 rdinit=/init panic=-1 {FAST_BOOT} {self.dom0_args}"
        console = self.logs / "console.log"
        return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", self.cpu,
                "-smp", str(self.cpus), "-m", str(self.memory), "-nodefaults", "-nographic",
                "-no-reboot",
                "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
                "-chardev", f"socket,id=channel,fd={channel}",
                "-device", "virtio-serial-pci,disable-legacy=on,iommu_platform=on",
                "-device", "virtserialport,chardev=channel", *self.hardware,
                "-kernel", str(tree.xen), "-append", xen, "-initrd", f"{dom0},{ramdisk}"]

    def shutdown(self, timeout=60):
        """Powers the machine off the way an administrator does."""
        timeout *= PATIENCE
        self.post("poweroff -f", b"", timeout)
        try:
            self.machine.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise HostError(f"no power off in {timeout} s\n{self.console_tail()}") from None
        self.kill()

    def kill(self):
        if self.machine and self.machine.poll() is None:
            self.machine.kill()
            self.machine.wait()
        atexit.unregister(self.kill)

    def console_tail(self, lines=40):
        """The last lines of Xen's and dom0's console, for error messages."""
        texts = [(self.logs / name).read_text(errors="replace").replace("\n\n", "\n").splitlines()
                 for name in ("qemu.log", "console.log") if (self.logs / name).exists()]
        return "\n".join(f"  | {line}" for text in texts for line in text[-lines:])

    def dead(self):
        """Whether there is nobody left who could answer."""
        ends = ("Dom0 crashed", "Panic on CPU", "Hardware Dom0 shutdown")
        return self.machine.poll() is not None or any(end in self.console_tail(8) for end in ends)

    def fell(self):
        """Whether it ended in a triple fault, its own, whatever was noticed of that first."""
        return bool(TRIPLE_FAULT.search(self.console_tail()))

    # --- the channel ---

    def read_answers(self):
        """The thread that hands each answer to whoever waits for it."""
        try:
            with self.channel.makefile("rb") as stream:
                while line := stream.readline():
                    self.read_answer(line, stream)
        except OSError:
            pass  # the machine ended
        for future in list(self.waiting.values()):
            future.set_exception(HostError(f"the machine ended\n{self.console_tail()}"))
        self.ready.set()

    def read_answer(self, line, stream):
        if b"@!READY" in line:
            self.up = True
            self.ready.set()
        elif b"@!" in line:
            number, status, size = line.split(b"@!")[1].split()
            output = stream.read(int(size))
            if future := self.waiting.pop(int(number), None):
                future.set_result((int(status), output))

    def post(self, command, data, timeout):
        """Sends a request to dom0's agent; the answer comes in the returned future."""
        number, future = next(self.numbers), Future()
        self.waiting[number] = future
        try:
            with self.sending:
                self.channel.sendall(request(number, timeout, command, data))
        except OSError:
            raise HostError(f"the machine has ended\n{self.console_tail()}") from None
        return future

    def dom0_bytes(self, command, timeout=30, data=b""):
        return self.dom0_within(PATIENCE * timeout, command, data)

    def dom0_within(self, timeout, command, data=b""):
        """The same in so many seconds and no more."""
        started = time.monotonic()
        future = self.post(command, data, timeout)
        while not future.done():
            try:
                future.result(1)
            except FutureTimeout:
                dead = self.dead()
                if dead or time.monotonic() > started + timeout + 15:
                    raise (HostError if dead else MachineFault)(
                        f"no answer from dom0 to: {command}\n{self.console_tail()}") from None
        status, output = future.result()
        self.note("dom0", command, status, output, time.monotonic() - started)
        return status, output

    def note(self, where, command, status, output, seconds):
        text = output[-4000:].decode(errors="replace")
        self.commands_log.write(f"[{time.monotonic() - self.started:8.2f}] {where}$ {command}\n"
                                f"{text}    -> {status} in {seconds:.2f} s\n")

    # --- commands ---

    def dom0(self, command, timeout=30, data=b""):
        """Runs a shell command in dom0: (status, output). Status 124: it took too long."""
        status, output = self.dom0_bytes(command, timeout, data)
        return status, output.decode(errors="replace")

    def guest(self, name, command, timeout=30):
        """The same in a guest. A guest runs one command at a time; see start() for others."""
        number, started = next(self.numbers), time.monotonic()
        guest = self.guests[name]
        timeout *= PATIENCE
        with guest.busy:
            status, output = self.dom0_within(
                timeout + 10, f"xen-agent ask {guest.console} {number} {timeout + 5}",
                request(number, timeout, command, b""))
        if status == STATUS_NO_ANSWER:
            raise HostError(f"no answer from {name} in {timeout} s to: {command}\n"
                            f"{self.guest_console_tail(name)}")
        self.note(name, command, status, output, time.monotonic() - started)
        return status, output.decode(errors="replace")

    def run_any(self, where, command, timeout=30):
        """Runs a command in "dom0" or the guest of that name: (status, output)."""
        if where == "dom0":
            return self.dom0(command, timeout)
        return self.guest(where, command, timeout)

    def run(self, where, command, timeout=30):
        """The same for a command that must succeed; its output."""
        status, output = self.run_any(where, command, timeout)
        if status >= 128:  # ended by a signal: the kernel says where
            output += self.run_any(where, "dmesg | tail -n 5")[1]
        if status != 0:
            raise CommandFailed(f"{where}$ {command}\nstatus {status}\n{output}")
        return output

    def start(self, where, tag, command):
        """Starts a command in the background; `tag` names it for finish() and stop()."""
        self.run(where, background(tag, command))

    def finish(self, where, tag, timeout=60):
        """Waits for a background command: (status, output)."""
        wait = (f"until [ -e /tmp/{tag}.status ]; do sleep 0.1; done;"
                f" cat /tmp/{tag}.status /tmp/{tag}.out")
        status, output = self.run_any(where, wait, timeout)
        if status != 0:
            return STATUS_TIMEOUT, self.run_any(where, f"cat /tmp/{tag}.out")[1]
        status, output = output.split("\n", 1)
        return int(status), output

    def stop(self, where, tag, sign="TERM"):
        """Signals a background command and all it started."""
        self.run(where, f"kill -{sign} -$(cat /tmp/{tag}.pid)")

    # --- guests ---

    def create_guest(self, name, vifs=(), vcpus=1, memory=128, cpus=None, extra="", more="",
                     ramdisk="/boot/guest.cpio", timeout=120, wait=True):
        """Makes a PV guest with `xl create`; `vifs` are vif words of xl, `more` lines of its file.

        Raises CommandFailed with xl's output if xl refuses.
        """
        lines = [f'name="{name}"', 'type="pv"', 'kernel="/boot/vmlinux"',
                 f'ramdisk="{ramdisk}"', f"memory={memory}", f"vcpus={vcpus}",
                 f'extra="console=hvc0 rdinit=/init {FAST_BOOT} {extra}"',
                 f"vif={[str(vif) for vif in vifs]}",
                 f'tsc_mode="{GUEST_TSC_MODE}"',
                 'on_poweroff="destroy"', 'on_reboot="restart"', 'on_crash="destroy"', more]
        if cpus is not None:
            lines.append(f'cpus="{cpus}"')
        text = "\n".join(lines) + "\n"
        config = f"/etc/xen/{name}.cfg"
        status, output = self.dom0(f"cat >{config} && xl create {config} && xl domid {name}",
                                   timeout, text.encode())
        if status != 0:
            raise CommandFailed(f"xl create {name}: status {status}\n{output}")
        self.guests[name] = Guest(domid=int(output.split()[-1]))
        if wait:
            self.wait_for_guest(name, timeout)

    def wait_for_guest(self, name, timeout=60):
        """Waits until the guest that has the name now takes commands."""
        timeout *= PATIENCE
        guest, end = self.guests[name], time.monotonic() + timeout
        status = STATUS_NO_ANSWER
        # More than once: xenconsoled may close the terminal of a domain that is being made.
        while status != 0 and (left := round(end - time.monotonic())) > 0:
            base = f"/local/domain/{guest.domid}/console/tty"
            status, output = self.dom0_within(
                left + 5,
                f"until tty=$(xenstore-read {base} 2>/dev/null); do"
                f" xl domid {name} >/dev/null 2>&1 || exit; sleep 0.1; done; echo $tty;"
                f" xen-agent ready $tty {left} || {{ sleep 0.2; false; }}")
            guest.console = output.decode(errors="replace").split("\n", 1)[0].strip()
            if status != 0 and self.dom0(f"xl domid {name} 2>/dev/null")[0] == 1:
                kind = GuestFault if self.crashed_in_boot(name) else HostError
                raise kind(f"{name} is gone before it came up\n{self.guest_console_tail(name)}")
        if status != 0:
            raise HostError(f"{name} did not come up in {timeout} s\n"
                            f"{self.guest_console_tail(name)}")

    def crashed_in_boot(self, name):
        """Whether xl saw a guest crash, of whose name none has said that it loads its driver."""
        return self.dom0(f"grep -q 'reason code 3 ' /var/log/xen/xl-{name}.log &&"
                         f" ! grep -q '{GUEST_LOADS_DRIVER}' /var/log/xen/console/guest-{name}.log"
                         )[0] == 0

    def restored_guest(self, name, timeout=30):
        """A domain that goes on where it was saved, and does not say again that it is ready."""
        guest = self.guests[name]
        guest.domid = self.domid(name)
        base = f"/local/domain/{guest.domid}/console/tty"
        wait = f"until xenstore-read {base} 2>/dev/null; do sleep 0.1; done"
        guest.console = self.run("dom0", wait, timeout).strip()
        self.run(name, "true", timeout)

    def domid(self, name):
        status, output = self.dom0(f"xl domid {name} 2>/dev/null")
        return int(output) if status == 0 else None

    def guest_console_tail(self, name, lines=30):
        _, text = self.dom0(f"xl list; tail -n 5 /var/log/xen/xl-{name}.log;"
                            f" tail -n {lines} /var/log/xen/console/guest-{name}.log")
        return "\n".join(f"  {name} | {line}" for line in text.splitlines())

    def wait_gone(self, name, old, timeout):
        """Waits until the domain `old` is no more (under that name: a restart has a new number)."""
        now = f'"$(xl domid {name} 2>/dev/null)"'
        self.run("dom0", f"while [ {now} = '{old}' ]; do sleep 0.2; done", timeout)

    def reboot_guest(self, name, timeout=120):
        """The guest reboots itself; xl, which waits in dom0, starts a new domain for it."""
        guest = self.guests[name]
        self.guest(name, "(sleep 0.3; reboot -f) >/dev/null 2>&1 &")
        new = f"new=$(xl domid {name} 2>/dev/null)"
        wait = f"until {new} && [ $new != {guest.domid} ]; do sleep 0.3; done; echo $new"
        guest.domid = int(self.run("dom0", wait, timeout))
        self.wait_for_guest(name, timeout)

    def power_off_guest(self, name, timeout=60):
        """The guest powers itself off, and its domain goes."""
        guest = self.guests[name]
        self.guest(name, "(sleep 0.3; poweroff -f) >/dev/null 2>&1 &")
        self.wait_gone(name, guest.domid, timeout)
        del self.guests[name]

    def destroy_guest(self, name, timeout=60):
        self.run("dom0", f"xl destroy {name}", timeout)
        self.guests.pop(name, None)


class Guest:
    """What the host remembers of a guest: its number, and where its console is."""

    def __init__(self, domid):
        self.domid = domid
        self.console = None
        self.busy = threading.Lock()


def background(tag, command):
    """A shell line that starts a command in the background: what start() runs, for several at
    once."""
    # A session of its own inside: a signal for the command must not end who writes the status.
    command = shlex.quote(f"echo $$ >/tmp/{tag}.pid; {command}")
    keeper = shlex.quote(f"setsid sh -c {command} >/tmp/{tag}.out 2>&1;"
                         f" echo $? >/tmp/{tag}.tmp; mv /tmp/{tag}.tmp /tmp/{tag}.status")
    return f"rm -f /tmp/{tag}.*; setsid sh -c {keeper} >/dev/null 2>&1 &\n"


def request(number, timeout, command, data):
    """A request as agent.cpp reads it."""
    text = command.encode()
    return b"@?%d %d %d %d\n" % (number, timeout, len(text), len(data)) + text + data


def die_with_parent():
    """In the new process: end with the Python process, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
