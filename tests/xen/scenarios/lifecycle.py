"""Guests and vifs come, go and die while traffic runs; the others notice nothing."""

import contextlib
import os
import re

from guests import address, configure, mac, make_guests
from host import CommandFailed, background
from scenarios.lab import DOM0, scenario

FLOOD_BYTES = 1 << 40  # more than a scenario lasts
FLOW_BYTES = 200_000  # who has passed so many each way floods


@contextlib.contextmanager
def flood(lab, number):
    """Guest N and dom0 send to each other by TCP as fast as it goes; neither end need survive."""
    host, guest = lab.host, f"g{number}"
    in_port, out_port = 5100 + number, 5200 + number

    def ends(receives, target, sends):
        """The commands that a side runs: who sends waits until the other side receives."""
        return (background("flood-in", f"exec netcheck tcp-recv {receives} --hash=none") +
                background("flood-out", f"exec netcheck tcp-send {target} {sends} {FLOOD_BYTES}"
                                        " --hash=none"))
    # Few questions, as each takes long under the flood; dom0's tap knows as well as we do.
    counters = "cat /sys/class/net/netback0/statistics/[rt]x_bytes"
    host.run(guest, ends(out_port, DOM0, in_port))
    host.run("dom0", f"set -- $({counters}); {ends(in_port, address(number), out_port)}"
                     f"until (a=$1 b=$2; set -- $({counters}); [ $1 -gt $((a + {FLOW_BYTES})) ] &&"
                     f" [ $2 -gt $((b + {FLOW_BYTES})) ]); do sleep 0.2; done")
    try:
        yield
    finally:
        # Those whose other end has gone may have ended by themselves.
        for where in ("dom0", guest) if guest in host.guests else ("dom0",):
            host.run_any(where, "for tag in in out; do kill -9 -$(cat /tmp/flood-$tag.pid); done")


@scenario("a guest reboots, three times", guests=(1, 2))
def reboot(lab):
    for _ in range(3):
        lab.host.reboot_guest("g2")
        configure(lab.host, 2)
        lab.ping("g2", DOM0, 10)
    lab.ping("g1", address(2), 10)


def detach(lab, number):
    """Takes the vif from under the guest."""
    output = lab.host.run("dom0", f"xl network-detach g{number} 0", 30)
    assert "error" not in output, output
    lab.host.run(f"g{number}", "while [ -e /sys/class/net/eth0 ]; do sleep 0.1; done", 10)


def attach(lab, number):
    lab.host.run("dom0", f"xl network-attach g{number} mac={mac(number)},bridge=xenbr0", 30)
    configure(lab.host, number)
    lab.wait_connected(number)


@scenario("xl network-detach and network-attach during traffic", guests=(1, 2))
def detach_and_attach(lab):
    host = lab.host
    host.start("g2", "witness", f"exec ping -c 300 -i 0.05 -W 2 {DOM0}")
    for _ in range(2):
        with flood(lab, 1):
            detach(lab, 1)
            attach(lab, 1)
        lab.ping("g1", DOM0, 20)
    lab.transfer("g1", "dom0", DOM0, 16)
    lab.transfer("dom0", "g1", address(1), 16)
    # The floods fill the queues that they share with the other guest; an outage they are not.
    _, output = host.finish("g2", "witness", 90)
    received = int(re.search(r"(\d+) packets received", output).group(1))
    lab.note(f"pings of the other guest meanwhile: {received} of 300")
    assert received >= 285, f"the other guest: {output[-200:]}"


# What the daemon holds of others: fds, mappings of granted pages, and dom0's event channels.
HELD = ("held() { set -- /proc/{pid}/fd/*; echo $# $(grep -c gntdev /proc/{pid}/maps)"
        " $(lsevtchn 0 | wc -l); }")
