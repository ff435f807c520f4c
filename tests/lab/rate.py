"""A vif's limits: what a guest may send, and what it may get."""

import re
import subprocess
import time

from lab import NETBACKCTL, config_of, scenario, until
from traffic import G1, G2, NOBODY, two_guests

TOLERANCE = 0.05
SECONDS = 1.5
# What libxl makes of "10Mb/s" and "40Mb/s".
TEN, FORTY = "62500,50000", "250000,50000"


def set_rate(lab, name, rate):
    """As a toolstack does while the guest runs."""
    path = f"/local/domain/0/backend/vif/{lab.domid(name)}/0/rate"
    assert lab.xenstore("0", "write", path, rate) is not None


def passed(lab, name, counter, seconds=SECONDS):
    """Bytes a second of a vif, over some seconds."""
    def look():
        stats = lab.ask("stats")
        [vif] = [vif for vif in stats["vifs"] if vif["domain"] == name]
        return stats["time_ns"], vif[counter]
    (began, first), _, (ended, last) = look(), time.sleep(seconds), look()
    return 1e9 * (last - first) / (ended - began)


def assert_near(rate, wanted):
    assert abs(rate - wanted) <= TOLERANCE * wanted, f"{rate:,.0f} bytes/s, not {wanted:,}"


def shown(lab, vif):
    """What `netbackctl show` says, with one space between words."""
    text = subprocess.run([NETBACKCTL, "--socket", lab.directory / "control.sock", "show", vif],
                          capture_output=True, text=True, check=True).stdout
    return re.sub(" +", " ", text)


@scenario("rate: what a guest sends keeps to it and none of it is dropped; it changes at run time;"
          " another guest does not notice")
def from_guest(lab):
    lab.create("g1")
    lab.add_vif("g1", G1, rate=TEN)
    lab.create("g2", G2)
    assert "rate 10Mb/s@50ms xenstore" in shown(lab, "g1.0"), shown(lab, "g1.0")
    limited = lab.pktgen("g1", "--events", "send", "--size", 1514, "--to", NOBODY)
    other = lab.pktgen("g2", "--events", "--seconds", 4, "send", "--rate", 20_000, "--to", NOBODY)
    used, began = lab.daemon_cpu_seconds(), time.monotonic()
    assert_near(passed(lab, "g1", "from_guest_bytes"), 1_250_000)
    share = (lab.daemon_cpu_seconds() - used) / (time.monotonic() - began)
    assert lab.count("g1", "from_guest_rate_waits") > 100
    set_rate(lab, "g1", FORTY)
    until(lambda: "40Mb/s@50ms" in shown(lab, "g1.0"), "the new rate is shown")
    assert_near(passed(lab, "g1", "from_guest_bytes"), 5_000_000)
    set_rate(lab, "g1", "as fast as you can")
    until(lambda: "it stays 40Mb/s@50ms" in shown(lab, "g1.0"), "a warning")
    set_rate(lab, "g1", "")
    until(lambda: "unlimited" in shown(lab, "g1.0"), "no rate")
    assert passed(lab, "g1", "from_guest_bytes", 0.2) > 20_000_000
    assert lab.count("g1", "from_guest_drop_") == 0
    found = lab.stop(limited)
    assert found["faults"] == 0 and found["answered"] == found["sent"], found
    found = lab.result(other)
    assert found["faults"] == 0 and found["answered"] == found["sent"], found
    assert found["sent"] >= 0.95 * 4 * 20_000, found
    lab.note(f"the daemon took {share:.0%} of a CPU")


@scenario("rate: short frames and those of 64 KiB (GSO) count their bytes")
def sizes(lab):
    lab.create("g1")
    lab.add_vif("g1", G1, rate=TEN)
    for words in (("--size", 60), ("--size", 65_000, "--gso", 1400)):
        sender = lab.pktgen("g1", "send", *words, "--to", NOBODY)
        passed(lab, "g1", "from_guest_bytes", 0.2)  # what is free in the beginning
        assert_near(passed(lab, "g1", "from_guest_bytes", 2), 1_250_000)
        assert lab.count("g1", "from_guest_drop_") == 0
        lab.stop(sender)


@scenario("H44: a rate is the vif's: the same total with 1, 2 and 8 queues")
def queues(lab):
    lab.create("g1")
    lab.add_vif("g1", G1, rate=FORTY)
    for count in (1, 2, 8):
        sender = lab.pktgen("g1", "--queues", count, "send", "--size", 1514, "--to", NOBODY)
        passed(lab, "g1", "from_guest_bytes", 0.2)
        assert_near(passed(lab, "g1", "from_guest_bytes", 1), 5_000_000)
        assert lab.count("g1", "from_guest_drop_") == 0
        found = lab.stop(sender)
        assert found["faults"] == 0 and len(found.get("queues", [0])) == count, found


@scenario("rate-to-guest: a guest gets as much, the rest is dropped by name; others get all",
          daemon=False)
def to_guest(lab):
    lab.configure(config_of("null", "net_null0,no-rx=1", 'rate-to-guest = "80Mb/s"'))
    (lab.directory / "config" / "vif.d" / "g2.toml").write_text(
        f'mac = "{G2}"\nrate-to-guest = "10Mb/s@20ms"\n')
    lab.start_daemon()
    two_guests(lab)
    assert "rate-to-guest 10Mb/s@20ms vif file" in shown(lab, "g2.0"), shown(lab, "g2.0")
    receiver = lab.pktgen("g2", "--events", "receive")
    sender = lab.pktgen("g1", "--events", "send", "--size", 1514, "--rate", 5_000, "--to", G2)
    passed(lab, "g2", "to_guest_bytes", 0.2)
    assert_near(passed(lab, "g2", "to_guest_bytes"), 1_250_000)
    found = lab.stop(sender)
    assert found["faults"] == 0 and found["answered"] == found["sent"], found
    until(lambda: lab.count("g2", "to_guest_frames", "to_guest_drop_rate_frames") == found["sent"],
          "all of them delivered or dropped")
    assert lab.count("g2", "to_guest_drop_rate_frames") > 5_000
    lab.stop(receiver)
