"""What a port's NIC lets through: what its connected vifs need, seen from below the driver."""

import errno
import subprocess
import time

from control import Network
from lab import BUILD, scenario, until
from multicast import ALL, ALSO_JOINED, JOINED, OTHER
from traffic import G1, G2, G3, NOBODY
from wire import use_veth

# nic.cpp says what they do.
LIBRARY = BUILD / "tests" / "lab" / "nic.so"
BELOW = ["sh", "-c", 'export NIC="$1" LD_PRELOAD="$LD_PRELOAD $0"; shift; exec "$@"', LIBRARY]
OWN = "02:00:00:00:00:fe"
CALLS = ("mac_addr_add", "mac_addr_remove", "default_mac_addr_set", "set_mc_addr_list",
         "allmulticast_enable", "allmulticast_disable", "promiscuous_enable",
         "promiscuous_disable")
TICK_SECONDS = 0.01  # FilterControl::groups_interval
CHANGES_PER_SECOND = 100_000  # H23
CHURN_SECONDS = 2
SLOW_CALL_MS = 50


class Nic:
    """One below the daemon, which starts anew on it; files as nic.cpp has them."""

    def __init__(self, lab, **files):
        self.lab, self.directory = lab, lab.directory / "nic"
        self.directory.mkdir()
        for name, text in files.items():
            self.set(name, text)
        lab.drain_daemon()
        lab.start_daemon([*BELOW, self.directory])

    def set(self, name, text):
        # Whole or not at all: it may be read meanwhile.
        (self.directory / "new").write_text(str(text))
        (self.directory / "new").rename(self.directory / name)

    def refuse(self, error, *calls):
        self.set("refuse", "".join(f"{call} {error}\n" for call in calls))

    def calls(self, since=0):
        """(name, what about, result) of each."""
        path = self.directory / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, about, int(result)) for name, about, result in map(str.split, lines)][since:]

    def state(self):
        """What it lets through by the calls that it took."""
        state = {"primary": OWN, "unicast": set(), "multicast": set(), "allmulticast": False,
                 "promiscuous": False}
        for name, about, result in self.calls():
            if result != 0:
                continue
            if name == "default_mac_addr_set":
                state["primary"] = about
            elif name == "mac_addr_add":
                state["unicast"].add(about)
            elif name == "mac_addr_remove":
                state["unicast"].discard(about)
            elif name == "set_mc_addr_list":
                state["multicast"] = set(about.split(",")) - {"-"}
            else:
                mode, verb = name.split("_")
                state[mode] = verb == "enable"
        return state

    def becomes(self, **expected):
        whole = {"primary": OWN, "unicast": set(), "multicast": set(), "allmulticast": False,
                 "promiscuous": False, **expected}
        try:
            until(lambda: self.state() == whole, f"the NIC's filters {whole}", 3)
        except Exception:
            self.lab.note(f"{self.state()}\n{self.calls()}")
            raise


def write_file(lab, name, mac, *lines):
    (lab.directory / "config" / "vif.d" / f"{name}.toml").write_text(
        "\n".join([f'mac = "{mac}"', *lines, ""]))


def chooser(lab, name, *groups):
    """A guest with multicast control that has joined these."""
    join = ["--join", ",".join(groups)] if groups else []
    return lab.pktgen(name, "--events", "--multicast-control", *join, "receive")


def port_of(lab):
    return lab.ctl("port")["ports"][0]


def vif(lab, name):
    return f"{lab.domid(name)}.0"


