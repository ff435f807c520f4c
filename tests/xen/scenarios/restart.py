"""The daemon stops and starts under its guests."""

import json
import time

import netback
from guests import address, configure, load_hashes, mac, make_guest
from scenarios.lab import DOM0, scenario

MIB = 1 << 20
RATE = 5 * MIB  # bytes per second: the transfer lasts for two restarts


@scenario("stop without --drain is refused while a vif is connected", guests=(1, 2))
def stop_is_refused(lab):
    status, output = lab.host.dom0("netbackctl stop")
    assert status == 3, f"exit {status}: {output}"
    for number in (1, 2):
        assert f"{lab.host.guests[f'g{number}'].domid}.0 (g{number})" in output, output
    assert "--drain" in output, output
    lab.assert_daemon_lives()
    lab.ping("g1", DOM0, 10)


def start_transfer(lab, sender, receiver, target, port):
    """A slow transfer in the background, its ends called after the port."""
    words = f"--rate={RATE} --timeout=60"
    lab.host.start(receiver, f"recv{port}", f"exec netcheck tcp-recv {port} {words}")
    lab.host.start(sender, f"send{port}",
                   f"exec netcheck tcp-send {target} {port} {64 * MIB} {words}")


def finish_transfer(lab, sender, receiver, port):
    results = []
    for where, tag in ((sender, f"send{port}"), (receiver, f"recv{port}")):
        status, output = lab.host.finish(where, tag, 90)
        assert status == 0, f"{tag} in {where}: {output}"
        results.append(json.loads(output))
    sent, received = results
    assert sent["bytes"] == received["bytes"] == 64 * MIB, results
    assert sent["sha256"] == received["sha256"], results


@scenario("two planned restarts in the middle of TCP transfers", guests=(1, 2))
def drain_and_start(lab):
    host = lab.host
    load_hashes(host, "dom0", "g1")
    bridge_mac = host.run("dom0", "cat /sys/class/net/xenbr0/address")
    host.start("g1", "events", "exec netcheck link-events eth0")
    start_transfer(lab, "g1", "dom0", DOM0, 5021)
    start_transfer(lab, "dom0", "g1", address(1), 5022)
    for _ in range(2):
        time.sleep(2)
        stopped = time.monotonic()
        lab.drain_daemon()
        down = time.monotonic()
        lab.start_daemon()
        lab.wait_connected(1)
        end = time.monotonic()
        lab.note(f"stopped in {down - stopped:.2f} s, serving again after {end - stopped:.2f} s")
    for where, tag in (("g1", "send5021"), ("dom0", "send5022")):
        assert host.run_any(where, f"[ -e /tmp/{tag}.status ]")[0] != 0, f"{tag} ended too early"
    finish_transfer(lab, "g1", "dom0", 5021)
    finish_transfer(lab, "dom0", "g1", 5022)
    host.stop("g1", "events")
    _, output = host.finish("g1", "events")
    events = json.loads(output)
    assert events["messages"] == 0, f"the guest's interface: {events}"
    # Another one would leave the guests' ARP entries for dom0 wrong.
    assert host.run("dom0", "cat /sys/class/net/xenbr0/address") == bridge_mac
    assert host.guests["g1"].domid == host.domid("g1")
    for name in ("g1", "g2"):
        lab.ping(name, DOM0, 20)


@scenario("the daemon is killed and started", guests=(1, 2))
def kill_and_start(lab):
    host = lab.host
    host.start("g1", "flood", f"exec netcheck tcp-send {DOM0} 5031 {1 << 40} --hash=none")
    host.start("dom0", "flood", "exec netcheck tcp-recv 5031 --hash=none")
    time.sleep(1)
    netback.kill_daemon(host)
    lab.keep_daemon_log()
    lab.start_daemon()
    for where in ("g1", "dom0"):  # the second may have ended with the first
        host.run_any(where, "kill -KILL -$(cat /tmp/flood.pid)")
    for number in (1, 2):
        host.run("dom0", f"xl network-detach g{number} 0 && "
                         f"xl network-attach g{number} mac={mac(number)},bridge=xenbr0", 60)
        host.run(f"g{number}", "until ! ip address show eth0 | grep -q 10.0.0; do sleep 0.1; done")
        configure(host, number)
        lab.ping(f"g{number}", DOM0, 20)
    lab.transfer("g1", "dom0", DOM0, 16)
    lab.transfer("g1", "g2", address(2), 16)


@scenario("a guest comes after one that left while the daemon was away", guests=(1, 2))
def guest_leaves_meanwhile(lab):
    """What was written while nobody watched is found at the start."""
    lab.drain_daemon()
    lab.host.destroy_guest("g2", 60)
    lab.start_daemon()
    assert [vif["domain"] for vif in lab.ctl("list")["vifs"]] == ["g1"]
    lab.ping("g1", DOM0, 10)
    make_guest(lab.host, 2)
    lab.ping("g2", address(1), 10)
