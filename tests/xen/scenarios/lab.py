"""The host that scenarios share. Booting costs time, so each scenario takes the machine, the daemon
and the guests as the last one left them; after a failure all that may be spoilt is made anew."""

import contextlib
import dataclasses
import json
import re
import time

import guests
import netback
from host import PATIENCE, HostError, XenHost
from kernel_netback import make_bridge
from pvh import NIC, PvhHost
from station import Station

# Addresses of the bridge: what dom0 is called by the guests.
DOM0, DOM0_6 = "10.0.0.1", "fd00::1"

# Names of configuration directories in dom0: what a scenario says its daemon runs with.
BRIDGE, PACKET, JUMBO = "bridge", "packet", "jumbo"
WIRE, WIRE_JUMBO = "wire", "wire-jumbo"
CONFIG_ROOT = "/etc/netback-test"
PACKET_PORT = """
[[port]]
name = "veth"
device = "net_af_packet0,iface=veth0"

[defaults]
nic = "veth"
"""
WIRE_PORT = f"""
[[port]]
name = "wire"
device = "{NIC}"

[defaults]
nic = "wire"
"""
JUMBO_PORT, WIRE_JUMBO_PORT = (text.replace("[[port]]", "[[port]]\nmtu = 9000")
                               for text in (netback.BRIDGED_PORT, WIRE_PORT))
CONFIGS = {name: netback.FEW_BUFFERS + port
           for name, port in ((BRIDGE, netback.BRIDGED_PORT), (PACKET, PACKET_PORT),
                              (JUMBO, JUMBO_PORT), (WIRE, WIRE_PORT),
                              (WIRE_JUMBO, WIRE_JUMBO_PORT))}
SPARE_GUESTS = ("g1", "g2")  # stay when a scenario does not ask for them
# Shapes of host: dom0 with the machine's page tables, or as a virtual machine with a NIC. There a
# Station at the NIC's wire has the addresses that otherwise dom0 has.
PV, PVH = "pv", "pvh"


class Skip(Exception):
    """The scenario cannot or need not run here; says why."""


@dataclasses.dataclass
class Scenario:
    """What it is called, the state it starts from, and what it does with a Lab."""
    name: str
    guests: tuple  # numbers of those that are up, with addresses
    daemon: str    # a configuration, or None: not running
    shape: str     # of the host
    run: callable


SCENARIOS = []


def scenario(name, guests=(1,), daemon=BRIDGE, shape=PV):
    """Adds a function of a Lab to the list; they run in the order of the modules."""
    def add(function):
        SCENARIOS.append(Scenario(name, guests, daemon, shape, function))
        return function
    return add


