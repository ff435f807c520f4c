"""Domains that come, go and die, and what the daemon holds of them afterwards."""

import concurrent.futures
import contextlib
import signal
import time

from lab import CHECKOUT, CONFIG, Lab, LabError, scenario, until, xen_programs
from traffic import G1, G2, G3

G4 = "00:16:3e:00:00:04"
CYCLES, CYCLES_AT_ONCE = 1000, 4
RSS_GROWTH_MAX_KIB = 1024
SCRIPT = CHECKOUT / "config" / "vif-dpdk"


@contextlib.contextmanager
def witnesses(lab):
    """Two other guests, one pinging the other all the time: not a ping of theirs is lost."""
    lab.create("g3", G3)
    lab.create("g4", G4)
    echo = lab.pktgen("g4", "--events", "echo")
    ping = lab.pktgen("g3", "--events", "ping", "--rate", "500", "--to", G4)
    yield
    found = lab.stop(ping)
    assert found["round_trips"] == found["sent"] > 0 and found["faults"] == 0, brief(found)
    assert lab.stop(echo)["faults"] == 0
    lab.note(f"pings of two other guests meanwhile: {found['round_trips']} of {found['sent']}")


def brief(found):
    return {key: value for key, value in found.items() if key != "round_trip_histogram"}


def flood(lab):
    """Two guests send to each other as fast as they can: their processes."""
    both = [lab.pktgen("g1", "send", "--to", G2), lab.pktgen("g2", "send", "--to", G1)]
    until(lambda: lab.count("g1", "from_guest_frames") > 1000 and
          lab.count("g2", "from_guest_frames") > 1000, "traffic")
    return both


def given_back(lab, held, seconds=1):
    """Waits until the daemon holds no more than before; the seconds that took."""
    began = time.monotonic()

    def as_before():
        now = lab.daemon_holds()
        return all(now[what] <= held[what] for what in ("fds", "mapped", "ports"))
    until(as_before, f"as before: {held}, now {lab.daemon_holds()}", seconds)
    return time.monotonic() - began


@scenario("a domain may write its own nodes and nobody else's")
def permissions(lab):
    one, two = lab.create("g1", G1), lab.create("g2", G2)
    assert lab.xenstore("g1", "write", "data/x", "hello") is not None
    assert lab.xenstore("0", "read", f"/local/domain/{one}/data/x") == "hello"
    assert lab.xenstore("g1", "write", "name", "evil") is None
    assert lab.xenstore("g1", "write", f"/local/domain/{two}/data/x", "evil") is None
    assert lab.xenstore("g1", "read", f"/local/domain/{two}/device/vif/0/mac") is None
    assert lab.xenstore("g1", "read", "device/vif/0/mac") == G1
    assert lab.xenstore("g1", "read", f"/local/domain/0/backend/vif/{one}/0/mac") == G1
    assert lab.xenstore("g1", "write", f"/local/domain/0/backend/vif/{one}/0/mac", "x") is None


def kill_two(lab, processes):
    """Kills processes of g1 and g2, and their domains."""
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for name in ("g1", "g2"):
        lab.tool("domain", "destroy", name)


def killed(lab, verb, *words):
    """Kills a guest's process in traffic; another guest's frames go on, and all is given back."""
    with witnesses(lab):
        held = lab.daemon_holds()
        lab.create("g1", G1)
        lab.create("g2", G2)
        victims = [lab.pktgen("g1", verb, *words), lab.pktgen("g2", "send", "--to", G1)]
        until(lambda: lab.count("g1", "from_guest_frames", "to_guest_frames") > 1000, "traffic")
        kill_two(lab, victims)
        given_back(lab, held)


@scenario("a guest that is killed while it sends: nobody else notices, all is given back")
def killed_sending(lab):
    killed(lab, "send", "--to", G2)


@scenario("a guest that is killed while it receives: nobody else notices, all is given back")
def killed_receiving(lab):
    killed(lab, "receive")


@scenario("a guest reboots three times: its frontend connects again on the same vif")
def reconnect(lab):
    with witnesses(lab):
        lab.create("g1", G1)
        lab.create("g2", G2)
        echo = lab.pktgen("g2", "--events", "echo")
        for _ in range(4):
            ping = lab.result(lab.pktgen("g1", "--events", "--count", "100", "ping", "--to", G2))
            assert ping["received"] == 100 and ping["faults"] == 0, ping
            until(lambda: lab.xenstore("g1", "read", "device/vif/0/state") == "6", "it is closed")
        assert lab.stop(echo)["faults"] == 0


@scenario("a guest reboots three times: its domain ends in the middle of traffic, and comes again"
          " with the same address")
def reboot(lab):
    with witnesses(lab):
        lab.create("g2", G2)
        for _ in range(4):
            lab.create("g1", G1)
            echo = lab.pktgen("g2", "--events", "echo")
            ping = lab.result(lab.pktgen("g1", "--count", "100", "ping", "--to", G2))
            assert ping["received"] == 100 and ping["faults"] == 0, ping
            lab.stop(echo)
            first, second = flood(lab)
            lab.tool("domain", "destroy", "g1")
            first.wait()
            assert lab.stop(second)["bad_answers"] == 0


