"""Guests that have their frames hashed: what comes with each frame, and what may be set."""

from lab import scenario, until
from queues import by_queue
from traffic import G1, G2, two_guests

TOEPLITZ, ALL_TYPES = 1, 15
GET_TYPES, SET_TYPES, SET_KEY, GET_SIZE, SET_SIZE, SET_MAPPING, SET_ALGORITHM = range(1, 8)
SUCCESS, NOT_SUPPORTED, INVALID, OVERFLOW = range(4)
FRAMES = 200


def receive(lab, types, *options):
    return lab.pktgen("g2", "--events", "--hash", types, *options, "receive")


def send(lab, *options):
    """UDP over IPv4, of several flows."""
    sent = lab.result(lab.pktgen("g1", "--events", "--count", FRAMES, "send", "--flows", "50",
                                 "--rate", "10000", "--to", G2, *options))
    assert sent["answered"] > 0 and sent["faults"] == 0, sent


def send_tcp(lab, size, *options):
    """TCP that stands for several frames."""
    sent = lab.result(lab.pktgen("g1", "--events", "--count", FRAMES, "send", "--size", size,
                                 "--gso", "1400", "--burst", "1", "--rate", "1000", "--to", G2,
                                 *options))
    assert sent["answered"] > 0 and sent["faults"] == 0, sent


def check(lab, receiver, frames, hashed):
    until(lambda: lab.count("g2", "to_guest_frames") == frames, "delivery")
    assert lab.count("g2", "to_guest_hashed_frames") == hashed, lab.ask("stats", vif="g2.0")
    found = lab.stop(receiver)
    assert found["received"] == frames and found["hashed"] == hashed, found
    assert found["bad_hashes"] == found["faults"] == 0, found


@scenario("hashes of frames are those that the guest computes, for each choice of types")
def types(lab):
    two_guests(lab)
    for chosen in (ALL_TYPES, 1, 2, 4, 8, 5):
        receiver = receive(lab, chosen)
        names = lab.ctl("show", "g2.0")["connection"]["hash_types"]
        assert names == [name for bit, name in enumerate(("ipv4", "ipv4-tcp", "ipv6", "ipv6-tcp"))
                         if chosen >> bit & 1], names
        send(lab)
        send_tcp(lab, 3000)
        send_tcp(lab, 3000, "--ipv6")
        hashed = sum(FRAMES for wanted in (1, 3, 12) if chosen & wanted)
        check(lab, receiver, 3 * FRAMES, hashed)


@scenario("hashes by another key, to a guest that takes no large frames, with pages that stay"
          " mapped")
def other_key(lab):
    two_guests(lab)
    for options in (("--hash-key", "00ff" * 20), ("--hash-key", "8001"), ("--staging",)):
        receiver = receive(lab, ALL_TYPES, *options)
        send(lab)
        send_tcp(lab, 5000)
        check(lab, receiver, 2 * FRAMES, 2 * FRAMES)
    receiver = receive(lab, ALL_TYPES, "--no-gso")
    send_tcp(lab, 54 + 2800)  # two segments each
    check(lab, receiver, 2 * FRAMES, 2 * FRAMES)


@scenario("a hash that a guest sends is taken with its frame, the receiver has its own")
def from_guest(lab):
    two_guests(lab)
    receiver = receive(lab, ALL_TYPES)
    sender = lab.pktgen("g1", "--events", "--count", FRAMES, "both", "--linger", "--rate", "10000",
                        "--to", G2, "--send-hash", "305419896")
    until(lambda: lab.count("g1", "from_guest_hashed_frames") == FRAMES, "all sent")
    check(lab, receiver, FRAMES, FRAMES)
    sent = lab.stop(sender)
    assert sent["answered"] == 2 * FRAMES and sent["faults"] == 0, sent


@scenario("hashes go on after a restart, as the guest had set them")
def restart(lab):
    two_guests(lab)
    receiver = receive(lab, ALL_TYPES)
    lab.drain_daemon()
    lab.start_daemon()
    until(lambda: lab.connected() == {"g2"}, "attached again")
    send(lab)
    check(lab, receiver, FRAMES, FRAMES)
    assert not list(lab.directory.glob("hashing-*"))