NOW = "$(tr -d . </proc/uptime | cut -d' ' -f1)"
# Prints how many 1/100 s after the end of the domain all of it was given back. To ask takes part of
# a second, and the emulated machine may be far slower than that.
DESTROY = """
xl destroy {guest} || exit 1
begin=""" + NOW + """
while :; do
  now="$(held)"
  took=$((""" + NOW + """ - begin))
  [ $took -gt 1000 ] && {{ echo "before: {before}, now: $now"; exit 1; }}
  [ "$now" = "{before}" ] && {{ echo "took $took"; exit 0; }}
  sleep 0.05
done
"""


def one_dies(lab, number, functions, expected):
    """Destroys guest N in the middle of its flood; how many 1/100 s until `expected` is held."""
    with flood(lab, number):
        text = functions + DESTROY.format(guest=f"g{number}",
                                          before=" ".join(str(each) for each in expected))
        output = lab.host.run("dom0", text, 60)
        del lab.host.guests[f"g{number}"]
    return int(re.search(r"took (\d+)", output).group(1))


@scenario("xl destroy during traffic, again and again", guests=(1,))
def destroy(lab):
    """Four times; ten in suite long."""
    functions = HELD.replace("{pid}", str(lab.daemon_pid()))

    def held():
        return [int(word) for word in lab.host.run("dom0", f"{functions}; held").split()]
    before, took = held(), []
    for numbers in ((3, 4, 5, 6), (3, 4, 5), (3, 4, 5))[:3 if "NETBACK_LONG" in os.environ else 1]:
        make_guests(lab.host, numbers)
        more = [now - then for now, then in zip(held(), before)]  # all of them alike
        for left in reversed(range(len(numbers))):
            expected = [then + each * left // len(numbers) for then, each in zip(before, more)]
            took.append(one_dies(lab, numbers[left], functions, expected))
    lab.note(f"fds, granted pages, event channels ({before}) given back after, 1/100 s: {took}")
    assert sorted(took)[len(took) // 2] <= 100, took
    lab.ping("g1", DOM0, 20)
    # At its end the daemon tells of frame buffers that are missing; until then the port's rings
    # hold some.
    lab.drain_daemon()
    lab.start_daemon()
    lab.ping("g1", DOM0, 20)


@scenario("a nic that does not exist", guests=(1, 2))
def unknown_nic(lab):
    host = lab.host
    vif_file = f"{lab.config_directory()}/vif.d/lost.toml"
    host.run("dom0", f"printf 'mac = \"{mac(9)}\"\\nnic = \"nowhere\"\\n' >{vif_file}")
    host.start("g2", "witness", f"exec ping -c 100 -i 0.05 -W 2 {DOM0}")
    try:
        host.create_guest("g9", [f"mac={mac(9)},bridge=xenbr0"], wait=False)
        raise AssertionError("xl create of a vif without a port went well")
    except CommandFailed as refusal:
        message = (f"nic from {vif_file}: port 'nowhere' is not in dpdk-netback.toml;"
                   " ports: bridge (bridge xenbr0)")
        assert message in str(refusal), str(refusal)
    finally:
        host.run("dom0", f"rm {vif_file}")
    assert host.domid("g9") is None
    lab.assert_daemon_lives()
    _, output = host.finish("g2", "witness", 60)
    assert "100 packets received" in output, f"the other guest: {output[-200:]}"
    lab.ping("g1", address(2), 10)


@scenario("an idle host costs little", guests=(1, 2))
def idle(lab):
    sample = f"cat /proc/uptime /proc/{lab.daemon_pid()}/stat"
    lines = lab.host.run("dom0", f"{sample}; sleep 10; {sample}", 40).splitlines()
    seconds = float(lines[2].split()[0]) - float(lines[0].split()[0])
    # utime and stime, in 1/100 s; they are counted from behind the name, which may hold spaces.
    before, after = (sum(int(word) for word in line.rsplit(")", 1)[1].split()[11:13])
                     for line in (lines[1], lines[3]))
    share = (after - before) / seconds
    lab.note(f"the daemon used {share:.1f} % of dom0's one CPU in {seconds:.1f} s")
    assert share <= 20, f"{share:.1f} % of one CPU with two idle guests"