@scenario("seed_S09_a_nic_lets_through_what_the_connected_vifs_need_and_no_more_in_a_lab")
def needs(lab):
    nic = Nic(lab)
    write_file(lab, "g3", G3, "rx-filter = false")
    for name, mac in (("g1", G1), ("g2", G2), ("g3", G3)):
        lab.create(name, mac)
    assert nic.calls() == []
    one = chooser(lab, "g1", JOINED, ALSO_JOINED)
    nic.becomes(unicast={G1}, multicast={JOINED, ALSO_JOINED})
    two = lab.pktgen("g2", "--events", "receive")
    nic.becomes(unicast={G1, G2}, allmulticast=True)
    assert port_of(lab)["allmulticast_for"] == [f"vif {vif(lab, 'g2')}"], port_of(lab)
    three = lab.pktgen("g3", "--events", "receive")
    nic.becomes(unicast={G1, G2, G3}, promiscuous=True)
    port = port_of(lab)
    assert port["promiscuous"] and port["promiscuous_for"] == [f"vif {vif(lab, 'g3')}"], port
    assert port["promiscuous_fallbacks"] == 0, port
    lab.stop(three)
    nic.becomes(unicast={G1, G2}, allmulticast=True)
    lab.stop(two)
    nic.becomes(unicast={G1}, multicast={JOINED, ALSO_JOINED})
    port = port_of(lab)
    assert port["unicast"] == [{"address": G1, "vifs": [vif(lab, "g1")]}], port
    assert [each["address"] for each in port["multicast"]] == [JOINED, ALSO_JOINED], port
    assert not port["promiscuous"] and not port["allmulticast"], port
    lab.stop(one)
    nic.becomes()


@scenario("seed_S09_in_promiscuous_mode_nothing_comes_back_to_its_sender")
def no_loop(lab):
    write_file(lab, "g1", G1, "rx-filter = false")
    use_veth(lab)
    inside = ["nsenter", f"--net=/proc/{lab.daemon.pid}/ns/net", "ip", "-d", "link", "show", "near"]

    def promiscuity():
        shown = subprocess.run(inside, check=True, capture_output=True, text=True).stdout
        return int(shown.split("promiscuity ")[1].split()[0])
    assert promiscuity() == 0
    guest = lab.pktgen("g1", "--events", "--count", 2000, "both", "--linger", "--burst", "8",
                       "--rate", "8000", "--to", ",".join([ALL, JOINED, NOBODY]))
    until(lambda: promiscuity() == 1, "promiscuous")
    until(lambda: lab.port_frames() == 2000, "all frames on the wire")
    time.sleep(0.1)
    found = lab.stop(guest)
    assert found["sent"] == 2000 and found["received"] == found["faults"] == 0, found
    until(lambda: promiscuity() == 0, "promiscuous no more")


@scenario("seed_S10_a_taps_own_mac_is_the_vifs_while_it_is_connected")
def primary(lab):
    with Network(lab, "net_tap0,iface=nb0") as network:
        lab.start_daemon()

        def link():
            """(MAC, flags) of the tap."""
            shown = network.run("ip", "-d", "link", "show", "nb0")
            return shown.split("link/ether ")[1].split()[0], \
                {"PROMISC", "ALLMULTI"} & set(shown.split("<")[1].split(">")[0].split(","))
        own, flags = link()
        assert own != G1 and flags == set(), (own, flags)
        write_file(lab, "g1", G1, "set-physaddr = true")
        lab.create("g1", G1)
        for lines, words, expected in (
                (["set-physaddr = true"], [], (G1, {"ALLMULTI"})),
                (["set-physaddr = true"], ["--multicast-control"], (G1, set())),
                (["set-physaddr = true", "rx-filter = false"], [], (G1, {"PROMISC"})),
                # One address beside its own is more than this driver takes.
                ([], ["--multicast-control"], (own, {"PROMISC"}))):
            write_file(lab, "g1", G1, *lines)
            guest = lab.pktgen("g1", "--events", *words, "receive")
            until(lambda: link() == expected, f"{lines} {words}: {expected}, {link()}", 3)
            lab.stop(guest)
            until(lambda: link() == (own, set()), "as it was")
        assert port_of(lab)["promiscuous_fallbacks"] == 1
        lab.drain_daemon()
        lab.start_daemon()


@scenario("seed_S10_a_driver_that_keeps_its_mac_is_a_warning_and_the_vif_is_served")
def primary_refused(lab):
    nic = Nic(lab)
    nic.refuse(errno.EPERM, "default_mac_addr_set")
    for name, mac in (("g1", G1), ("g2", G2)):
        write_file(lab, name, mac, "set-physaddr = true")
        lab.create(name, mac)
    receiver = lab.pktgen("g1", "--events", "receive")
    nic.becomes(unicast={G1}, allmulticast=True)
    sent = lab.result(lab.pktgen("g2", "--events", "--count", 100, "send", "--to", G1))
    assert sent["answered"] == 100 and sent["faults"] == 0, sent
    assert lab.stop(receiver)["received"] == 100
    warning = "port 'null': its driver refuses primary MAC: Operation not permitted"
    assert lab.log().count(warning) == 1, lab.log()
    assert port_of(lab)["primary_mac_refused"] >= 2 and port_of(lab)["mac"] == OWN