@scenario("a vif is taken from a guest and given back, twice, in the middle of traffic")
def detach_and_attach(lab):
    with witnesses(lab):
        lab.create("g1", G1)
        lab.create("g2", G2)
        for _ in range(2):
            held = lab.daemon_holds()
            first, second = flood(lab)
            began = time.monotonic()
            lab.tool("vif", "remove", "g1", "0")
            assert time.monotonic() - began < 2, "forced after the toolstack's patience"
            found = lab.result(first)
            assert found["backend_closed"] and found["bad_answers"] == 0, found
            assert lab.stop(second)["bad_answers"] == 0
            given_back(lab, held)
            lab.tool("vif", "add", "g1", f"mac={G1}")
            echo = lab.pktgen("g2", "--events", "echo")
            ping = lab.result(lab.pktgen("g1", "--count", "100", "ping", "--to", G2))
            assert ping["received"] == 100 and ping["faults"] == 0, ping
            lab.stop(echo)


@scenario("a domain is destroyed in the middle of traffic, ten times: all is given back within 1 s")
def destroy(lab):
    took = []
    with witnesses(lab):
        lab.create("g2", G2)
        held = lab.daemon_holds()
        for _ in range(10):
            lab.create("g1", G1)
            first, second = flood(lab)
            lab.tool("domain", "destroy", "g1")
            first.wait()
            assert lab.stop(second)["bad_answers"] == 0
            took.append(given_back(lab, held))
    lab.note(f"given back after, ms: {', '.join(f'{1000 * each:.0f}' for each in took)}; {held}")


@scenario("seed_S07_a_nic_that_does_not_exist: xl's script says why, the daemon and others live on",
          daemon=False)
def unknown_nic(lab):
    lab.configure(CONFIG.replace("wait-for-hotplug = false", "wait-for-hotplug = true"))
    lab.start_daemon()
    lab.script = SCRIPT
    with witnesses(lab):
        lab.create("g9")
        held = lab.daemon_holds()
        try:
            lab.add_vif("g9", "00:16:3e:00:00:09", nic="nowhere")
            raise AssertionError("a vif without a port was taken")
        except LabError as refusal:
            message = ("dpdk-netback: nic from xenstore: port 'nowhere' is not in"
                       " dpdk-netback.toml; ports: null")
            assert message in str(refusal), refusal
            lab.note(str(refusal))
        assert lab.xenstore("0", "read", f"backend/vif/{lab.domid('g9')}/0/state") is None
        given_back(lab, held)
        lab.add_vif("g9", "00:16:3e:00:00:09", nic="null")
        # To nobody here: broadcasts would fill the rings of the two that ping.
        sent = lab.result(lab.pktgen("g9", "--count", "1000", "send", "--to", "00:16:3e:00:00:77"))
        assert sent["answered"] == 1000, brief(sent)


def cycles_of(lab, numbers):
    """Domains come, send and are destroyed, before their first frame is here or after it."""
    batch = lab.batch()
    for number in numbers:
        name = f"c{number}"
        batch.tool("domain", "create", name)
        batch.tool("vif", "add", name, f"mac=00:16:3e:01:{number >> 8:02x}:{number & 255:02x}")
        sender = batch.pktgen(name, "--events", "send", "--rate", "1000")
        if number % 2 == 0:
            until(lambda: lab.count(name, "from_guest_frames") > 0, "frames")
        batch.tool("domain", "destroy", name)
        sender.communicate(timeout=10)
    batch.end()


@scenario(f"{CYCLES:,} domains come, send and are destroyed: nothing stays behind")
def cycles(lab):
    """A tenth of them, then the rest: the daemon holds the same afterwards."""
    started = time.monotonic()
    held = []
    for first, end in ((0, CYCLES // 10), (CYCLES // 10, CYCLES)):
        with concurrent.futures.ThreadPoolExecutor(CYCLES_AT_ONCE) as pool:
            shares = [range(first + i, end, CYCLES_AT_ONCE) for i in range(CYCLES_AT_ONCE)]
            list(pool.map(lambda numbers: cycles_of(lab, numbers), shares))
        until(lambda: not lab.ask("list")["vifs"], "all vifs are gone")
        held.append(lab.daemon_holds())
    first, last = held
    lab.note(f"{time.monotonic() - started:.1f} s; after {CYCLES // 10}: {first}, "
             f"at the end: {last}")
    assert all(last[what] == first[what] for what in ("fds", "mapped", "ports"))
    assert last["rss"] <= first["rss"] + RSS_GROWTH_MAX_KIB


@scenario("two labs on one machine know nothing of each other")
def two_labs(lab):
    lab.create("g1", G1)
    with Lab() as other:
        other.start_daemon()
        other.create("h1", G1)
        assert [lab.domid("g1"), other.domid("h1")] == [1, 1]
        sender = other.pktgen("h1", "send")
        until(lambda: other.count("h1", "from_guest_frames") > 1000, "frames")
        assert lab.port_frames() == 0
        assert other.stop(sender)["faults"] == 0
        assert other.port_frames() > 1000
        other.drain_daemon()
