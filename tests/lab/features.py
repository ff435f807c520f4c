"""What a guest may choose of the protocol, and what the backend agreed to."""

import re
import subprocess

from lab import NETBACKCTL, scenario, until
from traffic import BIG_CONFIG, G2, two_guests

AS_LINUX = {"takes_chains": True, "takes_blank_ipv4": True, "takes_blank_ipv6": True,
            "takes_gso_tcpv4": True, "takes_gso_tcpv6": True, "stall_ms": 10_000, "split": True}
NO_GSO = {"takes_gso_tcpv4": False, "takes_gso_tcpv6": False}
CHOICES = {
    (): {},
    ("--no-gso",): NO_GSO,
    ("--no-sg",): {"takes_chains": False, **NO_GSO},
    ("--no-csum-offload",): {"takes_blank_ipv4": False, "takes_gso_tcpv4": False},
    ("--no-ipv6-csum-offload",): {"takes_blank_ipv6": False, "takes_gso_tcpv6": False},
    ("--no-rx-notify",): {"stall_ms": 30},
    ("--one-event-channel",): {"split": False},
    ("--no-sg", "--no-csum-offload", "--no-ipv6-csum-offload", "--no-rx-notify",
     "--one-event-channel"): {"takes_chains": False, "takes_blank_ipv4": False,
                              "takes_blank_ipv6": False, "stall_ms": 30, "split": False,
                              **NO_GSO},
}


def agreed(lab, vif):
    connection = lab.ctl("show", vif)["connection"]
    shown = {key: connection[key] for key in AS_LINUX if key != "split"}
    [queue] = connection["queues"]
    shown["split"] = \
        queue["event_port_from_guest"] != queue["event_port_to_guest"]
    return shown


@scenario("each feature that a guest chooses is what netbackctl show says, polling and sleeping")
def features(lab):
    two_guests(lab)
    for options, differs in CHOICES.items():
        for mode in ((), ("--events",)):
            receiver = lab.pktgen("g2", *options, *mode, "--count", "2000", "echo")
            assert agreed(lab, "g2.0") == {**AS_LINUX, **differs}, (options, agreed(lab, "g2.0"))
            text = subprocess.run([NETBACKCTL, "--socket", lab.directory / "control.sock", "show",
                                   "g2.0"], capture_output=True, text=True, check=True).stdout
            for key in (key for key in AS_LINUX if key.startswith("takes_")):
                wanted = "yes" if {**AS_LINUX, **differs}[key] else "no"
                assert re.search(rf"^{key} +{wanted}$", text, re.M), text
            ping = lab.result(lab.pktgen("g1", *options, *mode, "--count", "200", "ping",
                                         "--to", G2))
            assert ping["received"] == 200 and ping["faults"] == 0, (options, mode, ping)
            assert lab.stop(receiver)["faults"] == 0
    lab.note(f"{len(CHOICES)} choices, in both modes")


@scenario("the histogram of round trips has every one of them, and its percentiles lie in it")
def histogram(lab):
    two_guests(lab)
    echo = lab.pktgen("g2", "--events", "echo")
    ping = lab.result(lab.pktgen("g1", "--events", "--count", "2000", "ping", "--to", G2))
    lab.stop(echo)
    buckets = ping["round_trip_histogram"]
    assert sum(bucket["count"] for bucket in buckets) == ping["received"] == 2000, ping
    edges = [edge for bucket in buckets for edge in (bucket["from_ns"], bucket["below_ns"])]
    assert edges == sorted(edges), edges
    assert all(bucket["below_ns"] <= 1.04 * bucket["from_ns"] for bucket in buckets), buckets
    for part in (50, 90, 99):
        value = ping["round_trip_us"][f"p{part}"] * 1000
        below = sum(bucket["count"] for bucket in buckets if bucket["below_ns"] <= value)
        within = sum(bucket["count"] for bucket in buckets if bucket["from_ns"] <= value)
        assert below <= 2000 * part / 100 <= within, (part, value, below, within)
    lab.note(f"{len(buckets)} buckets, {ping['round_trip_us']}")


@scenario("a guest without feature-sg gets no frame of several slots: dropped by name")
def without_chains(lab):
    lab.drain_daemon()
    lab.configure(BIG_CONFIG)
    lab.start_daemon()
    two_guests(lab)
    receiver = lab.pktgen("g2", "--no-sg", "--numbered", "receive")
    for size in (4096, 4097):
        sent = lab.result(lab.pktgen("g1", "--numbered", "--count", "50", "send", "--size", size,
                                     "--rate", "5000", "--to", G2))
        assert sent["faults"] == 0, sent
    until(lambda: lab.count("g2", "to_guest_drop_too_long_frames") == 50, "the longer ones dropped")
    found = lab.stop(receiver)
    assert found["received"] == 50 and found["received_bytes"] == 50 * 4096, found
