"""bench/pktgen's script for the guest, as a user runs it."""

import pathlib
import re
import time

from scenarios.lab import scenario

SCRIPT = pathlib.Path(__file__).resolve().parents[3] / "bench" / "pktgen" / "guest-pktgen.sh"
OUTSIDE = "02:00:00:00:00:01"
SECONDS = 3


def sent_and_taken(lab):
    """What the guest's interface sent, what of it we took, and what we dropped; but for what the
    port had no room for, as dom0's one CPU serves both of its ends."""
    vif = lab.vif(1)
    sent = int(lab.host.run("g1", "cat /sys/class/net/eth0/statistics/tx_packets"))
    drops = {key: value for key, value in vif.items()
             if key.startswith("from_guest_drop_") and key != "from_guest_drop_port_full_frames"}
    return sent, vif["from_guest_frames"], sum(drops.values())


@scenario("guest-pktgen.sh: our counters agree with the guest's")
def counters_agree(lab):
    lab.host.run("g1", f"cat >/tmp/guest-pktgen.sh <<'END'\n{SCRIPT.read_text()}END\n"
                       "chmod 755 /tmp/guest-pktgen.sh")
    for words, status, reason in (
            (f"--to {OUTSIDE} eth7", 1, "guest-pktgen: there is no interface eth7"),
            (f"--to {OUTSIDE} --threads 2 eth0", 1, "guest-pktgen: eth0 has 1 queues"),
            ("eth0", 2, "guest-pktgen: --to needs")):
        got, output = lab.host.run_any("g1", f"/tmp/guest-pktgen.sh {words}")
        assert got == status and output.startswith(reason), (words, got, output)
    events = "ls -d /proc/irq/*/vif0-q0-[tr]x | wc -l"
    assert lab.host.run("g1", events).strip() == "2", "guests name queue events otherwise now"
    for words in ("", "--size 1514 --flows 8", "--clone 100 --rate 5000"):
        sent_before, taken_before, drops_before = sent_and_taken(lab)
        output = lab.host.run("g1", f"/tmp/guest-pktgen.sh --to {OUTSIDE} --seconds {SECONDS}"
                                    f" {words} eth0", 60)
        time.sleep(0.5)  # what was in the ring is taken
        sent, taken, drops = sent_and_taken(lab)
        frames = int(re.search(r"^ *all +(\d+) +0 ", output, re.M)[1])
        counted = int(re.search(r"eth0 counted (\d+) frames sent", output)[1])
        lab.note(f"{words or '60 bytes'}: {frames / SECONDS:,.0f} frames/s")
        assert frames > 1000 and counted >= frames and "stays where" not in output, output
        assert sent - sent_before == taken - taken_before >= counted, (sent, taken, output)
        assert drops == drops_before, f"{drops - drops_before} dropped"