@scenario("seed_S12_what_a_vif_alone_needed_goes_groups_first_and_its_address_last")
def detach(lab):
    nic = Nic(lab)
    lab.create("g1", G1)
    write_file(lab, "g2", G2, "rx-filter = false", "set-physaddr = true")
    lab.create("g2", G2)
    guest = chooser(lab, "g1", JOINED)
    nic.becomes(unicast={G1}, multicast={JOINED})
    before = len(nic.calls())
    lab.stop(guest)
    nic.becomes()
    assert nic.calls(before) == [("set_mc_addr_list", "-", 0), ("mac_addr_remove", G1, 0)]
    guest = lab.pktgen("g2", "--events", "receive")
    nic.becomes(primary=G2, promiscuous=True)
    chooser(lab, "g1", JOINED)
    nic.becomes(primary=G2, unicast={G1}, promiscuous=True)
    before = len(nic.calls())
    lab.drain_daemon()  # with both of them connected
    nic.becomes()
    assert nic.calls(before) == [("promiscuous_disable", "-", 0), ("mac_addr_remove", G1, 0),
                                 ("default_mac_addr_set", OWN, 0)], nic.calls(before)
    lab.start_daemon([*BELOW, nic.directory])  # as it was found, so is it used again
    nic.becomes(primary=G2, unicast={G1}, promiscuous=True)
    lab.stop(guest)


@scenario("seed_S13_a_nic_that_refuses_the_groups_takes_all_and_the_guests_answer_stays_true")
def groups_refused(lab):
    nic = Nic(lab)
    lab.create("g1", G1)
    lab.create("g2", G2)
    first = chooser(lab, "g1", JOINED, JOINED, OTHER)
    nic.becomes(unicast={G1}, multicast={JOINED, OTHER})
    # Each list once: one that is there already is success without another.
    assert sum(name == "set_mc_addr_list" for name, _, _ in nic.calls()) <= 2, nic.calls()
    nic.refuse(errno.ENOSPC, "set_mc_addr_list")
    second = chooser(lab, "g2", ALSO_JOINED)
    nic.becomes(unicast={G1, G2}, multicast={JOINED, OTHER}, allmulticast=True)
    nic.refuse(0)
    lab.stop(second)
    nic.becomes(unicast={G1}, multicast={JOINED, OTHER})
    nic.refuse(errno.ENOSPC, "set_mc_addr_list", "allmulticast_enable")
    second = chooser(lab, "g2", ALSO_JOINED)
    until(lambda: nic.state()["promiscuous"], "promiscuous", 3)
    port = port_of(lab)
    assert "all groups refused (No space left on device)" in port["promiscuous_for"], port
    assert port["promiscuous_fallbacks"] == port["allmulticast_fallbacks"] == 1, port
    nic.refuse(0)
    lab.create("g3", G3)
    third = chooser(lab, "g3")
    nic.becomes(unicast={G1, G2, G3}, multicast={JOINED, ALSO_JOINED, OTHER})
    for guest in (first, second, third):
        found = lab.stop(guest)
        assert found["errors"] == found["faults"] == 0, found


@scenario("a driver that refuses every filter call: it says so once, and guests are served")
def all_refused(lab):
    nic = Nic(lab)
    nic.refuse(errno.EIO, *CALLS)
    write_file(lab, "g2", G2, "rx-filter = false", "set-physaddr = true")
    lab.create("g1", G1)
    lab.create("g2", G2)
    echo = lab.pktgen("g2", "--events", "echo")
    for _ in range(3):
        ping = lab.result(lab.pktgen("g1", "--events", "--multicast-control", "--join", JOINED,
                                     "--count", 200, "ping", "--to", G2))
        assert ping["received"] == 200 and ping["faults"] == 0, ping
    assert {name for name, _, result in nic.calls() if result == 0} == set(), nic.calls()
    port = port_of(lab)
    assert not port["promiscuous"] and not port["allmulticast"] and port["unicast"] == [], port
    refused = [key for key in port if key.endswith("_refused") and key != "flow_rules_refused"]
    assert len(refused) == 5 and all(port[key] > 0 for key in refused), port
    assert lab.log().count("its driver refuses ") == 5, lab.log()
    lab.stop(echo)
    lab.drain_daemon()
    nic.refuse(errno.ENOTSUP, *CALLS)  # as of a driver that has none of them: nothing to warn of
    before = lab.log()
    lab.start_daemon([*BELOW, nic.directory])
    lab.result(lab.pktgen("g1", "--events", "--count", 10, "send"))
    assert " warning: " not in lab.log()[len(before):], lab.log()


