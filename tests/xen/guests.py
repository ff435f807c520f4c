"""What tests do with guests again and again: addresses, pings, transfers."""

import json
import re


HASHES = "modprobe -a algif_hash sha256 >/dev/null 2>&1;"  # the kernel's, for netcheck


def mac(number):
    """Guest number n's MAC address, in Xen's range."""
    return f"00:16:3e:00:00:{number:02x}"


def address(number):
    return f"10.0.0.{10 + number}"


def address6(number):
    return f"fd00::{10 + number:x}"


def make_guest(host, number, bridge="xenbr0", vif="", **more):
    """Guest gN with one vif and both of its addresses set; `vif` adds vif words of xl."""
    name = f"g{number}"
    words = f"mac={mac(number)},bridge={bridge}" + (f",{vif}" if vif else "")
    host.create_guest(name, [words], **more)
    configure(host, number)
    return name


def make_guests(host, numbers):
    """Several at once: one boots while xl makes the next."""
    for number in numbers:
        host.create_guest(f"g{number}", [f"mac={mac(number)},bridge=xenbr0"], wait=False)
    for number in numbers:
        host.wait_for_guest(f"g{number}")
        configure(host, number)


def configure(host, number, interface="eth0"):
    """Addresses of guest N; wanted again after it rebooted."""
    host.run(f"g{number}",
             f"until [ -e /sys/class/net/{interface} ]; do sleep 0.1; done;"
             f"ip link set {interface} up && ip addr add {address(number)}/24 dev {interface}"
             f" && echo 0 >/proc/sys/net/ipv6/conf/{interface}/accept_dad"
             f" && ip addr add {address6(number)}/64 dev {interface}")


def ping(host, where, target, count=20, interval=0.1):
    """(received, [least, mean, most] in ms) of `count` pings."""
    verb = "ping6" if ":" in target else "ping"
    _, output = host.run_any(where, f"{verb} -c {count} -i {interval} -W 2 {target}",
                             30 + 3 * count)
    received = int(re.search(r"(\d+) packets received", output).group(1))
    times = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+) ms", output)
    return received, [float(word) for word in times.groups()] if times else None


def load_hashes(host, *places):
    """What netcheck needs to hash what it sends and receives."""
    for where in places:
        host.run_any(where, HASHES)


def transfer(host, sender, receiver, target, mebibytes=64, port=5001, options="", timeout=180):
    """One TCP transfer; both ends' results. Raises AssertionError when they do not agree."""
    tag = f"recv{port}"
    host.start(receiver, tag, f"{HASHES} netcheck tcp-recv {port} {options}")
    sent = json.loads(host.run(sender, f"{HASHES} netcheck tcp-send {target} {port}"
                                       f" {mebibytes << 20} {options}", timeout))
    status, output = host.finish(receiver, tag, timeout)
    assert status == 0, f"tcp-recv in {receiver}: {output}"
    received = json.loads(output)
    assert (sent["bytes"], sent["sha256"]) == (received["bytes"], received["sha256"]), \
        f"sent {sent}, received {received}"
    return sent, received
