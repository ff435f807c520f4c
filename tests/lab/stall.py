"""Guests that take frames slowly, sparingly or not at all, and come back."""

import signal
import time

from control import Network, backend
from lab import scenario, until
from lifecycle import witnesses
from traffic import G1, G2, two_guests

BACK_S = 0.1
BACKLOG = 512


def state(lab, name):
    [vif] = [vif for vif in lab.ask("list")["vifs"] if vif["domain"] == name]
    return vif["state"]


def accounted(lab, sent, name="g2"):
    """Waits until all that was sent to a guest was delivered or dropped by name."""
    until(lambda: lab.count(name, "to_guest_frames", "to_guest_drop_") == sent, f"{sent} frames")


def come_back(lab, receiver):
    """Seconds until the guest gets frames again. They are still being sent."""
    before = lab.count("g2", "to_guest_frames")
    began = time.monotonic()
    receiver.send_signal(signal.SIGCONT)
    until(lambda: lab.count("g2", "to_guest_frames") > before, "frames")
    return time.monotonic() - began


def served_again(lab, receiver, end_of_sender):
    """The guest comes back in time, and all that was sent reached it or was dropped by name: the
    seconds it took."""
    took = come_back(lab, receiver)
    assert took < BACK_S, f"back after {1000 * took:.0f} ms"
    assert state(lab, "g2") == "connected"
    sent = end_of_sender()
    assert sent["faults"] == 0, sent
    accounted(lab, sent["sent"])
    delivered = lab.count("g2", "to_guest_frames")
    found = lab.stop(receiver)
    assert found["received"] == delivered and found["faults"] == 0, (found, delivered)
    return took


@scenario("a guest that stops and comes back has frames within 100 ms, stalled or not; its backlog"
          " is bounded and nobody else notices")
def stopped(lab):
    with witnesses(lab):
        two_guests(lab)
        for words, shown in (((), "connected"), (("--no-rx-notify",), "stalled")):
            receiver = lab.pktgen("g2", *words, "--events", "receive")
            sender = lab.pktgen("g1", "--events", "--seconds", 1.5, "send", "--rate", 5_000,
                                "--to", G2)
            until(lambda: lab.count("g2", "to_guest_frames") > 100, "traffic")
            free = lab.ctl("info")["buffers_free"]
            receiver.send_signal(signal.SIGSTOP)
            reason = "stalled" if words else "backlog_full"
            until(lambda: lab.count("g2", f"to_guest_drop_{reason}_frames") > 0, "drops")
            until(lambda: state(lab, "g2") == shown, f"it is {shown}")
            assert lab.ctl("info")["buffers_free"] >= free - BACKLOG - 256
            took = served_again(lab, receiver, lambda: lab.result(sender))
            lab.note(f"{shown}: back after {1000 * took:.0f} ms")


@scenario("H26: the port's link goes and comes while a guest is stalled: its carrier follows, and"
          " it has frames again within 100 ms")
def link_meanwhile(lab):
    with Network(lab, "net_af_packet0,iface=veth0") as network:
        # The kernel has nothing of its own to say on the wire.
        network.run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
        lab.start_daemon()
        two_guests(lab)
        receiver = lab.pktgen("g2", "--no-rx-notify", "--events", "receive")
        sender = lab.pktgen("g1", "--events", "send", "--rate", 5_000, "--to", G2)
        until(lambda: lab.count("g2", "to_guest_frames") > 100, "traffic")
        until(lambda: backend(lab, "g2", "carrier") in (None, "1"), "the link is up")
        receiver.send_signal(signal.SIGSTOP)
        until(lambda: state(lab, "g2") == "stalled", "it is stalled")
        assert backend(lab, "g2", "carrier") in (None, "1"), "a stall is no matter of the link"
        for link, carrier in (("down", "0"), ("up", "1")):
            network.run("ip", "link", "set", "veth1", link)
            until(lambda: [backend(lab, guest, "carrier") for guest in ("g1", "g2")]
                  == [carrier, carrier], f"carrier {carrier}", 5)
            assert state(lab, "g2") == "stalled"
        served_again(lab, receiver, lambda: lab.stop(sender))


