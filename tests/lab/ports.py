"""Ports that a person adds and removes while the daemon runs."""

import subprocess

from control import backend
from lab import NETBACKCTL, LabError, config_of, scenario, until
from links import NEWS_SECONDS, SECOND_PORT, as_before, link_of, most_free, passes
from traffic import G1
from vlan import write_file
from wires import OUTSIDE, Wire

TURNS = 100


def names(lab):
    return [port["port"] for port in lab.ctl("port")["ports"]]


def refused(lab, *words):
    """(exit code, why) of a netbackctl that is."""
    done = subprocess.run([NETBACKCTL, "--socket", lab.directory / "control.sock", *words],
                          capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stderr.strip()


def guest_on_wire(lab, wire):
    """A guest that sends, once frames go both ways."""
    lab.create("g1", G1)
    guest = lab.pktgen("g1", "--events", "both", "--rate", 1000, "--burst", 1, "--to", OUTSIDE)
    passes(lab, wire)
    return guest


def gone(lab, guest):
    """The guest and its domain."""
    assert lab.stop(guest)["faults"] == 0
    lab.tool("domain", "destroy", "g1")
    until(lambda: lab.ctl("list")["vifs"] == [], "no vif")


@scenario("a port is added while the daemon runs, refused to be removed while it has a vif, gone by"
          " force and back, removed and added 100 times without a leak", daemon=False)
def plug(lab):
    wire = Wire(lab, "af_packet", more=SECOND_PORT)
    both = (lab.directory / "config" / "dpdk-netback.toml").read_text()
    lab.configure(config_of("null", "net_null0,no-rx=1"))
    lab.start_daemon()
    code, why = refused(lab, "port", "add", "wire")
    assert code == 2 and "has no [[port]] 'wire'; ports: null (fix:" in why, why
    assert refused(lab, "port", "remove", "wire")[0] == 1
    try:
        lab.ask("port-add")
        raise AssertionError("it was done")
    except LabError as error:
        assert "which port?" in str(error), error
    lab.configure(both)
    [added] = lab.ctl("port", "add", "wire")["ports"]
    assert added["port"] == "wire" and added["mtu"] == wire.mtu and names(lab) == ["null", "wire"]
    write_file(lab, "g1", G1, 'nic = "wire"')
    guest = guest_on_wire(lab, wire)
    code, why = refused(lab, "port", "remove", "wire")
    assert code == 3 and f"port 'wire' has vifs: {lab.domid('g1')}.0 (g1) (fix:" in why, why
    passes(lab, wire)
    lab.ctl("port", "remove", "wire", "--force")
    until(lambda: backend(lab, "g1", "carrier") == "0", "carrier 0", NEWS_SECONDS)
    assert link_of(lab, "wire") == "removed"
    assert "promiscuity 0" in wire.near.run("ip", "-d", "link", "show", "near")
    drops = lab.count("g1", "from_guest_drop_too_early_frames")
    until(lambda: lab.count("g1", "from_guest_drop_too_early_frames") > drops + 100, "drops", 2)
    lab.ctl("port", "add", "wire")
    until(lambda: backend(lab, "g1", "carrier") == "1", "carrier 1", NEWS_SECONDS)
    passes(lab, wire)
    assert "promiscuity 1" in wire.near.run("ip", "-d", "link", "show", "near")
    gone(lab, guest)
    lab.ctl("port", "remove", "wire")
    assert names(lab) == ["null"] and len(lab.ask("stats")["ports"]) == 1
    before = most_free(lab)
    for _ in range(TURNS):
        lab.ask("port-add", port="wire")
        lab.ask("port-remove", port="wire")
        until(lambda: not lab.ask("port")["leaving"], "the port closed")
    as_before(lab, before)
    lab.ctl("port", "add", "wire")
    gone(lab, guest_on_wire(lab, wire))
