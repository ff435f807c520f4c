"""What takes minutes: whatever may happen to a host, in random order and for long."""

import os
import random
import signal
import time

from lab import LabError, scenario, until

SOAK_S = float(os.environ.get("SOAK_SECONDS", "600"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or int(time.time())
QUIET_EVERY = 60  # events; then all guests go, and what the daemon holds is looked at
GUESTS = 5
FAULTS = {"copy-operation": 300, "copy-call": 50, "notification-lost": 50,
          "notification-twice": 5}
SIZES = (60, 64, 1514, 1000)


class Guest:
    """A domain that is there or not, with or without a vif, with or without traffic."""

    def __init__(self, number):
        self.name, self.mac = f"s{number}", f"00:16:3e:00:01:{number:02x}"
        self.there = self.vif = False
        self.process = None


class Soak:
    """Random events, and what must hold whatever they were."""

    def __init__(self, lab):
        self.lab, self.random = lab, random.Random(SEED)
        self.guests = [Guest(number) for number in range(GUESTS)]
        self.counts, self.frames = {}, 0
        self.free_buffers = self.free()
        self.held = lab.daemon_holds()

    def free(self):
        info = self.lab.ask("info")
        return info["buffers_free"], info["large_buffers_free"]

    # --- events: each does what it can do to a guest, or nothing ---

    def create(self, guest):
        if not guest.there:
            self.lab.create(guest.name, guest.mac)
            guest.there = guest.vif = True

    def talk(self, guest):
        if not guest.vif or guest.process:
            return
        other = self.random.choice(self.guests)
        size, rate = self.random.choice(SIZES), self.random.choice((500, 5000, 50_000))
        options = self.random.choice(((), ("--no-sg",), ("--no-gso",), ("--one-event-channel",),
                                      ("--no-rx-notify",)))
        large = ("--size", self.random.randint(100, 65_535), "--gso",
                 self.random.choice((1, 200, 1000, 1400)), "--rate", 500)
        verb = self.random.choice((("send", "--size", size, "--rate", rate, "--to", other.mac),
                                   ("send", "--size", size, "--rate", rate),
                                   ("send", *large, "--to", other.mac), ("send", *large, "--ipv6"),
                                   ("receive",), ("echo",)))
        guest.process = self.lab.pktgen(guest.name, "--events", *options, *verb)

    def hush(self, guest):
        if guest.process:
            self.judge(guest, self.lab.stop(guest.process))

    def judge(self, guest, found):
        """What a netfront says at its end."""
        guest.process = None
        self.frames += found["sent"] + found["received"]
        assert found["bad_answers"] == 0, (guest.name, found)
        assert found["backend_closed"] or found["unanswered"] == 0, (guest.name, found)

    def crash(self, guest):
        """The guest's processes die, and then its domain."""
        if guest.process:
            guest.process.send_signal(signal.SIGKILL)
        self.destroy(guest)

    def destroy(self, guest):
        if guest.there:
            self.lab.tool("domain", "destroy", guest.name)
            if guest.process:
                guest.process.wait()
            guest.there, guest.vif, guest.process = False, False, None

    def detach(self, guest):
        if guest.vif:
            self.lab.tool("vif", "remove", guest.name, "0")
            guest.vif = False
            if guest.process:
                self.judge(guest, self.lab.result(guest.process))

    def attach(self, guest):
        if guest.there and not guest.vif:
            self.lab.add_vif(guest.name, guest.mac)
            guest.vif = True

    def die(self, guest):
        """At one of its next grant copies, if there are any."""
        if not guest.process:
            return
        self.lab.tool("fault", "domain-dies", "--domain", guest.name, "--at",
                      self.random.randrange(1, 300))
        time.sleep(0.1)
        self.lab.tool("fault", "domain-dies")
        if guest.process.poll() is not None:
            self.destroy(guest)

    def fault(self, _):
        name = self.random.choice(list(FAULTS))
        self.lab.tool("fault", name, "--one-in", FAULTS[name], "--seed",
                      self.random.randrange(1 << 32))
        time.sleep(0.2)
        self.lab.tool("fault", name)

    def slow_store(self, _):
        self.lab.tool("pause-xenstore", 300)

    def restart(self, _):
        connected = self.lab.connected()
        self.lab.drain_daemon()
        self.lab.start_daemon()
        until(lambda: self.lab.connected() >= connected, f"{connected} are there again")

    # --- ---

    def event(self):
        often = [self.create, self.talk, self.hush, self.attach] * 4
        seldom = [self.crash, self.destroy, self.detach, self.die, self.fault, self.slow_store]
        what = self.random.choice(often + seldom * 2 + [self.restart])
        guest = self.random.choice(self.guests)
        try:
            what(guest)
        except LabError as error:
            raise LabError(f"seed {SEED}: {what.__name__} {guest.name}: {error}") from error
        self.counts[what.__name__] = self.counts.get(what.__name__, 0) + 1

    def quiet(self):
        """All guests go: the daemon has what it had before any came."""
        for guest in self.guests:
            self.hush(guest)
            self.destroy(guest)

        def as_before():
            now = self.lab.daemon_holds()
            return not self.lab.ask("list")["vifs"] and \
                all(now[what] == self.held[what] for what in ("fds", "mapped", "ports")) and \
                self.free() == self.free_buffers
        until(as_before, f"seed {SEED}: as at the beginning: {self.held}, {self.free_buffers}"
                         " buffers")
        return self.lab.daemon_holds()["rss"]


@scenario(f"{SOAK_S / 60:g} minutes of guests that come, talk, crash and go, faults and restarts")
def soak(lab):
    run = Soak(lab)
    end, quiet, sizes = time.monotonic() + SOAK_S, 0, []
    lab.note(f"seed {SEED}")
    while time.monotonic() < end:
        for _ in range(QUIET_EVERY):
            run.event()
        sizes.append(run.quiet())
        quiet += 1
    lab.note(f"{sum(run.counts.values())} events, {run.frames} frames, {quiet} quiet points: "
             f"{run.counts}")
    lab.note(f"the daemons' memory at them: {min(sizes)} to {max(sizes)} KiB")
    assert run.frames > 0 and len(run.counts) > 10, run.counts
