"""Many vifs at once. bench/compare lab has the figures with a thousand."""

import time

from crowd import Crowd, jain
from lab import scenario, until

IDLE, BUSY, BROADCASTS = 200, 16, 10
ELSEWHERE = "00:16:3e:ff:ff:ff"


@scenario(f"{IDLE} vifs connect, {BUSY} others send equal shares, the daemon restarts below all")
def many_vifs(lab):
    lab.create("busy")
    lab.tool("vif", "add", "busy", "--count", BUSY, "mac=00:16:3e:02:00:00")
    held = lab.daemon_holds()
    started = time.monotonic()
    crowd = Crowd(lab, IDLE)
    crowd.connect()
    lab.note(f"{IDLE} vifs made and connected in {time.monotonic() - started:.1f} s; a vif takes "
             f"{(lab.daemon_holds()['rss'] - held['rss']) / IDLE:.0f} KiB of the daemon")

    sent = lab.result(lab.pktgen("busy", "--vifs", BUSY, "--seconds", "2",
                                 "--warm-up", "1", "send", "--to", ELSEWHERE))
    assert sent["faults"] == 0 and sent["answered"] == sent["sent"] == lab.port_frames(), sent
    assert 0 < sent["steady_answered"] < sent["answered"], sent
    assert abs(sent["seconds"] - 1 - sent["steady_seconds"]) < 0.1, sent
    shares = [vif["steady_answered"] for vif in sent["vifs"]]
    assert sum(shares) == sent["steady_answered"], sent
    assert jain(shares) >= 0.98, shares
    lab.note(f"{BUSY} vifs: {sent['sent_per_s']:,.0f} frames/s, Jain's index {jain(shares):.4f}")

    lab.drain_daemon()
    started = time.monotonic()
    lab.start_daemon()
    until(lambda: lab.ctl("info")["vifs_connected"] == IDLE, "all attached again")
    lab.note(f"restarted, all attached again in {time.monotonic() - started:.1f} s")

    sent = lab.result(lab.pktgen("busy", "--count", BROADCASTS, "send", "--rate", "100"))
    assert sent["answered"] == BROADCASTS and sent["faults"] == 0, sent
    until(lambda: lab.count_all("to_guest_frames") == IDLE * BROADCASTS, "a broadcast to everyone")
    found = crowd.disconnect()
    assert sum(each["received"] for each in found) == IDLE * BROADCASTS, found
    assert all(each["faults"] == 0 for each in found), found
    crowd.destroy()
    until(lambda: len(lab.ctl("list")["vifs"]) == BUSY, "the vifs are gone")
    left = lab.daemon_holds()
    assert left["fds"] <= held["fds"] and left["mapped"] <= held["mapped"], f"{held}, {left}"
