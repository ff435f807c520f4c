"""bench/demo: two guests on a real Xen host, their traffic through dpdk-netback, a live table."""

import sys
import time

import demos
import netback
from demos import Row, say
from guests import address, make_guests
from host import XenHost

BUILD = "build/release"
TAP = "netback0"
CONFIG = f"""
[[port]]
name = "bridge"
device = "net_virtio_user0,path=/dev/vhost-net,queue_size=1024,iface={TAP}"
bridge = "xenbr0"
"""
SECONDS = 20
SETTLE_S = 2


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


def rows_of(host):
    """Who counted what: the guests, and dom0's end of the port."""
    stats = netback.ctl(host, "stats")
    rows = []
    for vif in stats["vifs"]:
        seen = interface_counts(host, vif["domain"], "eth0")
        rows += demos.guest_rows(vif, seen["tx_packets"], seen["rx_packets"] + seen["rx_errors"])
    port = stats["ports"][0]
    tap = interface_counts(host, "dom0", TAP)
    # To the bridge: what the port sent came out of the tap, and the other way round.
    return rows + [
        Row("dom0's tap received", tap["rx_packets"] + tap["rx_dropped"],
            port["port_sent_frames"]),
        Row("dom0's tap sent", tap["tx_packets"], port["port_received_frames"],
            {"kernel's tap drops": tap["tx_dropped"]} if tap["tx_dropped"] else {})]


def run(options):
    say("booting Xen, dom0 and two guests (about half a minute)")
    with XenHost("demo", overlay=netback.daemon_overlay(BUILD, CONFIG)) as host:
        netback.use_daemon(host)
        say("dpdk-netback is ready; xl creates the guests")
        make_guests(host, (1, 2))
        say("both guests are up")
        traffic = Traffic(host)
        traffic.start()
        live_table(host, options.seconds)
        traffic.stop()
        demos.summary(demos.settled(lambda: rows_of(host)))
        host.shutdown()


if __name__ == "__main__":
    sys.exit(demos.main(run, SECONDS))
