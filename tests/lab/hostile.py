"""What a hostile guest may put into its rings (protocol.md 3.3), row by row: how each slot is
answered, what is counted, what becomes of the vif."""

import json
import signal

from control import backend
from lab import CONFIG, scenario
from traffic import BIG_CONFIG, G1

OKAY, ERROR, NULL = 0, -1, 1
BLANK, MORE, EXTRA = 1, 4, 8
NOBODY = 4_000_000  # a reference that no guest here has


def chain(slots, each=1, first=60):
    """A frame of so many slots, `first` bytes together."""
    return [f"{first}:{MORE}"] + [f"{each}:{MORE}"] * (slots - 2) + [f"{each}"]


def put(lab, words):
    """Has g1 put slots: what it says, and its process, which is still connected."""
    guest = lab.pktgen("g1", "slots", *words)
    return json.loads(guest.stdout.readline()), guest


def end(guest):
    guest.send_signal(signal.SIGTERM)
    assert guest.wait(10) == 0, guest.stderr.read()


def tolerated(lab, words, statuses, counter=None):
    """Each slot is answered once, in order, so; the vif stays; the frame is dropped by name."""
    said, guest = put(lab, words)
    ids = [-1 if word.startswith("x") else number for number, word in enumerate(words)]
    wanted = [[max(0, number), NULL if number < 0 else status]
              for number, status in zip(ids, statuses)]
    assert said["answers"] == wanted, (words, said)
    assert said["served"] and not said["faults"], (words, said)
    drops = {key: value for vif in lab.ask("stats")["vifs"] for key, value in vif.items()
             if key.startswith("from_guest_drop_") and value}
    assert drops == ({f"from_guest_drop_{counter}_frames": 1} if counter else {}), (words, drops)
    assert lab.ctl("show", "g1.0")["state"] == "connected"
    assert "quarantine" not in lab.log(), lab.log()
    end(guest)


def quarantined(lab, words, why, before=(OKAY,)):
    """What was whole before it is answered; then the vif is closed, says why, and comes again."""
    said, guest = put(lab, ["60"] * len(before) + list(words))
    assert said["answers"] == [[number, status] for number, status in enumerate(before)], \
        (words, said)
    assert not said["served"] and not said["faults"], (words, said)
    vif = lab.ctl("show", "g1.0")
    assert vif["state"] == "quarantined" and why in vif["error"], (words, vif)
    assert backend(lab, "g1", "error") == vif["error"], vif
    end(guest)
    lab.ctl("rearm", "g1.0")


def each(lab, cases, check):
    lab.create("g1", G1)
    for case in cases:
        check(lab, *case)
    honest = lab.result(lab.pktgen("g1", "--count", "100", "send"))
    assert honest["answered"] == 100 and honest["faults"] == 0, honest
    lab.note(f"{len(cases)} cases")


@scenario("hostile_h01_h02_an_index_that_cannot_be_quarantines_and_nothing_is_read")
def impossible_indices(lab):
    text = "claims more requests than the ring holds"
    each(lab, [(["/", f"+{more}"], text) for more in (257, 1 << 31, (1 << 32) - 1)], quarantined)


@scenario("hostile_h05_h06_extra_info_that_is_missing_wrong_or_without_end_quarantines")
def extra_info(lab):
    first = f"60:{EXTRA}"
    each(lab, [([first], "announces extra info that does not follow"),
               *(([first, f"x{kind}"], "extra info of an invalid type")
                 for kind in (0, 5, 6, 255)),
               ([first, "x4:1", "x5"], "extra info of an invalid type"),
               ([first] + ["x4:1"] * 254, "endless extra info")], quarantined)


@scenario("hostile_h07_segmentation_of_size_0_or_an_unknown_type_quarantines")
def bad_gso(lab):
    text = "segmentation of size 0 or of an unknown type"
    each(lab, [([f"60:{EXTRA}", f"x1:0:{size}:{kind}"], text)
               for size, kind in ((0, 1), (0, 2), (100, 0), (100, 3), (100, 255))], quarantined)


@scenario("hostile_h07_segmentation_of_what_is_no_TCP_is_dropped_by_name_and_answered")
def gso_of_nothing(lab):
    each(lab, [([f"1000:{EXTRA | BLANK}", "x1:0:100:1"], [ERROR, NULL], "bad_headers"),
               ([f"1000:{EXTRA}", "x1:0:100:2"], [ERROR, NULL], "bad_headers")], tolerated)


@scenario("hostile_h08_a_frame_that_goes_on_behind_the_last_request_quarantines")
def unfinished(lab):
    text = "a frame that goes on beyond the last request"
    each(lab, [([f"200:{MORE}"] + [f"1:{MORE}"] * further, text) for further in (0, 1, 18)],
         quarantined)


@scenario("hostile_h09_18_and_19_slots_pass_20_and_21_are_errors")
def slot_counts(lab):
    each(lab, [(chain(count), [OKAY] * count) for count in (18, 19)] +
         [(chain(count), [ERROR] * count, "too_many_slots") for count in (20, 21)], tolerated)


@scenario("hostile_h09_22_slots_and_more_quarantine")
def too_many_slots(lab):
    each(lab, [(chain(count, first=300), "a frame of more than 21 slots")
               for count in (22, 23, 100, 255)], quarantined)


