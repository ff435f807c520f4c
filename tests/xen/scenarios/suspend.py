"""Guests that stand still for a while, in the middle of something."""

import json
import time

from guests import HASHES, address, configure, load_hashes, mac, make_guest
from scenarios.lab import DOM0, scenario

MIB = 1 << 20
SAVED = "/var/saved"


def begin_transfer(lab, sender, receiver, target, mebibytes, rate):
    """A TCP transfer in the background, at `rate` MiB/s: longer than what is done to it."""
    load_hashes(lab.host, sender, receiver)
    lab.host.start(receiver, "receives", f"{HASHES} exec netcheck tcp-recv 5031 --timeout=60")
    time.sleep(0.5)
    lab.host.start(sender, "sends", f"{HASHES} exec netcheck tcp-send {target} 5031"
                                    f" {mebibytes * MIB} --rate={rate * MIB}")


def end_transfer(lab, sender, receiver, mebibytes):
    """All of it arrived."""
    sums = []
    for where, tag in ((receiver, "receives"), (sender, "sends")):
        status, output = lab.host.finish(where, tag, 120)
        assert status == 0, f"{tag} in {where}: {output}"
        found = json.loads(output)
        assert found["bytes"] == mebibytes * MIB, found
        sums.append(found["sha256"])
    assert sums[0] == sums[1] and sums[0], sums


def unfinished(lab, where, tag):
    assert lab.host.run_any(where, f"[ -e /tmp/{tag}.status ]")[0] != 0, f"{tag} ended before"


@scenario("xl pause and unpause under load", guests=(1, 2))
def pause(lab):
    """Meanwhile the other guest is served, and no more waits for the paused one than may."""
    begin_transfer(lab, "dom0", "g1", address(1), 48, 8)
    time.sleep(1)
    lab.host.run("dom0", "xl pause g1")
    before = lab.vif(1)["to_guest_frames"]
    lab.ping("g2", DOM0, 20)
    lab.host.run_any("dom0", f"ping -c 3 -i 0.2 -W 1 {address(1)}")
    paused = lab.vif(1)
    assert paused["to_guest_frames"] - before <= 256, "a paused guest posts no buffers"
    lab.host.run("dom0", "xl unpause g1")
    end_transfer(lab, "dom0", "g1", 48)
    lab.ping("g1", DOM0, 20)


@scenario("xl save and restore in the middle of a TCP transfer")
def save_and_restore(lab):
    host = lab.host
    make_guest(host, 7, memory=96)
    begin_transfer(lab, "g7", "dom0", DOM0, 64, 8)
    time.sleep(2)
    unfinished(lab, "dom0", "receives")
    old = lab.ctl(f"show {mac(7)}")["vif"]
    host.run("dom0", f"xl save g7 {SAVED}", 120)
    assert host.domid("g7") is None
    assert mac(7) not in str(lab.ctl("list")), "a saved guest has no vif"
    unfinished(lab, "dom0", "receives")  # nothing can come now: what is left comes after
    host.run("dom0", f"xl restore {SAVED} && rm {SAVED}", 120)
    host.restored_guest("g7")
    lab.wait_connected(7)
    end_transfer(lab, "g7", "dom0", 64)
    assert lab.ctl(f"show {mac(7)}")["vif"] != old, "a restored domain has a new number"
    lab.ping("g7", DOM0, 20)
    lab.transfer("dom0", "g7", address(7), 16)
