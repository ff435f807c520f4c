#!/usr/bin/env python3
"""A network frontend without much behind it, for what no good one does: frontend.py do:JSON, in a
domain. Its orders are a list of [verb, ...]; it prints a JSON object: "seen", the backend's states
in the order in which it saw them, "statuses" of the frames that it sent, "error".

    ["write", KEY, VALUE]    into its directory
    ["await", STATE..]       until the backend is in one of those, 10 s at most
    ["rings", {KEY: VALUE}]  makes rings and channels, and writes their keys; null: leaves one out;
                             {"for": DOMAIN}: a ring or channel that is for another domain
    ["claim", N]             its from_guest ring has so many requests more
    ["send"]                 a frame, and waits for its answer
    ["prepare"] ["connect"] ["close"]   the Windows frontend's three loops"""

import ctypes
import json
import sys
import time

PAGE, PATIENCE_S = 4096, 10
DIRECTORY = "device/vif/0"
INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED = range(1, 7)


def libraries():
    """Functions of Xen's libraries: those that are there already, preloaded, come first."""
    for name in ("xengnttab.so.1", "xenevtchn.so.1", "xenstore.so.4"):
        ctypes.CDLL(f"lib{name}", ctypes.RTLD_GLOBAL)
    functions = ctypes.CDLL(None)
    for maker in ("xengntshr_open", "xenevtchn_open", "xengntshr_share_pages", "xs_open",
                  "xs_read"):
        getattr(functions, maker).restype = ctypes.c_void_p
    return functions


class Frontend:
    """One vif, from its own domain."""

    def __init__(self):
        self.lib = libraries()
        self.store = ctypes.c_void_p(self.lib.xs_open(0))
        self.sharing = ctypes.c_void_p(self.lib.xengntshr_open(None, 0))
        self.events = ctypes.c_void_p(self.lib.xenevtchn_open(None, 0))
        self.backend = self.read(f"{DIRECTORY}/backend")
        self.backend_id = int(self.read(f"{DIRECTORY}/backend-id"))
        self.seen, self.statuses, self.pages, self.put = [], [], {}, 0

    def read(self, path):
        length = ctypes.c_uint()
        got = self.lib.xs_read(self.store, 0, path.encode(), ctypes.byref(length))
        if not got:
            return None
        text = ctypes.string_at(got, length.value).decode()
        self.lib.free(ctypes.c_void_p(got))
        return text

    def write(self, key, value):
        value = str(value).encode()
        assert self.lib.xs_write(self.store, 0, f"{DIRECTORY}/{key}".encode(), value, len(value))

    def state(self):
        """The backend's, noted when it is another than before."""
        state = int(self.read(f"{self.backend}/state") or 0)
        if self.seen[-1:] != [state]:
            self.seen.append(state)
        return state

    def loop(self, reaction, ends):
        """A Windows loop: reacts to the backend's state, busily, until it is as it shall be."""
        until = time.monotonic() + PATIENCE_S
        while (state := self.state()) not in ends:
            assert time.monotonic() < until, f"stuck: backend's states {self.seen}"
            if state in reaction:
                self.write("state", reaction[state])

    def await_(self, *states):
        self.loop({}, states)

    def prepare(self):
        self.loop({CONNECTED: CLOSING, CLOSING: CLOSED, CLOSED: INITIALISING}, (INIT_WAIT,))

    def connect(self):
        self.loop({INIT_WAIT: CONNECTED, INITIALISED: CONNECTED, CLOSING: CLOSED}, (CONNECTED,))

    def close(self):
        self.loop({CONNECTED: CLOSING, INIT_WAIT: CLOSING, CLOSING: CLOSED}, (CLOSED,))

    def share(self, writable, domain=None):
        reference = ctypes.c_uint32()
        domain = self.backend_id if domain is None else domain
        page = self.lib.xengntshr_share_pages(self.sharing, domain, 1, ctypes.byref(reference),
                                              writable)
        assert page, "cannot share a page"
        return page, reference.value

    def for_another(self, key, domain):
        if "ring-ref" in key:
            return self.share(1, domain)[1]
        return self.lib.xenevtchn_bind_unbound_port(self.events, domain)

    def rings(self, different):
        keys = {"request-rx-copy": 1, "multi-queue-num-queues": 1, "feature-sg": 1,
                "feature-rx-notify": 1}
        for name in ("tx", "rx"):
            page, reference = self.share(1)
            words = (ctypes.c_uint32 * (PAGE // 4)).from_address(page)
            words[0:4] = [0, 1, 0, 1]
            port = self.lib.xenevtchn_bind_unbound_port(self.events, self.backend_id)
            assert port > 0
            self.pages[name] = (page, words, port)
            keys[f"{name}-ring-ref"], keys[f"event-channel-{name}"] = reference, port
        self.put = 0
        for key, value in {**keys, **different}.items():
            if isinstance(value, dict):
                value = self.for_another(key, value["for"])
            if value is not None:
                self.write(key, value)

    def claim(self, count):
        self.pages["tx"][1][0] = (self.pages["tx"][1][0] + count) % 2**32

    def send(self):
        """To the port: no vif has the address that is all zero."""
        _, reference = self.share(0)
        page, words, port = self.pages["tx"]
        slot = page + 64 + 12 * (self.put % 256)
        ctypes.memmove(slot, (ctypes.c_uint32 * 3)(reference, 0, self.put | 60 << 16), 12)
        self.put += 1
        words[0] = self.put
        self.lib.xenevtchn_notify(self.events, port)
        until = time.monotonic() + PATIENCE_S
        while words[2] != self.put:
            assert time.monotonic() < until, "no answer"
        self.statuses.append(ctypes.c_int16.from_address(slot + 2).value)


def main():
    frontend = Frontend()
    print("connected", file=sys.stderr, flush=True)
    for verb, *words in json.loads(sys.argv[1].removeprefix("do:")):
        getattr(frontend, {"await": "await_"}.get(verb, verb))(*words)
    print(json.dumps({"seen": frontend.seen, "statuses": frontend.statuses,
                      "error": frontend.read(f"{frontend.backend}/error")}), flush=True)


main()
