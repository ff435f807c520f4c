"""bench/pktgen's script for the wire's side, against a port of the daemon that is a wire: a veth in
a network namespace of its own."""

import os
import re
import subprocess

from lab import CHECKOUT, Skip, config_of, scenario, until
from traffic import G1

SCRIPTS = CHECKOUT / "bench" / "pktgen"
WIRE = "02:00:00:00:00:01"
# A network namespace, and the /sys that shows it, in which nobody sends anything unasked.
VETH = ["unshare", "--net", "--mount", "sh", "-c",
        "mount -t sysfs sysfs /sys; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; "
        "ip link add near type veth peer name far && ip link set near up && ip link set far up && "
        'exec "$@"', "sh"]
CONFIG = config_of("wire", "net_af_packet0,iface=near")


def use_veth(lab):
    """A daemon whose port is one end of the veth."""
    if os.geteuid() != 0:
        raise Skip("a network namespace needs root")
    lab.drain_daemon()
    lab.configure(CONFIG)
    lab.start_daemon(VETH)
    lab.create("g1", G1)


def wire(lab, *words):
    """The script at the other end of it."""
    return subprocess.Popen(
        ["nsenter", f"--net=/proc/{lab.daemon.pid}/ns/net", SCRIPTS / "wire-testpmd.sh", *words,
         "--device", "net_af_packet0,iface=far", "--cpus", "0,0", "--seconds", "3"],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def counts(process):
    """(received, sent) by the wire's side."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    return [int(re.search(rf"^{word} (\d+) frames", out, re.M)[1]) for word in ("received", "sent")]


def started(process):
    """Once the first rate is there."""
    assert "1 s" in process.stdout.readline(), process.communicate()


def port(lab):
    return lab.ctl("stats")["ports"][0]


@scenario("wire-testpmd.sh send: the guest gets what the port received, but for named drops")
def send(lab):
    use_veth(lab)
    guest = lab.pktgen("g1", "--events", "receive")
    received, sent = counts(wire(lab, "send", "--to", G1))
    came = until(lambda: (now := port(lab)["port_received_frames"]) and
                 now == lab.count("g1", "to_guest_frames", "to_guest_drop_") and now, "delivery")
    drops = lab.count("g1", "to_guest_drop_")
    found = lab.stop(guest)
    assert found["received"] + drops == came and 1000 < found["received"], (found, came, drops)
    assert came <= sent and received == 0, (came, received, sent)
    lab.note(f"{sent} sent, {came} came in, {drops} dropped by name")


@scenario("wire-testpmd.sh receive: it counts what the guest sent and the port's driver took")
def receive(lab):
    use_veth(lab)
    process = wire(lab, "receive")
    started(process)
    guest = lab.result(lab.pktgen("g1", "--events", "--count", "10000", "send", "--rate", "10000",
                                  "--to", WIRE))
    assert guest["answered"] == 10_000 and guest["faults"] == 0, guest
    received, sent = counts(process)
    assert (received, sent) == (10_000, 0), (received, sent)
    assert lab.port_frames() == 10_000


@scenario("wire-testpmd.sh echo: each frame of the guest comes back to it")
def echo(lab):
    use_veth(lab)
    process = wire(lab, "echo")
    started(process)
    guest = lab.result(lab.pktgen("g1", "--events", "--count", "500", "ping", "--to", WIRE))
    assert guest["received"] == 500 and guest["faults"] == 0, guest
    assert counts(process) == [500, 500]
    lab.note(f"round trip over the wire: {guest['round_trip_us']}")


@scenario("bench/pktgen: each script has help, and says what is wrong with its words")
def words(_):
    for script, wrong, reason in (
            ("wire-testpmd.sh", ["send", "--device", "net_null0"],
             "wire-testpmd: --to needs an Ethernet address, not ''"),
            ("wire-testpmd.sh", ["sned"], "wire-testpmd: send, receive or echo, not 'sned'"),
            ("guest-pktgen.sh", ["--to", WIRE], "guest-pktgen: which device?"),
            ("guest-pktgen.sh", ["--to", WIRE, "--size", "x", "eth0"],
             "guest-pktgen: --size needs a number, not 'x'")):
        helped = subprocess.run([SCRIPTS / script, "--help"], capture_output=True, text=True)
        assert helped.returncode == 0 and script in helped.stdout, helped
        refused = subprocess.run([SCRIPTS / script, *wrong], capture_output=True, text=True)
        assert refused.returncode == 2 and refused.stderr.startswith(reason + "\n"), refused
