"""Sends frames into an interface until SIGTERM: wire.py INTERFACE FRAMES-PER-SECOND MAC.."""

import signal
import socket
import sys
import time

SOURCE = "00:16:3e:00:01:00"
PAUSE_S = 0.001


def octets(mac):
    return bytes.fromhex(mac.replace(":", ""))


def main():
    interface, rate, *targets = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    frames = [octets(mac) + octets(SOURCE) + b"\x88\xb5" + bytes(46) for mac in targets]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        sent, start = 0, time.monotonic()
        while True:
            due = int((time.monotonic() - start) * int(rate))
            for number in range(sent, due):
                wire.send(frames[number % len(frames)])
            sent = max(sent, due)
            time.sleep(PAUSE_S)


main()
