"""Several workers: each polls ports of its own, and vifs are spread over all of them."""

import os

from lab import Skip, scenario, until
from lifecycle import given_back
from traffic import G1, G2, G3, RING_SLOTS, assert_intact

G4, G5 = "00:16:3e:00:00:04", "00:16:3e:00:00:05"
BROADCASTS = 50
# Without a wake-up a worker that has no port sleeps 10 ms at a time.
PING_US_MAX = 2_500
TWO_PORTS = """
lcores = [{}]
memory = "pages"
memory-mb = 128
frame-buffers = 8192
wait-for-hotplug = false

[[port]]
name = "a"
device = "net_null0,no-rx=1"
queue-pairs = 1

[[port]]
name = "b"
device = "net_null1,no-rx=1"
queue-pairs = 1

[defaults]
nic = "a"
"""
APART, TOGETHER = "aabb", "aaaa"  # the ports of g1 to g4


def two_cpus():
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("there is one cpu")
    return cpus[:2]


def start_two(lab, ports):
    """A daemon with two workers and guests g1 to g4 on these ports. Of two ports each has its vifs
    on its own worker, of one the guests are on both by turns: as their files say."""
    cpus = two_cpus()
    lab.configure(TWO_PORTS.format(f"{cpus[0]}, {cpus[1]}"))
    macs = {"g1": G1, "g2": G2, "g3": G3, "g4": G4}
    for (name, mac), cpu in zip(macs.items(), (0, 0, 1, 1) if ports == APART else (0, 1, 0, 1)):
        file = lab.directory / "config" / "vif.d" / f"{name}.toml"
        file.write_text(f'mac = "{mac}"\nlcores = [{cpus[cpu]}]\n')
    lab.start_daemon()
    for (name, mac), port in zip(macs.items(), ports, strict=True):
        lab.create(name)
        lab.add_vif(name, mac, nic=port)
    return cpus


def streams(lab, ports, expected):
    """Two numbered streams through a restart, g1 to g2 and g3 to g4, by these workers."""
    cpus = start_two(lab, ports)
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
        assert workers == expected, workers
        for vif in lab.ctl("list")["vifs"]:
            assert vif["cpu"] == cpus[workers[vif["domain"]]], vif
        for worker, cpu in zip(stats["workers"], cpus, strict=True):
            assert worker["cpu"] == cpu and worker["worker_turns"] > 0, worker
            copied = worker["worker_from_guest_copy_slots"] + worker["worker_to_guest_copy_slots"]
            assert copied > 1000, worker
        crossed = sum(worker["worker_crossed_frames"] for worker in stats["workers"])
        assert restarted or (crossed > 4000) == (ports == TOGETHER), stats["workers"]
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


@scenario("two workers, a port and two guests each: frames arrive once, in order, by their own"
          " worker, through a restart", daemon=False)
def two_workers(lab):
    streams(lab, APART, {"g1": 0, "g2": 0, "g3": 1, "g4": 1})


@scenario("two workers, one port, its guests on both: frames cross, arrive once, in order,"
          " through a restart", daemon=False)
def crossing(lab):
    streams(lab, TOGETHER, {"g1": 0, "g2": 1, "g3": 0, "g4": 1})


@scenario("two workers, one port: to the port by the other worker all frames, and from one guest to"
          " all others each once", daemon=False)
def crossing_to_all(lab):
    start_two(lab, TOGETHER)
    others = {name: lab.pktgen(name, "--events", "receive") for name in ("g1", "g3", "g4")}
    sent = lab.result(lab.pktgen("g2", "--count", "20000", "--events", "send", "--rate", "20000",
                                 "--to", "02:00:00:00:00:77"))
    assert sent["answered"] == 20_000 and sent["faults"] == 0, sent
    until(lambda: lab.port_frames() + lab.count("g2", "from_guest_drop_") == 20_000, "the port")
    assert lab.count("g2", "from_guest_drop_crossing_frames") == lab.count("g2", "from_guest_drop_")
    before = lab.port_frames()
    sent = lab.result(lab.pktgen("g2", "--count", BROADCASTS, "send", "--rate", "1000"))
    assert sent["answered"] == BROADCASTS and sent["faults"] == 0, sent
    for other in others.values():
        found = lab.stop(other)
        assert found["received"] == BROADCASTS and found["faults"] == 0, found
    assert lab.port_frames() == before + BROADCASTS, (before, lab.port_frames())


