"""A vif's mtu: the longest frame from it and to it, and what it may not be."""

from lab import LabError, scenario, until
from traffic import G1, G2, NOBODY

COUNT = 50


@scenario("mtu: xenstore's and the file's are the limit of a vif both ways, of GSO's segments too;"
          " more than the port's is refused")
def limits(lab):
    (lab.directory / "config" / "vif.d" / "g2.toml").write_text(f'mac = "{G2}"\nmtu = 1300\n')
    lab.create("g1")
    lab.add_vif("g1", G1, mtu=1400)
    lab.create("g2", G2)
    shown = [lab.ctl("show", vif)["settings"]["mtu"] for vif in ("g1.0", "g2.0")]
    assert shown == [{"value": 1400, "from": "xenstore"}, {"value": 1300, "from": "vif file"}]
    receiver = lab.pktgen("g2", "--events", "receive")

    def send(*words, to=G2):
        sent = lab.result(lab.pktgen("g1", "--events", "--count", COUNT, "send", "--rate", 5_000,
                                     "--burst", 1, "--to", to, *words))
        assert sent["unanswered"] == sent["bad_answers"] == 0, sent
        return sent["errors"]
    # Of g2's limit: answered, and dropped on the way to it.
    assert send("--size", 1314) == send("--size", 1315) == send("--size", 1414) == 0
    until(lambda: lab.count("g2", "to_guest_frames") == COUNT, "the short ones")
    assert lab.count("g2", "to_guest_drop_too_long_frames") == 2 * COUNT
    # Of its own: refused. Segments carry 54 bytes of headers.
    for words, errors in ((("--size", 1415), COUNT), (("--size", 4_000, "--gso", 1360), 0),
                          (("--size", 4_000, "--gso", 1361), COUNT)):
        assert send(*words, to=NOBODY) == errors, words
    assert lab.count("g2", "to_guest_drop_") == 2 * COUNT
    lab.stop(receiver)
    lab.create("g3")
    try:
        lab.add_vif("g3", "00:16:3e:00:00:03", mtu=1501)
    except LabError as refusal:
        lab.note(str(refusal))
    until(lambda: "refused" in {vif["state"] for vif in lab.ask("list")["vifs"]}, "the refusal")
    [why] = [vif["error"] for vif in lab.ask("list")["vifs"] if vif["domain"] == "g3"]
    assert why.startswith("mtu 1501 (xenstore) is more than port 'null' takes: 1500"), why