@scenario("a guest with 4 posted buffers, as iPXE's, polling or not, gets what it can take")
def four_buffers(lab):
    two_guests(lab)
    as_ipxe = ("--buffers", 4, "--no-sg", "--no-gso", "--no-rx-notify", "--no-csum-offload",
               "--no-ipv6-csum-offload", "--one-event-channel")
    for mode in ((), ("--events",)):
        echo = lab.pktgen("g2", *as_ipxe, *mode, "echo")
        ping = lab.result(lab.pktgen("g1", "--events", "--count", 300, "ping", "--size", 1514,
                                     "--to", G2))
        assert ping["received"] == 300 and ping["faults"] == 0, ping
        found = lab.stop(echo)
        assert found["received"] == 300 and found["faults"] == 0, found
    receiver = lab.pktgen("g2", *as_ipxe, "--numbered", "receive")
    # Bursts that it takes in two, with time for each: three processes share two CPUs here.
    sent = lab.result(lab.pktgen("g1", "--numbered", "--events", "--count", 1_000, "send",
                                 "--rate", 500, "--burst", 8, "--to", G2))
    assert sent["faults"] == 0, sent
    accounted(lab, 1_000)
    dropped = lab.count("g2", "to_guest_drop_")
    found = lab.stop(receiver)
    lab.note(f"polling, bursts of 8 at 500 frames/s: {found['received']} of 1,000")
    assert found["received"] + dropped == 1_000 and found["faults"] == 0, (found, dropped)
    assert found["received"] > 500, found


@scenario("a guest without feature-rx-notify that posts buffers late has its frames all the same,"
          " without a notification")
def no_rx_notify(lab):
    two_guests(lab)
    receiver = lab.pktgen("g2", "--no-rx-notify", "--buffers", 4, "--events", "receive")
    found = lab.result(lab.pktgen("g1", "--events", "--count", 200, "send", "--rate", 200,
                                  "--burst", 8, "--to", G2))
    assert found["faults"] == 0, found
    accounted(lab, 200)
    dropped = lab.count("g2", "to_guest_drop_")
    found = lab.stop(receiver)
    assert found["received"] == 200 - dropped and found["faults"] == 0, (found, dropped)
    assert dropped < 20, f"{dropped} dropped: it was not seen in 30 ms that there were buffers"


@scenario("H26: frames that want more slots than a guest ever posts: bounded, dropped by name,"
          " stalled, and over when others come")
def too_few_slots(lab):
    with witnesses(lab):
        lab.create("g1", G1)
        lab.create("g2", G2)
        receiver = lab.pktgen("g2", "--buffers", 1, "--no-rx-notify", "--tcp", "--events",
                              "receive")
        before = lab.ctl("info")
        sender = lab.pktgen("g1", "--events", "--seconds", 1, "send", "--size", 8_000, "--gso",
                            1_400, "--rate", 5_000, "--burst", 1, "--to", G2)
        until(lambda: state(lab, "g2") == "stalled", "it is stalled")
        for _ in range(10):
            now = lab.ctl("info")
            assert now["buffers_free"] >= before["buffers_free"] - BACKLOG - 256
            # Each weighs six short ones; as many again may be in the worker's hands.
            most = 2 * (BACKLOG // 6 + 1)
            assert now["large_buffers_free"] >= before["large_buffers_free"] - most
            time.sleep(0.02)
        sent = lab.result(sender)
        assert sent["faults"] == 0, sent
        until(lambda: lab.count("g2", "to_guest_drop_stalled_frames",
                                "to_guest_drop_backlog_full_frames") == sent["sent"], "the drops")
        assert lab.count("g2", "to_guest_frames") == 0
        short = lab.result(lab.pktgen("g1", "--events", "--count", 5, "send", "--rate", 20,
                                      "--burst", 1, "--to", G2))
        assert short["faults"] == 0, short
        until(lambda: lab.count("g2", "to_guest_frames") == 5, "short frames")
        assert state(lab, "g2") == "connected"
        lab.stop(receiver)


@scenario("H36: lock-mac drops a guest's frames with another source, by name; its own pass")
def locked(lab):
    (lab.directory / "config" / "vif.d" / "g2.toml").write_text(
        f'mac = "{G2}"\nlock-mac = true\n')
    two_guests(lab)
    for words, locked_out in ((("--unchanged",), 100), ((), 0)):
        echo = lab.pktgen("g2", "--events", "echo", *words)
        sent = lab.result(lab.pktgen("g1", "--events", "--count", 100, "send", "--rate", 2_000,
                                     "--to", G2))
        assert sent["faults"] == 0, sent
        until(lambda: lab.count("g2", "from_guest_slots") == 100, "the answers")
        assert lab.count("g2", "from_guest_drop_source_address_frames") == locked_out
        assert lab.count("g2", "from_guest_frames") == 100 - locked_out
        found = lab.stop(echo)
        assert found["errors"] == locked_out, found