def destroy_in_flood(lab):
    """Destroys g1 while it floods g2: g2's receiver."""
    other = lab.pktgen("g2", "--events", "receive")
    victim = lab.pktgen("g1", "--queues", "2", "send", "--to", G2)
    until(lambda: lab.count("g1", "from_guest_frames") > 20_000, "a flood")
    lab.tool("domain", "destroy", "g1")
    victim.wait()
    return other


@scenario("two workers, one port: pings between them at a low rate wake who sleeps, and a guest"
          " that floods across and is destroyed is no matter", daemon=False)
def crossing_wakes(lab):
    start_two(lab, TOGETHER)
    held = lab.daemon_holds()
    echo = lab.pktgen("g4", "--events", "echo")
    ping = lab.result(lab.pktgen("g3", "--events", "--count", "300", "ping", "--rate", "200",
                                 "--to", G4))
    assert ping["round_trips"] == 300 and ping["faults"] == 0, ping["round_trips"]
    lab.note(f"round trip across workers: {ping['round_trip_us']}")
    assert ping["round_trip_us"]["p50"] < PING_US_MAX, ping["round_trip_us"]
    ping = lab.pktgen("g3", "--events", "ping", "--rate", "500", "--to", G4)
    other = destroy_in_flood(lab)
    lab.tool("domain", "destroy", "g2")
    other.wait()
    before = lab.count("g3", "to_guest_frames")
    until(lambda: lab.count("g3", "to_guest_frames") > before + 100, "pings go on")
    found = lab.stop(ping)
    assert found["round_trips"] > 100 and found["faults"] == 0, found["round_trips"]
    lab.note(f"pings while another guest floods: {found['round_trips']} of {found['sent']}")
    lab.stop(echo)
    given_back(lab, held)


@scenario("two workers: a guest whose domain is destroyed on one is no matter to the other, nor is"
          " a flood", daemon=False)
def workers_apart(lab):
    start_two(lab, APART)
    held = lab.daemon_holds()
    echo = lab.pktgen("g4", "--events", "echo")
    ping = lab.pktgen("g3", "--events", "ping", "--rate", "500", "--to", G4)
    until(lambda: lab.count("g3", "to_guest_frames") > 20, "pings")
    lab.stop(destroy_in_flood(lab))
    lab.create("g5")
    lab.add_vif("g5", G5, nic="a")
    sent = lab.result(lab.pktgen("g5", "--count", BROADCASTS, "send", "--rate", "1000"))
    assert sent["answered"] == BROADCASTS and sent["faults"] == 0, sent
    until(lambda: lab.count("g3", "to_guest_frames") > 100, "more pings")
    found = lab.stop(ping)
    assert found["round_trips"] == found["sent"] > 100 and found["faults"] == 0, \
        (found["round_trips"], found["sent"])
    reflected = lab.stop(echo)  # pings alone: broadcasts stay on their port
    assert reflected["faults"] == 0 and reflected["received"] == found["sent"], reflected
    given_back(lab, held)


@scenario("a vif has the cpu that it asks for, else the one with the fewest queues; one without a"
          " worker is refused", daemon=False)
def placed(lab):
    one, two = two_cpus()
    lab.configure(TWO_PORTS.format(f"{one}, {two}"))
    files = lab.directory / "config" / "vif.d"
    (files / "g1.toml").write_text(f'mac = "{G1}"\nnic = "b"\nlcores = [{two + 1}]\n')
    (files / "g2.toml").write_text(f'mac = "{G2}"\nnic = "b"\nlcores = [{one}]\n')
    lab.start_daemon()
    lab.create("g1", G1)
    until(lambda: lab.ctl("show", "g1.0")["state"] == "refused", "refusal")
    said = lab.ctl("show", "g1.0")["error"]
    assert f"{two + 1} is not among those of dpdk-netback.toml" in said, said
    lab.create("g2", G2)
    guest = lab.pktgen("g2", "--events", "receive")
    assert lab.ctl("show", "g2.0")["cpu"] == one
    assert lab.ctl("show", "g2.0")["settings"]["lcores"] == {"value": [one], "from": "vif file"}
    # g3 finds no queue on one worker, g4 fewer on the other; then both have as many, and g5 has the
    # one of its port.
    guests = [guest]
    for name, mac, nic, queues, cpu in (("g3", G3, "a", 2, two), ("g4", G4, "b", 1, one),
                                        ("g5", G5, "b", 1, two)):
        lab.create(name)
        lab.add_vif(name, mac, nic=nic)
        guests.append(lab.pktgen(name, "--queues", queues, "--events", "receive"))
        assert lab.ctl("show", f"{name}.0")["cpu"] == cpu, name
    for each in guests:
        lab.stop(each)
