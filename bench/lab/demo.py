"""bench/demo: two guests of a lab, their traffic through dpdk-netback, a live table."""

import json
import pathlib
import subprocess
import sys
import time

import demos
import packages
from demos import DemoError, Row, say
from lab import NETBACKCTL, Lab, until

SECONDS = 10
RATE = 200_000  # frames per second and guest; what the wire sends, a tenth of it
GUESTS = {"g1": "00:16:3e:00:00:01", "g2": "00:16:3e:00:00:02"}
OUTSIDE = "00:16:3e:00:01:00"  # no vif's: its frames leave through the port
TAP = "demo0"
PORTS = {"null": "net_null0,no-rx=1", "tap": f"net_tap0,iface={TAP}"}
# A network namespace, and the /sys that shows it, in which nobody but the demo sends anything.
SILENT_NETWORK = ["unshare", "--net", "--mount", "sh", "-c",
                  "mount -t sysfs sysfs /sys; "
                  'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; exec "$@"', "sh"]
CONFIG = """
memory = "pages"
memory-mb = 128
frame-buffers = 8192
wait-for-hotplug = false  # the lab's guests have no hotplug script

[[port]]
name = "wire"
device = "{device}"
"""
VIF_FILE = """# {name}'s vif
mac = "{mac}"
nic = "wire"
lock-mac = true
"""
QUIET_S = 0.3
WIRE = pathlib.Path(__file__).resolve().parent / "wire.py"


class Wire:
    """The far side of the port, when that is a tap: the kernel's end of it."""

    def __init__(self, lab):
        self.process = lab.daemon.pid
        self.sender = subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.process}/ns/net", sys.executable, WIRE, TAP,
             str(RATE // 10), *GUESTS.values()])
        lab.processes.append(self.sender)  # which ends with the lab at the latest

    def stop(self):
        self.sender.terminate()
        self.sender.wait()

    def counts(self):
        """What the kernel counted at its end: (received, sent, of those dropped)."""
        lines = pathlib.Path(f"/proc/{self.process}/net/dev").read_text().splitlines()
        [line] = [line for line in lines if line.strip().startswith(f"{TAP}:")]
        numbers = [int(word) for word in line.split(":")[1].split()]
        return numbers[1] + numbers[3], numbers[9], numbers[11]


def start(lab, port):
    """Configuration, daemon, domains, vifs."""
    lab.configure(CONFIG.format(device=PORTS[port]))
    for name, mac in GUESTS.items():
        path = lab.directory / "config" / "vif.d" / f"{name}.toml"
        path.write_text(VIF_FILE.format(name=name, mac=mac))
    lab.start_daemon(SILENT_NETWORK if port == "tap" else ())
    say(f"dpdk-netback is ready in domain 0; its port is {PORTS[port]}")
    for name, mac in GUESTS.items():
        say(f"guest {name} is domain {lab.create(name, mac)}, "
            f"its vif's file vif.d/{name}.toml")


def start_guests(lab, seconds):
    """Each sends to the other and to the outside by turns, and takes what comes."""
    def guest(name):
        others = [mac for other, mac in GUESTS.items() if other != name]
        return lab.pktgen(name, "--events", "--seconds", seconds, "both", "--linger",
                          "--rate", RATE, "--to", ",".join([*others, OUTSIDE]))
    return {name: guest(name) for name in GUESTS}


def live_table(lab, seconds):
    """netbackctl's own: on a terminal in one place."""
    subprocess.run([NETBACKCTL, "--socket", lab.directory / "control.sock", "stats", "--watch",
                    "--count", str(seconds)], check=True)


def settled(lab):
    """The counters, once nothing moves any more."""
    def frames():
        stats = lab.ctl("stats")
        moving = [value for vif in stats["vifs"] for key, value in vif.items() if "frames" in key]
        return stats, moving + [port["port_sent_frames"] for port in stats["ports"]]

    def quiet():
        _, before = frames()
        time.sleep(QUIET_S)
        stats, after = frames()
        return stats if before == after else None
    return until(quiet, "quiet after the traffic")


def rows_of(stats, found, wire):
    """Who counted what; at last all frames, whoever sent and got them."""
    [port] = stats["ports"]
    rows = []
    for vif in stats["vifs"]:
        guest = found[vif["domain"]]
        rows += demos.guest_rows(vif, guest["sent"], guest["received"])
    rows.append(Row("port's driver sent", port["driver_sent_frames"], port["port_sent_frames"]))
    sent = sum(guest["sent"] for guest in found.values())
    got = sum(guest["received"] for guest in found.values())
    if wire:
        received, sent_by_wire, lost = wire.counts()
        rows += [Row("kernel's tap received", received, port["port_sent_frames"]),
                 Row("kernel's tap sent", sent_by_wire, port["port_received_frames"],
                     {"kernel's tap drops": lost} if lost else {})]
        sent, got = sent + sent_by_wire, got + received
    else:
        got += port["driver_sent_frames"]
    dropped = {}
    for counters in [*stats["vifs"], port]:
        for key, value in demos.drops(counters).items():
            dropped[key] = dropped.get(key, 0) + value
    return [*rows, Row("all sent, all got", sent, got, dropped, sum(dropped.values()))]


def run(options):
    port = "tap" if options.tap else "null"
    if not packages.has_tools():
        say("fetching Debian's xenstored, once")
    with Lab() as lab:
        say("a lab is up: Xen's interfaces between processes, and the real xenstored")
        start(lab, port)
        # Half a second more than the table is watched: its last line is of full traffic.
        guests = start_guests(lab, options.seconds + 0.5)
        wire = Wire(lab) if options.tap else None
        live_table(lab, options.seconds)
        if wire:
            wire.stop()
        say("waiting until all is delivered")
        stats = settled(lab)
        found = {name: lab.stop(guest) for name, guest in guests.items()}
        demos.summary(rows_of(stats, found, wire))
        for name, guest in found.items():
            if guest["faults"]:
                raise DemoError(f"{name} found faults: {json.dumps(guest)}")
        lab.drain_daemon()


def more(parser):
    parser.add_argument("--tap", action="store_true", help="the port is a kernel tap")


if __name__ == "__main__":
    sys.exit(demos.main(run, SECONDS, more))