@scenario("hostile_h10_h13_sizes_of_later_slots_more_than_the_frame_all_of_it_or_nothing")
def later_sizes(lab):
    each(lab, [([f"60:{MORE}", "61"], [ERROR] * 2, "size_mismatch"),
               ([f"60:{MORE}", f"40:{MORE}", "40"], [ERROR] * 3, "size_mismatch"),
               ([f"60:{MORE}", "60"], [ERROR] * 2, "bad_size"),
               ([f"60:{MORE}", "0"], [OKAY] * 2),
               ([f"60:{MORE}"] + [f"0:{MORE}:0:{NOBODY}"] * 16 + ["0"], [OKAY] * 18),
               ([f"0:{MORE}"] + [f"0:{MORE}"] * 16 + ["0"], [ERROR] * 18, "bad_size")], tolerated)


@scenario("hostile_h11_a_slot_that_reaches_beyond_its_page_quarantines")
def crosses_page(lab):
    text = "a slot that reaches beyond its page"
    each(lab, [([slot], text) for slot in ("60:0:4037", "14:0:4083", "60:0:4095", "60:0:65535",
                                           "65535", "65535:0:65535", "4097")] +
         [([f"60:{MORE}", slot], text) for slot in ("2:0:4095", "1:0:65535", "4097:0:0")],
         quarantined)


@scenario("hostile_h12_h14_a_first_fragment_shorter_than_a_header_and_many_slots_of_few_bytes")
def short_frames(lab):
    each(lab, [([f"{size}"], [ERROR], "bad_size") for size in range(14)] + [(["14"], [OKAY])] +
         [(["2:0:4095"], [ERROR], "bad_size")] +
         [(chain(18, first=size), [OKAY] * 18) for size in (31, 63, 64, 65, 127, 128, 129)] +
         [(chain(18, first=30), [ERROR] * 18, "bad_size")], tolerated)


@scenario("hostile_h16_a_reference_that_is_reserved_or_not_granted_is_an_error_of_its_frame_alone")
def bad_references(lab):
    each(lab, [([f"60:0:0:{NOBODY}"], [ERROR], "copy_failed"),
               (["60:0:0:0"], [ERROR], "bad_reference"),
               (["60:0:0:7"], [ERROR], "bad_reference"),
               ([f"60:{MORE}", f"10:{MORE}:0:{NOBODY}", "10"], [ERROR] * 3, "copy_failed"),
               ([f"60:{MORE}:0:{NOBODY}", f"10:{MORE}", "10"], [ERROR] * 3, "copy_failed"),
               (["60", f"60:0:0:{NOBODY}", "60"], [OKAY, ERROR, OKAY], "copy_failed"),
               ([f"60:{MORE}", "10:0:0:7"], [ERROR] * 2, "bad_reference")], tolerated)


@scenario("hostile_h19_copies_of_no_bytes_of_a_page_and_up_to_its_end_pass", daemon=False)
def page_ends(lab):
    lab.configure(BIG_CONFIG)
    lab.start_daemon()
    each(lab, [(["4096"], [OKAY]), (["2048:0:2048"], [OKAY]), (["14:0:4082"], [OKAY]),
               ([f"8192:{MORE}", "4096"], [OKAY] * 2),
               ([f"4097:{MORE}", "1:0:4095"], [OKAY] * 2),
               ([f"4096:{MORE}", "0:0:4096"], [OKAY] * 2)], tolerated)


@scenario("hostile_h34_frames_longer_than_the_vif_s_mtu_are_dropped_by_name")
def long_frames(lab):
    each(lab, [(["1514"], [OKAY]), (["1515"], [ERROR], "too_long"),
               (["1518"], [ERROR], "too_long"), (["1519"], [ERROR], "too_long"),
               ([f"65535:{MORE}"] + [f"4096:{MORE}"] * 14 + ["4096"], [ERROR] * 16, "too_long"),
               ([f"60:{BLANK}"], [ERROR], "bad_headers")], tolerated)


@scenario("hostile_h37_answers_have_no_bytes_of_ours_in_them")
def answers_are_clean(lab):
    """Padding of extra info's answer: its id is 0 (tolerated() looks)."""
    each(lab, [([f"60:{EXTRA}", "x4"], [OKAY, NULL]),
               ([f"60:{EXTRA}", "x4:1", "x4"], [OKAY, NULL, NULL]),
               ([f"60:{EXTRA}", "x3"], [OKAY, NULL])], tolerated)


@scenario("hostile_h39_h42_quarantines_one_after_the_other_wait_longer_and_end_by_themselves")
def comes_back(lab):
    lab.create("g1", G1)
    waits = []
    for _ in range(3):
        _, guest = put(lab, [f"200:{MORE}"])
        end(guest)
        waits.append(lab.ctl("show", "g1.0")["rearm_ms"])
        if len(waits) == 1:  # the first one is waited for: no toolstack has a part in it
            sent = lab.result(lab.pktgen("g1", "--count", "100", "send"))
            assert sent["answered"] == 100, sent
        else:
            lab.ctl("rearm", "g1.0")
    assert 0 <= waits[0] <= 1000 < waits[1] <= 2000 < waits[2] <= 4000, waits


assert "mtu" not in CONFIG, "H34 is of the usual mtu"
