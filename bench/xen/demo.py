"""bench/demo: two guests on a real Xen host, their traffic through dpdk-netback, a live table."""

import argparse
import sys
import time

import netback
from guests import address, make_guest
from host import HostError, XenHost

BUILD = "build/release"
TAP = "netback0"
CONFIG = f"""
[[port]]
name = "bridge"
device = "net_virtio_user0,path=/dev/vhost-net,queue_size=1024,iface={TAP}"
bridge = "xenbr0"
"""
SETTLE_S = 2


def say(text):
    print(f"== {time.strftime('%H:%M:%S')}  {text}", flush=True)


class Traffic:
    """Endless transfers and datagrams, in every direction that there is."""

    FLOWS = [("g1", "dom0", "10.0.0.1"), ("dom0", "g2", address(2)), ("g2", "g1", address(1))]

    def __init__(self, host):
        self.host, self.running = host, []

    def background(self, where, tag, command):
        self.host.start(where, tag, command)
        self.running.append((where, tag))

    def start(self):
        for number, (sender, receiver, target) in enumerate(self.FLOWS):
            port = 5001 + number
            self.background(receiver, f"in{port}",
                            f"while netcheck tcp-recv {port} --hash=none; do :; done")
            self.background(sender, f"out{port}",
                            f"while :; do netcheck tcp-send {target} {port} 16777216 --hash=none "
                            "|| sleep 0.2; done")
        self.background("dom0", "echo", "netcheck udp-echo 7000")
        self.background("g1", "udp", "while :; do netcheck udp-check 10.0.0.1 7000 17 200; done")
        self.background("g2", "ping", "ping -i 0.2 10.0.0.1")

    def stop(self):
        for where, tag in self.running:
            self.host.stop(where, tag, "KILL")
        time.sleep(SETTLE_S)


def live_table(host, seconds):
    """netbackctl's own table, drawn anew each second; on a terminal in one place."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        table = host.run("dom0", "netbackctl stats --watch --count 1 --interval 1", 30)
        if sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        print(f"{max(0, end - time.monotonic()):5.0f} s left\n{table}", flush=True)


def interface_counts(host, where, interface):
    names = ("rx_packets", "tx_packets", "rx_dropped", "tx_dropped", "rx_errors")
    base = f"/sys/class/net/{interface}/statistics"
    values = host.run(where, "cat " + " ".join(f"{base}/{name}" for name in names)).split()
    return dict(zip(names, map(int, values)))


def drops(counters, prefix):
    return {key: value for key, value in counters.items()
            if key.startswith(prefix) and "_drop_" in key and value}


def compare(host):
    """(rows of who counted what, the differences that no named drop explains)."""
    stats = netback.ctl(host, "stats")
    rows = []
    for vif in stats["vifs"]:
        guest = vif["domain"]
        seen = interface_counts(host, guest, "eth0")
        rows.append((f"{guest} sent", seen["tx_packets"], vif["from_guest_frames"],
                     drops(vif, "from_guest"), "from"))
        rows.append((f"{guest} received", seen["rx_packets"] + seen["rx_errors"],
                     vif["to_guest_frames"], {}, "to"))
    port = stats["ports"][0]
    tap = interface_counts(host, "dom0", TAP)
    # To the bridge: what the port sent came out of the tap, and the other way round.
    rows.append(("dom0's tap received", tap["rx_packets"] + tap["rx_dropped"],
                 port["port_sent_frames"], {}, "to"))
    rows.append(("dom0's tap sent", tap["tx_packets"], port["port_received_frames"],
                 {"kernel's tap drops": tap["tx_dropped"]}, "tap"))
    return rows


def unexplained(row):
    _, theirs, ours, dropped, way = row
    if way == "from":  # what the guest sent is what we took, and what we dropped of it by name
        early = sum(value for key, value in dropped.items()
                    if key in COUNTED_BEFORE_FORWARDING)
        return theirs - ours - early
    return theirs - ours


# Drops of frames that from_guest_frames does not count: found before forwarding.
COUNTED_BEFORE_FORWARDING = {f"from_guest_drop_{what}_frames" for what in (
    "bad_size", "too_many_slots", "size_mismatch", "bad_reference", "copy_failed",
    "gso_not_offered", "too_long", "bad_headers", "source_address")}


def summary(host):
    rows = compare(host)
    print(f"\n{'who':<22}{'counted':>12}{'we counted':>12}   named drops")
    bad = []
    for row in rows:
        name, theirs, ours, dropped, _ = row
        named = ", ".join(f"{key} {value}" for key, value in dropped.items()) or "none"
        print(f"{name:<22}{theirs:>12,}{ours:>12,}   {named}")
        if unexplained(row):
            bad.append(f"{name} {theirs}, we counted {ours}")
    if bad:
        raise HostError("counts differ and no named drop explains it: " + "; ".join(bad))
    if min(row[2] for row in rows) == 0:
        raise HostError("there was no traffic in some direction")
    say("every count agrees")


def run(seconds):
    say("booting Xen, dom0 and two guests (about half a minute)")
    with XenHost("demo", overlay=netback.daemon_overlay(BUILD, CONFIG)) as host:
        netback.use_daemon(host)
        say("dpdk-netback is ready; xl creates the guests")
        for number in (1, 2):
            make_guest(host, number)
            say(f"guest g{number} is up")
        traffic = Traffic(host)
        traffic.start()
        live_table(host, seconds)
        traffic.stop()
        summary(host)
        host.shutdown()


def main():
    parser = argparse.ArgumentParser(prog="bench/demo")
    parser.add_argument("--xen", action="store_true", help="on real Xen (the only way so far)")
    parser.add_argument("--seconds", type=float, default=20, help="how long traffic runs")
    options = parser.parse_args()
    try:
        run(options.seconds)
    except Exception as error:  # one line of reason
        print("bench/demo: " + str(error).splitlines()[0], file=sys.stderr)
        print("\n".join(str(error).splitlines()[1:]), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