class Lab:
    """One host at a time, in the state that a scenario asks for."""

    def __init__(self, build_dir, name="suite"):
        self.build_dir, self.name = build_dir, name
        self.host = None
        self.shape = None
        self.station = None    # of a PVH host
        self.boots = 0
        self.faults = 0        # of the machine's or a guest's, that were met by a new host
        self.daemons = 0
        self.daemon = None     # the configuration it runs with
        self.damaged = False   # by a scenario that failed
        self.prepared = False  # for the scenario that runs now
        self.notes = []        # what the scenario measured

    # --- state ---

    def prepare(self, scenario):
        """Brings the host into the scenario's state; on a new host if this one does not obey."""
        self.notes = []
        if self.shape != scenario.shape:
            self.end_host()
        if self.host:
            try:
                if self.damaged:
                    self.clean()
                self.reach(scenario)
                return
            except (HostError, AssertionError) as error:
                self.note(f"(a new host, because: {error})")
                self.end_host()
        self.boot(scenario.shape)
        self.reach(scenario)

    def reach(self, scenario):
        if self.daemon != scenario.daemon:
            self.end_guests()
            self.end_daemon()
            if scenario.daemon:
                self.start_daemon(scenario.daemon)
        wanted = [f"g{number}" for number in scenario.guests]
        self.end_guests(keep=(*wanted, *SPARE_GUESTS))
        guests.make_guests(self.host, [number for number in scenario.guests
                                       if f"g{number}" not in self.host.guests])

    def boot(self, shape):
        self.boots += 1
        self.damaged, self.daemon, self.shape = False, None, shape
        name = self.name if self.boots == 1 else f"{self.name}-boot{self.boots}"
        if shape == PV:
            self.host = XenHost(name, overlay=self.overlay())
        else:
            self.station = Station((f"{DOM0}/24", f"{DOM0_6}/64"))
            self.host = PvhHost(name, self.station, overlay=self.overlay())
        self.host.boot()
        if shape == PV:
            make_bridge(self.host)
        else:
            self.host.give_nic_to_programs()

    def overlay(self):
        drivers = ("net_e1000",) if self.shape == PVH else ()
        add_daemon = netback.daemon_overlay(self.build_dir, drivers=drivers)

        def add(image):
            add_daemon(image)
            image.program("/usr/bin/xenlab-conformance",
                          netback.built(self.build_dir, "xenlab-conformance"))
            if self.shape == PVH:
                netback.add_poller(image, self.build_dir)
            for name, text in CONFIGS.items():
                image.text(f"{CONFIG_ROOT}/{name}/dpdk-netback.toml", text)
                image.directory(f"{CONFIG_ROOT}/{name}/vif.d")
        return add

    def clean(self):
        """Ends all that a failed scenario may have left behind."""
        self.end_guests()
        self.end_daemon()
        self.host.dom0("killall -9 netcheck dpdk-netback; rm -f /tmp/daemon.*")
        self.damaged = False

    def end_guests(self, keep=()):
        for name in [name for name in self.host.guests if name not in keep]:
            self.host.destroy_guest(name)

    def end_host(self):
        if self.host:
            with contextlib.suppress(Exception):
                self.keep_daemon_log()
            self.host.kill()
        if self.station:
            self.station.close()
        self.host = self.shape = self.station = self.daemon = None

    def note(self, text):
        """A line of the scenario's report."""
        self.notes.append(text)

    # --- the daemon ---

    def config_directory(self, config=BRIDGE):
        return f"{CONFIG_ROOT}/{config}"

    def start_daemon(self, config=BRIDGE):
        """The seconds it took."""
        self.daemon = config
        if config == PACKET:
            self.make_veth()
        seconds = netback.start_daemon(self.host, f"--config {self.config_directory(config)}")
        self.daemons += 1
        return seconds

    def make_veth(self):
        """A pair into the bridge. What goes in there must be whole frames with their checksums:
        af_packet knows nothing else."""
        self.host.run("dom0", "[ -e /sys/class/net/veth0 ] && exit 0; modprobe veth;"
                              "ip link add veth0 type veth peer name veth1 &&"
                              "ip link set veth1 master xenbr0 up && ip link set veth0 up &&"
                              "ethtool -K veth1 tx off >/dev/null")

    def end_daemon(self):
        """However it is; no guest needs it any more."""
        if not self.daemon:
            return
        if self.host.dom0("[ -e /tmp/daemon.status ]")[0] != 0:
            netback.stop_daemon(self.host)
        self.keep_daemon_log()
        self.daemon = None

    def drain_daemon(self):
        """A planned stop under connected guests: it ends well, no buffer lost; its log is kept."""
        status, log = netback.stop_daemon(self.host)
        self.keep_daemon_log()
        assert status == 0, f"stop --drain: exit {status}\n{log}"
        assert "not given back" not in log, f"stop --drain: {log}"

    def keep_daemon_log(self):
        """Beside the console logs; /tmp/daemon.out is the next daemon's."""
        if self.host and self.daemon:
            path = self.host.logs / f"daemon-{self.daemons}.log"
            path.write_text(self.host.run("dom0", "cat /tmp/daemon.out"))

    def daemon_pid(self):
        return int(self.host.run("dom0", "cat /tmp/daemon.pid"))

    def assert_daemon_lives(self):
        assert self.host.dom0("[ -e /tmp/daemon.status ]")[0] != 0, \
            f"the daemon ended:\n{netback.daemon_log(self.host)}"

    def ctl(self, words):
        return netback.ctl(self.host, words)

    def vif(self, number):
        """Counters and state of guest N's vif."""
        return self.ctl(f"stats {guests.mac(number)}")["vifs"][0]

    def wait_connected(self, number, timeout=20):
        """Until guest N's vif is served."""
        end = time.monotonic() + PATIENCE * timeout
        while True:
            status, output = self.host.dom0(f"netbackctl --json stats {guests.mac(number)}")
            if status == 0 and '"connected"' in output:
                return
            assert time.monotonic() < end, f"g{number} is not connected:\n{output}"
            time.sleep(0.2)

    def last_words(self):
        """The end of the daemon's log, if there is anybody who can read it."""
        with contextlib.suppress(Exception):
            if self.daemon and not self.host.dead():
                crash = self.host.dom0("dmesg | grep -A1 'dpdk-netback.*segfault' | tail -n 2")[1]
                return f"daemon: {netback.daemon_log(self.host, 15)}{crash}"
        return ""

    def keep_stats(self, name):
        """What netbackctl says after a scenario that failed, for whoever reads the logs."""
        with contextlib.suppress(Exception):
            if self.daemon and not self.host.dead():
                file_name = re.sub(r"\W+", "-", name).strip("-")
                path = self.host.logs / f"stats-{file_name}.json"
                path.write_text(json.dumps(self.ctl("stats"), indent=1))

    # --- what scenarios check again and again ---

    @contextlib.contextmanager
    def counted(self, number, from_guest=0, to_guest=0):
        """Our byte counters of guest N's vif grow at least by the payload that passes meanwhile."""
        before = self.vif(number)
        yield
        after = self.vif(number)
        for way, payload in (("from_guest", from_guest), ("to_guest", to_guest)):
            grown = after[f"{way}_bytes"] - before[f"{way}_bytes"]
            assert grown >= payload, f"{way}_bytes of g{number} grew by {grown}, not {payload}"

    def ping(self, where, target, count=20, interval=0.05):
        """All of them come back."""
        received, times = guests.ping(self.host, where, target, count, interval)
        assert received == count, f"{where} to {target}: {received} of {count} pings"
        return times

    def transfer(self, sender, receiver, target, mebibytes=64, port=5001):
        """A TCP transfer with equal sums; a note says how fast it was."""
        sent, _ = guests.transfer(self.host, sender, receiver, target, mebibytes, port)
        rate = mebibytes / sent["seconds"]
        self.note(f"{mebibytes} MiB {sender} to {receiver} ({target}): {rate:.1f} MiB/s")

    def transfer_by_wire(self, number, mebibytes, ipv6=False, port=5001):
        """The same between guest N and the station, one way after the other."""
        guest, count = f"g{number}", mebibytes << 20
        here, there = (DOM0_6, guests.address6(number)) if ipv6 else (DOM0, guests.address(number))
        guests.load_hashes(self.host, guest)
        received = self.station.receive(port)
        sent = json.loads(self.host.run(guest, f"netcheck tcp-send {here} {port} {count}", 120))
        assert received.result() == (count, sent["sha256"]), (received.result(), sent)
        self.note(f"{mebibytes} MiB {guest} to {here}: {mebibytes / sent['seconds']:.1f} MiB/s")
        self.host.start(guest, "recv", f"exec netcheck tcp-recv {port}")
        digest = self.station.send(there, port, count)
        status, output = self.host.finish(guest, "recv")
        assert status == 0, output
        got = json.loads(output)
        assert (got["bytes"], got["sha256"]) == (count, digest), (got, digest)
        self.note(f"{mebibytes} MiB {here} to {guest}: {mebibytes / got['seconds']:.1f} MiB/s")

    def echo_udp(self, where, there, target, sizes, count, port=7000):
        """Datagrams of each size come back unchanged."""
        self.host.start(there, f"echo{port}", f"exec netcheck udp-echo {port}")
        try:
            # Before it listens, the first datagram comes back as an error.
            self.host.run(there, f"until grep -q ':{port:04X} ' /proc/net/udp /proc/net/udp6;"
                                 " do sleep 0.05; done")
            for size in sizes:
                output = self.host.run(where, f"netcheck udp-check {target} {port} {size} {count}")
                same = json.loads(output)["same"]
                assert same == count, f"{target}, {size} bytes: {output}"
        finally:
            self.host.stop(there, f"echo{port}", "KILL")
