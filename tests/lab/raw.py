#!/usr/bin/env python3
"""Sends frames on an interface as they are: raw.py INTERFACE <FILE, a frame in hex a line. Some
each millisecond, so that whoever is at the other end keeps up."""

import socket
import sys
import time

AT_ONCE = 10

wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
for number, line in enumerate(sys.stdin):
    wire.send(bytes.fromhex(line))
    if number % AT_ONCE == AT_ONCE - 1:
        time.sleep(0.001)
