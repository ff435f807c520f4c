"""What the original driver's entry points promised (its _info, _fini and detach), of a daemon."""

import subprocess

from lab import NETBACKCTL, scenario, until
from traffic import G1, G2

BACKENDS = "/local/domain/0/backend"


def stop(lab):
    """(exit status, what it said) of a stop without --drain."""
    done = subprocess.run([NETBACKCTL, "--socket", lab.directory / "control.sock", "stop"],
                          capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout + done.stderr


def held(lab):
    """What the daemon holds and shows, apart from what moves by itself."""
    return {key: value for key, value in lab.daemon_holds().items() if key != "rss"}, \
        lab.xenstore("0", "ls", BACKENDS)


@scenario("seed_L2_info_says_what_is_loaded_and_changes_nothing")
def info(lab):
    lab.create("g1", G1)
    guest = lab.pktgen("g1", "receive")
    before, logged = held(lab), lab.log()
    said = [lab.ctl("info") for _ in range(20)]
    assert held(lab) == before and lab.log() == logged, (before, held(lab))
    for one in said:
        one.pop("uptime_s")
        one.pop("buffers_free")
        one.pop("large_buffers_free")
    assert said == said[:1] * 20, said
    [ours] = said[:1]
    assert ours["pid"] == lab.daemon.pid and ours["version"], ours
    assert (ours["ports"], ours["vifs"], ours["vifs_connected"]) == (1, 1, 1), ours
    lab.stop(guest)
    until(lambda: lab.ctl("info")["vifs_connected"] == 0, "no vif connected")


@scenario("seed_L3_a_refused_stop_destroys_nothing_an_accepted_one_gives_all_back")
def refused_stop(lab):
    lab.create("g1", G1)
    lab.create("g2", G2)
    echo = lab.pktgen("g2", "--events", "echo")
    ping = lab.pktgen("g1", "--events", "--count", "4000", "ping", "--to", G2)
    before = held(lab)
    status, said = stop(lab)
    assert status == 3, (status, said)
    for name in ("g1", "g2"):  # the list of who is in the way
        assert f"{lab.domid(name)}.0 ({name})" in said, said
    assert lab.daemon.poll() is None and held(lab) == before, (before, held(lab))
    found = lab.result(ping)
    assert found["received"] == 4000 and found["faults"] == 0, found
    lab.stop(echo)
    until(lambda: lab.ctl("info")["vifs_connected"] == 0, "no vif connected")
    status, said = stop(lab)
    assert status == 0, (status, said)
    assert lab.daemon.wait(20) == 0 and "not given back" not in lab.log(), lab.log()
    assert not (lab.directory / "control.sock").exists()
    lab.start_daemon()


@scenario("seed_S15_a_guest_that_went_to_sleep_and_comes_back_is_served_as_before")
def suspended(lab):
    lab.create("g1", G1)
    lab.create("g2", G2)
    receiver = lab.pktgen("g2", "--events", "receive")
    mapped = lab.daemon_holds()["mapped"]
    for _ in range(3):  # what a frontend does at resume: its old rings go, new ones come
        sender = lab.pktgen("g1", "--events", "--count", "2000", "send", "--rate", "20000",
                            "--to", G2)
        sent = lab.result(sender)
        assert sent["sent"] == sent["answered"] == 2000 and sent["faults"] == 0, sent
        assert stop(lab)[0] == 3  # the other guest is still connected
    received = lab.stop(receiver)
    assert received["received"] == 6000 and received["faults"] == 0, received
    until(lambda: lab.daemon_holds()["mapped"] < mapped, "the rings are given back")