@scenario("a guest says by which queue each hash comes to it")
def mapping(lab):
    two_guests(lab)
    for queues, mapped, used in ((4, "2", {2}), (4, "3,0", {0, 3}), (2, "1,1,1", {1}),
                                 (3, "", {0, 1, 2})):
        chosen = ("--hash-mapping", mapped) if mapped else ()
        receiver = receive(lab, ALL_TYPES, "--queues", queues, *chosen)
        send(lab)
        send_tcp(lab, 3000)
        until(lambda: lab.count("g2", "to_guest_frames") == 2 * FRAMES, "delivery")
        counted = by_queue(lab, "g2", "to_guest_frames")
        # One stream of TCP, and of UDP, whose ports are not in its hash: two hashes at most.
        assert {number for number, frames in enumerate(counted) if frames} <= used, counted
        found = lab.stop(receiver)
        assert found["hashed"] == 2 * FRAMES and found["faults"] == 0, found


@scenario("hostile_h20_every_error_of_hashing_on_the_control_ring_in_a_lab")
def errors(lab):
    lab.create("g1", G1)
    asked = [  # request, status, data
        ((GET_TYPES, 0, 0, 0), NOT_SUPPORTED, 0),
        ((SET_TYPES, 1, 0, 0), INVALID, 0),
        ((SET_ALGORITHM, 2, 0, 0), INVALID, 0),
        ((SET_ALGORITHM, TOEPLITZ, 0, 0), SUCCESS, 0),
        ((GET_TYPES, 0, 0, 0), SUCCESS, ALL_TYPES),
        ((SET_TYPES, 16, 0, 0), INVALID, 0),
        ((SET_TYPES, 5, 0, 0), SUCCESS, 0),
        ((SET_KEY, "page", 40, 0), SUCCESS, 0),
        ((SET_KEY, "page", 41, 0), INVALID, 0),
        ((SET_KEY, 60_000, 40, 0), INVALID, 0),
        ((SET_KEY, 7, 40, 0), INVALID, 0),
        ((SET_KEY, 0, 0, 0), SUCCESS, 0),
        ((GET_SIZE, 0, 0, 0), SUCCESS, 128),
        ((SET_SIZE, 129, 0, 0), INVALID, 0),
        ((SET_MAPPING, "page", 1, 0), INVALID, 0),  # there is none yet
        ((SET_SIZE, 128, 0, 0), SUCCESS, 0),
        ((SET_MAPPING, "page", 128, 0), INVALID, 0),  # its second entry is no queue
        ((SET_MAPPING, "page", 1, 127), SUCCESS, 0),
        ((SET_MAPPING, "page", 2, 0xffff_ffff), INVALID, 0),
        ((SET_MAPPING, "page", 1, 128), INVALID, 0),
        ((SET_MAPPING, "page", 129, 0), OVERFLOW, 0),
        ((SET_MAPPING, 60_000, 1, 0), INVALID, 0),
        ((0, 0, 0, 0), NOT_SUPPORTED, 0), ((11, 0, 0, 0), NOT_SUPPORTED, 0),
        ((65_535, 0, 0, 0), NOT_SUPPORTED, 0),
        ((SET_SIZE, 100, 0, 0), SUCCESS, 0)]
    guest = lab.pktgen("g1", "ask", "--hold", "--page", "00000000" "01000000" * 3,
                       *[",".join(map(str, request)) for request, *_ in asked])
    until(lambda: lab.ctl("show", "g1.0")["connection"]["hash_mapping_entries"] == 100, "all asked")
    shown = lab.ctl("show", "g1.0")["connection"]
    assert shown["hash_types"] == ["ipv4", "ipv6"], shown
    answers = lab.stop(guest)["answers"]
    assert len(answers) == len(asked), answers
    for (request, *expected), found in zip(asked, answers):
        assert found == expected, (request, expected, found)
