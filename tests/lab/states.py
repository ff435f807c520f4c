"""Frontends that write any state at any time, and any key: Windows', replaced and hostile ones."""

import contextlib
import json
import pathlib
import threading

from control import backend, states_written
from lab import CONFIG, LabError, scenario, until
from traffic import G1

FRONTEND = pathlib.Path(__file__).with_name("frontend.py")
INITIALISING, INIT_WAIT, CONNECTED, CLOSING, CLOSED = 1, 2, 4, 5, 6
OKAY = 0
NEVER_SEEN = {0, 3, 7, 8}  # Windows takes them for a fault of ours and stops the machine


def run(lab, *orders):
    """What frontend.py found in g1."""
    process = lab.start("g1", "python3", FRONTEND, f"do:{json.dumps(orders)}")
    out, err = process.communicate(timeout=60)
    if process.returncode != 0:
        raise LabError(f"frontend.py {orders}: {err}\n{backend(lab, 'g1', 'error')}")
    return json.loads(out)


def still_serves(lab):
    sent = lab.result(lab.pktgen("g1", "--count", "100", "send"))
    assert sent["answered"] == 100 and sent["faults"] == 0, sent


@contextlib.contextmanager
def no_waits(lab):
    """Whenever a vif that was refused is to wait, an operator ends that."""
    over = threading.Event()

    def rearm():
        while not over.wait(0.02):
            lab.ask("rearm", vif="g1.0")
    thread = threading.Thread(target=rearm)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def log_all(lab):
    lab.drain_daemon()
    lab.configure(CONFIG.replace('"info"', '"debug"'))
    lab.start_daemon()


@scenario("Windows' frontend: a close before there is a ring, then connects, sends and closes, and"
          " again")
def windows(lab):
    log_all(lab)
    lab.create("g1", G1)
    mapped = lab.daemon_holds()["mapped"]
    found = run(lab, ["close"])
    assert found["seen"] == [INIT_WAIT, CLOSING, CLOSED], found
    assert lab.daemon_holds()["mapped"] == mapped, "a ring was mapped"
    for _ in range(2):
        found = run(lab, ["prepare"], ["rings", {}], ["connect"], ["send"], ["send"], ["close"])
        assert found["statuses"] == [OKAY, OKAY], found
        assert found["seen"] == [CLOSED, INIT_WAIT, CONNECTED, CLOSING, CLOSED], found
        assert not NEVER_SEEN & set(found["seen"]), found
    assert states_written(lab, "g1") == [2, 5, 6] + 2 * [2, 4, 5, 6]
    until(lambda: lab.daemon_holds()["mapped"] == mapped, "all is given back")
    still_serves(lab)


@scenario("Windows' frontend: finds the device of another system connected, and takes it over")
def windows_after_another(lab):
    lab.create("g1", G1)
    run(lab, ["await", INIT_WAIT], ["rings", {}], ["connect"])  # ends so, as PXE does
    found = run(lab, ["prepare"], ["rings", {}], ["connect"], ["send"], ["close"])
    assert found["statuses"] == [OKAY] and not NEVER_SEEN & set(found["seen"]), found
    assert found["seen"][0] == CONNECTED and found["seen"][-3:] == [CONNECTED, CLOSING, CLOSED]


@scenario("hostile_h43_Initialising_while_we_are_connected_Connected_while_we_are_closed")
def replaced(lab):
    log_all(lab)
    lab.create("g1", G1)
    found = run(lab, ["await", INIT_WAIT], ["rings", {}], ["write", "state", CONNECTED],
                ["await", CONNECTED], ["send"],
                ["write", "state", INITIALISING], ["await", INIT_WAIT],
                ["rings", {}], ["write", "state", CONNECTED], ["await", CONNECTED], ["send"],
                ["write", "state", CLOSED], ["await", CLOSED],
                ["rings", {}], ["write", "state", CONNECTED], ["await", CONNECTED], ["send"],
                ["close"])
    assert found["statuses"] == [OKAY] * 3, found
    assert states_written(lab, "g1") == [2, 4, 5, 6] * 3
    still_serves(lab)


@scenario("hostile_h30_every_pair_of_states_that_a_frontend_can_write_is_answered")
def pairs(lab):
    lab.create("g1", G1)
    for first in range(9):
        orders = [["await", INIT_WAIT]]
        for second in range(9):
            orders += [["write", "state", first], ["write", "state", second],
                       ["write", "state", CLOSED], ["await", CLOSED],
                       ["write", "state", INITIALISING], ["await", INIT_WAIT]]
        with no_waits(lab):
            found = run(lab, *orders)
        assert not NEVER_SEEN - {8} & set(found["seen"]), found
    still_serves(lab)
    lab.note("81 pairs")


