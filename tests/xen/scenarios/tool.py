"""netbackctl's words, for people and for programs."""

import json

from guests import mac
from scenarios.lab import DOM0, scenario


def text(lab, words):
    """What a person sees; a verb that works prints nothing else."""
    return lab.host.run("dom0", f"netbackctl {words}")


@scenario("netbackctl says who is there", guests=(1, 2))
def words(lab):
    lab.ping("g1", DOM0, 10)
    domid = lab.host.guests["g1"].domid
    info = lab.ctl("info")
    assert info["pid"] == lab.daemon_pid() and info["vifs_connected"] == 2, info
    assert info["memory"] == "pages" and info["ports"] == 1, info
    vifs = {vif["vif"]: vif for vif in lab.ctl("list")["vifs"]}
    assert vifs[f"{domid}.0"] == {"vif": f"{domid}.0", "domain": "g1", "mac": mac(1),
                                  "port": "bridge", "state": "connected", "cpu": 0}, vifs
    for name in (f"{domid}.0", "g1.0", mac(1), mac(1).upper()):
        details = lab.ctl(f"show {name}")
        assert details["vif"] == f"{domid}.0", (name, details)
    assert details["settings"]["nic"] == {"value": "bridge", "from": "xenstore"}, details
    assert details["settings"]["mtu"] == {"value": 1500, "from": "built in"}, details
    assert (details["backend_state"], details["frontend_state"]) == (4, 4), details
    [port] = lab.ctl("port bridge")["ports"]
    assert (port["driver"], port["bridge"], port["link"], port["running"]) == \
        ("net_virtio_user", "xenbr0", "up", True), port
    stats = lab.ctl("stats")
    assert len(stats["vifs"]) == 2 and len(stats["ports"]) == len(stats["workers"]) == 1, stats
    [vif] = lab.ctl("stats g1.0")["vifs"]
    assert vif["from_guest_frames"] >= 10 and vif["to_guest_frames"] >= 10, vif
    for verb, wanted in (("info", "version"), ("list", "g2"), ("show g1.0", mac(1)),
                         ("stats", mac(1)), ("port", "xenbr0")):
        assert wanted in text(lab, verb), (verb, text(lab, verb))


@scenario("netbackctl stats --watch prints as often as told", guests=(1,))
def watch(lab):
    output = lab.host.run("dom0", "netbackctl --json stats --watch --interval 1 --count 2", 20)
    samples = [json.loads(line) for line in output.splitlines()]
    assert len(samples) == 2, output
    assert text(lab, "stats --watch --interval 1 --count 2").count("g1") >= 2


@scenario("netbackctl says what it cannot do")
def refusals(lab):
    for words, status, wanted in (
            ("show g7.0", 1, "netbackctl: there is no vif 'g7.0' (fix: netbackctl list)\n"),
            ("stats g7.0", 1, "netbackctl: there is no vif 'g7.0' (fix: netbackctl list)\n"),
            ("port lost", 1, "netbackctl: there is no port 'lost' (fix: netbackctl port)\n"),
            ("dance", 2, "Run with --help"), ("", 2, "Run with --help")):
        got, output = lab.host.dom0(f"netbackctl {words}")
        assert got == status and wanted in output, (words, got, output)
