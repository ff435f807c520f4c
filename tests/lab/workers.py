"""Several workers, each with ports of its own."""

import os

from lab import LabError, Skip, scenario, until
from lifecycle import given_back
from traffic import G1, G2, G3, RING_SLOTS, assert_intact

G4 = "00:16:3e:00:00:04"
BROADCASTS = 50
TWO_PORTS = """
lcores = [{}]
memory = "pages"
memory-mb = 128
frame-buffers = 8192
wait-for-hotplug = false

[[port]]
name = "a"
device = "net_null0,no-rx=1"

[[port]]
name = "b"
device = "net_null1,no-rx=1"

[defaults]
nic = "a"
"""


def start_two(lab):
    """A daemon with two workers, and guests g1 and g2 on one port, g3 and g4 on the other."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("there is one cpu")
    lab.configure(TWO_PORTS.format(f"{cpus[0]}, {cpus[1]}"))
    lab.start_daemon()
    for name, mac, port in (("g1", G1, "a"), ("g2", G2, "a"), ("g3", G3, "b"), ("g4", G4, "b")):
        lab.create(name)
        lab.add_vif(name, mac, nic=port)
    return cpus[:2]


@scenario("two workers, a port and two guests each: frames arrive once, in order, by their own"
          " worker, through a restart", daemon=False)
def two_workers(lab):
    cpus = start_two(lab)
    assert lab.ctl("info")["worker_cpus"] == cpus
    assert [port["worker_cpu"] for port in lab.ctl("port")["ports"]] == cpus
    words = ("--queues", "2", "--numbered", "--events")
    receivers = {name: lab.pktgen(name, *words, "receive") for name in ("g2", "g4")}
    senders = {name: lab.pktgen(name, *words, "--seconds", "4", "send", "--flows", "32", "--rate",
                                "5000", "--to", to) for name, to in (("g1", G2), ("g3", G4))}
    for restarted in (False, True):
        for name in receivers:
            until(lambda: lab.count(name, "to_guest_frames") > 2000, f"frames to {name}")
        stats = lab.ask("stats")
        workers = {vif["domain"]: vif["worker"] for vif in stats["vifs"]}
        assert workers == {"g1": 0, "g2": 0, "g3": 1, "g4": 1}, workers
        for worker, cpu in zip(stats["workers"], cpus, strict=True):
            assert worker["cpu"] == cpu and worker["worker_from_guest_copy_slots"] > 1000, worker
        if not restarted:
            lab.drain_daemon()
            lab.start_daemon()
    for sender in senders.values():
        sent = lab.result(sender)
        # What waited in the rings when the daemon came back is answered with an error (design 8).
        assert sent["faults"] == sent["errors"] <= 2 * RING_SLOTS, sent
        assert sent["unanswered"] == 0, sent
    for receiver in receivers.values():
        received = lab.stop(receiver)
        assert_intact(received)
        assert received["received"] > 4000, received


@scenario("two workers: a guest whose domain is destroyed on one is no matter to the other, nor is"
          " a flood", daemon=False)
def workers_apart(lab):
    start_two(lab)
    held = lab.daemon_holds()
    echo = lab.pktgen("g4", "--events", "echo")
    ping = lab.pktgen("g3", "--events", "ping", "--rate", "500", "--to", G4)
    until(lambda: lab.count("g3", "to_guest_frames") > 20, "pings")
    other = lab.pktgen("g2", "--events", "receive")
    victim = lab.pktgen("g1", "--queues", "2", "send", "--to", G2)
    until(lambda: lab.count("g1", "from_guest_frames") > 20_000, "a flood")
    lab.tool("domain", "destroy", "g1")
    victim.wait()
    lab.stop(other)
    lab.create("g5")
    lab.add_vif("g5", "00:16:3e:00:00:05", nic="a")
    sent = lab.result(lab.pktgen("g5", "--count", BROADCASTS, "send", "--rate", "1000"))
    assert sent["answered"] == BROADCASTS and sent["faults"] == 0, sent
    found = lab.stop(ping)
    assert found["round_trips"] == found["sent"] > 100 and found["faults"] == 0, \
        (found["round_trips"], found["sent"])
    reflected = lab.stop(echo)  # pings alone: broadcasts stay on their port
    assert reflected["faults"] == 0 and reflected["received"] == found["sent"], reflected
    given_back(lab, held)


@scenario("a vif that asks for another cpu than its port's is refused, and so are more workers than"
          " ports", daemon=False)
def wrong_cpu(lab):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("there is one cpu")
    one, two = cpus[:2]
    lab.configure(TWO_PORTS.format(f"{one}, {two}, {two + 1}"))
    try:
        lab.start_daemon()
        raise AssertionError("three workers for two ports")
    except LabError as refusal:
        assert "'lcores' names 3 cpus and there are 2 ports" in str(refusal), refusal
    lab.configure(TWO_PORTS.format(f"{one}, {two}"))
    (lab.directory / "config" / "vif.d" / "g1.toml").write_text(
        f'mac = "{G1}"\nnic = "b"\nlcores = [{one}]\n')
    lab.start_daemon()
    lab.create("g1", G1)
    until(lambda: lab.ctl("show", "g1.0")["state"] == "refused", "refusal")
    said = lab.ctl("show", "g1.0")["error"]
    assert f"port 'b' and its vifs are served by cpu {two}" in said, said