@scenario("hostile_h45_a_hotplug_script_that_never_succeeds_withholds_no_close", daemon=False)
def no_hotplug(lab):
    lab.configure(CONFIG.replace("wait-for-hotplug = false", "wait-for-hotplug = true"))
    lab.start_daemon()
    lab.create("g1", G1)
    found = run(lab, ["await", INIT_WAIT], ["rings", {}], ["write", "state", CONNECTED],
                ["write", "state", CLOSING], ["await", CLOSING],
                ["write", "state", CLOSED], ["await", CLOSED],
                ["write", "state", INITIALISING], ["await", INIT_WAIT])
    assert CONNECTED not in found["seen"], found
    lab.xenstore("0", "write", f"/local/domain/0/backend/vif/{lab.domid('g1')}/0/hotplug-status",
                 "connected")
    still_serves(lab)


ANOTHER = 77  # a domain that we are not
REFUSALS = {
    "h38_request_rx_copy_is_absent_or_0": [
        ({"request-rx-copy": 0}, "request-rx-copy"), ({"request-rx-copy": None}, "absent"),
        ({"request-rx-copy": "x"}, "request-rx-copy")],
    "h25_ring_references_or_channels_that_are_absent_wrong_or_another_s": [
        ({"tx-ring-ref": None}, "tx-ring-ref is absent"),
        ({"rx-ring-ref": None}, "rx-ring-ref is absent"),
        ({"tx-ring-ref": ""}, "tx-ring-ref is not a number"),
        ({"tx-ring-ref": 7}, "tx-ring-ref is reserved"),
        ({"rx-ring-ref": 4_000_000}, "cannot map grant 4000000"),
        ({"tx-ring-ref": {"for": ANOTHER}}, "cannot map grant"),
        ({"rx-ring-ref": {"for": ANOTHER}}, "cannot map grant"),
        ({"event-channel-tx": 0}, "event-channel-tx is reserved"),
        ({"event-channel-rx": 999}, "event channel"),
        ({"event-channel-tx": {"for": ANOTHER}}, "event channel"),
        ({"event-channel-rx": {"for": ANOTHER}}, "event channel"),
        ({"event-channel-tx": None, "event-channel-rx": None}, "event-channel is absent")],
}


def refuses(cases):
    def run_cases(lab):
        lab.create("g1", G1)
        mapped = lab.daemon_holds()
        for different, why in cases:
            clear(lab)
            found = run(lab, ["await", INIT_WAIT], ["rings", different],
                        ["write", "state", CONNECTED], ["await", CLOSING, CLOSED])
            assert why in (found["error"] or ""), (different, found)
            assert CONNECTED not in found["seen"], (different, found)
            now = lab.daemon_holds()
            assert all(now[what] <= mapped[what] for what in ("fds", "mapped", "ports")), now
            lab.ctl("rearm", "g1.0")
            run(lab, ["write", "state", CLOSED], ["await", CLOSED],
                ["write", "state", INITIALISING], ["await", INIT_WAIT])
        clear(lab)
        still_serves(lab)
        lab.note(f"{len(cases)} cases")
    return run_cases


def clear(lab):
    """Nothing is left of the keys of the frontend before."""
    directory = f"/local/domain/{lab.domid('g1')}/device/vif/0"
    for key in ("request-rx-copy", "tx-ring-ref", "rx-ring-ref", "event-channel-tx",
                "event-channel-rx", "multi-queue-num-queues"):
        lab.xenstore("0", "rm", f"{directory}/{key}")


for name, refusals in REFUSALS.items():
    scenario(f"hostile_{name}_is_refused_with_its_reason_and_nothing_stays")(refuses(refusals))


@scenario("hostile_h03_a_ring_that_claims_more_than_it_holds_when_it_connects_is_refused")
def full_ring(lab):
    lab.create("g1", G1)
    mapped = lab.daemon_holds()
    for claim in (257, 1 << 31, (1 << 32) - 1):
        found = run(lab, ["await", INIT_WAIT], ["rings", {}], ["claim", claim],
                    ["write", "state", CONNECTED], ["await", CLOSING, CLOSED])
        assert "claims more requests than it holds" in found["error"], found
        assert CONNECTED not in found["seen"], found
        now = lab.daemon_holds()
        assert all(now[what] <= mapped[what] for what in ("fds", "mapped", "ports")), now
        lab.ctl("rearm", "g1.0")
        run(lab, ["write", "state", CLOSED], ["await", CLOSED],
            ["write", "state", INITIALISING], ["await", INIT_WAIT])
    still_serves(lab)