@scenario("more vifs than the NIC has places: promiscuous until the others fit again")
def table_full(lab):
    nic = Nic(lab, addresses=3)
    for number, mac in enumerate((G1, G2, G3), 1):
        lab.create(f"g{number}", mac)
    guests = [chooser(lab, f"g{number}") for number in (1, 2)]
    nic.becomes(unicast={G1, G2})
    third = chooser(lab, "g3")
    nic.becomes(unicast={G1, G2}, promiscuous=True)
    assert port_of(lab)["promiscuous_for"] == ["1 more addresses than the NIC takes"]
    lab.stop(guests[0])
    nic.becomes(unicast={G2, G3})
    assert port_of(lab)["promiscuous_fallbacks"] == 1
    lab.stop(third)
    nic.becomes(unicast={G2})


@scenario("hostile_h23_a_guest_that_changes_groups_100_000_times_a_second_programs_no_nic_so_often")
def churn(lab):
    nic = Nic(lab)
    for name, mac in (("g1", G1), ("g2", G2), ("g3", G3)):
        lab.create(name, mac)
    echo = lab.pktgen("g2", "--events", "--multicast-control", "echo")
    groups = [f"01:00:5e:00:01:{number:02x}" for number in range(64)]
    nic.becomes(unicast={G2})
    before, began = len(nic.calls()), time.monotonic()
    storm = lab.pktgen("g1", "--multicast-control", "--join", ",".join(groups), "--seconds",
                       CHURN_SECONDS, "churn")
    ping = lab.result(lab.pktgen("g3", "--events", "--multicast-control", "--count", 500, "ping",
                                 "--to", G2))
    assert ping["received"] == 500 and ping["faults"] == 0, ping
    found = lab.result(storm)
    ticks = (time.monotonic() - began) / TICK_SECONDS
    rate = found["sent"] / found["seconds"]
    assert found["faults"] == 0 and rate >= CHANGES_PER_SECOND, found
    lists = [about for name, about, _ in nic.calls(before) if name == "set_mc_addr_list"]
    assert len(lists) <= ticks and len(lists) < found["sent"] / 100, (len(lists), ticks)
    assert all(one != other for one, other in zip(lists, lists[1:])), "the same list twice"
    nic.becomes(unicast={G2})  # nothing of it is left
    lab.stop(echo)
    lab.note(f"{rate:,.0f} changes/s, {len(lists)} lists programmed in {ticks / 100:.1f} s")


@scenario("a NIC that takes long for a filter call holds no frame up")
def slow(lab):
    nic = Nic(lab, delay=SLOW_CALL_MS)
    for name, mac in (("g1", G1), ("g2", G2), ("g3", G3)):
        lab.create(name, mac)
    echo = lab.pktgen("g2", "--events", "--multicast-control", "echo")
    ping = lab.pktgen("g1", "--events", "--multicast-control", "--seconds", CHURN_SECONDS, "ping",
                      "--rate", 1000, "--to", G2)
    before = len(nic.calls())
    storm = lab.pktgen("g3", "--multicast-control", "--join", f"{JOINED},{OTHER}", "--seconds",
                       CHURN_SECONDS / 2, "churn")
    found = lab.result(storm)
    assert found["faults"] == 0 and found["sent"] > 10_000, found
    calls = len(nic.calls()) - before
    found = lab.result(ping)
    assert calls > 5, nic.calls()
    assert found["faults"] == 0 and found["round_trip_us"]["p99"] < 1000 * SLOW_CALL_MS / 2, found
    lab.stop(echo)
    lab.note(f"{calls} calls of {SLOW_CALL_MS} ms; round trip {found['round_trip_us']} us")
