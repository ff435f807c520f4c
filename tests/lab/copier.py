#!/usr/bin/env python3
"""Grant copies by themselves, through libxengnttab:
    copier.py share DOMID              shares a page with DOMID, prints its reference; each line of
                                       input is a byte to fill it with
    copier.py copy DOMID REF SEGMENTS CALLS ROUNDS
                                       ns of each round of so many calls of so many segments
    copier.py notify PORTS_OF CALLS ROUNDS
                                       the same with notifications of a port for domain PORTS_OF
    copier.py churn PAGES ROUNDS       shares so many pages, writes to each and gives them back, so
                                       often; an error when new ones are not zero
    copier.py hold DOMID REF           a copy of the page; prints its first byte for each line of
                                       input, and the page's of the same moment"""

import ctypes
import json
import sys
import time

PAGE = 4096
SOURCE_IS_GRANT = 1


class Foreign(ctypes.Structure):
    _fields_ = [("ref", ctypes.c_uint32), ("offset", ctypes.c_uint16), ("domid", ctypes.c_uint16)]


class Place(ctypes.Union):
    _fields_ = [("virt", ctypes.c_void_p), ("foreign", Foreign)]


class Segment(ctypes.Structure):
    _fields_ = [("source", Place), ("dest", Place), ("len", ctypes.c_uint16),
                ("flags", ctypes.c_uint16), ("status", ctypes.c_int16)]


def library(name):
    """Those of its functions that are there already, preloaded, come first."""
    ctypes.CDLL(f"lib{name}.so.1", ctypes.RTLD_GLOBAL)
    functions = ctypes.CDLL(None)
    for opener in ("xengnttab_open", "xengntshr_open", "xenevtchn_open", "xengntshr_share_pages"):
        getattr(functions, opener, functions.malloc).restype = ctypes.c_void_p
    return functions


def share(domid):
    lib = library("xengnttab")
    ref = ctypes.c_uint32()
    page = lib.xengntshr_share_pages(ctypes.c_void_p(lib.xengntshr_open(None, 0)), int(domid), 1,
                                     ctypes.byref(ref), 1)
    print(ref.value, flush=True)
    for line in sys.stdin:
        ctypes.memset(page, int(line), PAGE)
        print("filled", flush=True)


def churn(pages, rounds):
    lib = library("xengnttab")
    handle, count = ctypes.c_void_p(lib.xengntshr_open(None, 0)), int(pages)
    refs, zeros = (ctypes.c_uint32 * count)(), bytes(count * PAGE)
    for number in range(int(rounds)):
        shared = lib.xengntshr_share_pages(handle, 0, count, refs, 1)
        assert shared, f"round {number}: nothing left to share"
        assert ctypes.string_at(shared, len(zeros)) == zeros, f"round {number}: not zero"
        for page in range(count):
            ctypes.memset(shared + page * PAGE + number % PAGE, 255, 1)
        lib.xengntshr_unshare(handle, ctypes.c_void_p(shared), count)


def plan(domid, ref, count, local):
    """Copies of the page's parts into our memory."""
    segments = (Segment * count)()
    for number, segment in enumerate(segments):
        segment.source.foreign = Foreign(ref, 64 * number % PAGE, domid)
        segment.dest.virt = ctypes.addressof(local) + 64 * number % PAGE
        segment.len, segment.flags = 64, SOURCE_IS_GRANT
    return segments


def page_of_memory():
    room = ctypes.create_string_buffer(2 * PAGE)
    start = ctypes.addressof(room)
    return (ctypes.c_char * PAGE).from_buffer(room, -start % PAGE)


def timed(rounds, calls, call):
    took = []
    for _ in range(int(rounds)):
        began = time.perf_counter_ns()
        for _ in range(int(calls)):
            call()
        took.append(time.perf_counter_ns() - began)
    print(json.dumps(took))


def copy(domid, ref, count, calls, rounds):
    lib = library("xengnttab")
    handle = ctypes.c_void_p(lib.xengnttab_open(None, 0))
    segments = plan(int(domid), int(ref), int(count), page_of_memory())
    timed(rounds, calls, lambda: lib.xengnttab_grant_copy(handle, int(count), segments))
    assert all(segment.status == 0 for segment in segments)


def notify(domid, calls, rounds):
    lib = library("xenevtchn")
    handle = ctypes.c_void_p(lib.xenevtchn_open(None, 0))
    there = lib.xenevtchn_bind_unbound_port(handle, int(domid))
    here = lib.xenevtchn_bind_interdomain(handle, int(domid), there)
    assert here > 0
    timed(rounds, calls, lambda: lib.xenevtchn_notify(handle, here))


def hold(domid, ref):
    lib = library("xengnttab")
    handle = ctypes.c_void_p(lib.xengnttab_open(None, 0))
    ours, now = page_of_memory(), page_of_memory()
    assert lib.xengnttab_grant_copy(handle, 1, plan(int(domid), int(ref), 1, ours)) == 0
    print("held", flush=True)
    for _ in sys.stdin:
        assert lib.xengnttab_grant_copy(handle, 1, plan(int(domid), int(ref), 1, now)) == 0
        print(ours[0][0], now[0][0], flush=True)


{"share": share, "churn": churn, "copy": copy, "notify": notify,
 "hold": hold}[sys.argv[1]](*sys.argv[2:])
