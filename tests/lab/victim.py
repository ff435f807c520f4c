"""A guest that offers half of what it reached alone, while another one attacks: what it gets
through, by its own numbers."""

import time

from control import LIES
from lab import scenario
from traffic import G1, G2, G3

SHARE_MIN = 0.95
ALONE_S, ATTACK_S = 1, 0.5
KICKS = 300_000
MORE = 4
# Left over time only: what the attacker takes from the victim, it takes by way of the backend.
IDLE = ("chrt", "--idle", "0")


def victim(lab, rate, seconds):
    """Frames to the port, at a rate; it sleeps meanwhile, and leaves time."""
    return lab.pktgen("g2", "--events", "--seconds", f"{seconds:g}", "send", "--rate", str(rate))


def flood(lab, *words):
    process = lab.pktgen("g1", "--seconds", f"{ATTACK_S:g}", *words, place=IDLE)
    assert lab.result(process)["sent"] > 0, words


def lie(lab, kind):
    lab.result(lab.pktgen("g1", "lie", kind, place=IDLE))
    lab.ctl("rearm", "g1.0")


def slots(lab, *words):
    process = lab.pktgen("g1", "slots", *words, place=IDLE)
    process.stdout.readline()
    process.terminate()
    process.wait()


ATTACKS = {
    "frames to nobody": lambda lab: flood(lab, "send"),
    "notifications": lambda lab: slots(lab, f"!{KICKS}"),
    "frames that are dropped": lambda lab: slots(lab, *([*[f"60:{MORE}", "61"] * 120, "/"] * 50)),
    **{f"lie {kind}": lambda lab, kind=kind: lie(lab, kind) for kind in LIES},
}


@scenario("hostile: a victim that offers half of what it reached alone gets 95 per cent of it"
          " through, whatever another guest does")
def attacked(lab):
    for name, mac in (("g1", G1), ("g2", G2)):
        lab.create(name, mac)
    alone = lab.result(victim(lab, 0, ALONE_S))["sent_per_s"]
    rate, shares = int(alone / 2), {}
    for name, attack in ATTACKS.items():
        process = victim(lab, rate, ATTACK_S)
        attack(lab)
        found = lab.result(process)
        passed = found["answered"] - found["errors"]
        share = passed / (rate * ATTACK_S)
        lab.note(f"{name}: {share:.1%} of {rate:,} frames/s")
        assert found["bad_answers"] == found["unanswered"] == 0, (name, found)
        shares[name] = share
    assert min(shares.values()) >= SHARE_MIN, shares


@scenario(f"hostile_h28_{KICKS:,}_notifications_as_fast_as_they_go_cost_nobody_a_frame")
def notifications(lab):
    for name, mac in (("g1", G1), ("g2", G2), ("g3", G3)):
        lab.create(name, mac)
    echo = lab.pktgen("g3", "--events", "echo")
    ping = lab.pktgen("g2", "--events", "ping", "--rate", "500", "--to", G3)
    began = time.monotonic()
    attacker = lab.pktgen("g1", "slots", "60", f"!{KICKS}", "/", place=IDLE)
    attacker.stdout.readline()
    rate = KICKS / (time.monotonic() - began)
    asked = time.monotonic()
    assert lab.ctl("show", "g1.0")["state"] == "connected"
    asked = time.monotonic() - asked
    attacker.terminate()
    attacker.wait()
    found = lab.stop(ping)
    lab.stop(echo)
    assert found["received"] == found["sent"] > 0 and found["faults"] == 0, found["sent"]
    assert asked < 1, f"the control thread answered after {asked:.1f} s"
    lab.note(f"{rate:,.0f} notifications/s")
