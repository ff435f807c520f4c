#!/usr/bin/env python3
"""Transfers between network stacks, each result one line of JSON:
    stream.py tcp-send HOST PORT BYTES SEED [BYTES_PER_S]
    stream.py tcp-receive PORT                     one connection, until its end
    stream.py udp-echo PORT                        answers until it is killed
    stream.py udp-check HOST PORT SIZES COUNT      each datagram must come back unchanged
HOST may be IPv4 or IPv6; SIZES: 1,17 or 1-1472."""

import hashlib
import json
import random
import socket
import sys
import time

PIECE = 1 << 16
PATIENCE_S = 20


def peer(host, port, kind):
    family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=kind)[0]
    return socket.socket(family, kind, protocol), address


def own(port, kind):
    """Bound for both families."""
    here = socket.socket(socket.AF_INET6, kind)
    here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    here.bind(("::", int(port)))
    return here


def report(count, digest, began):
    print(json.dumps({"bytes": count, "sha256": digest.hexdigest(),
                      "seconds": round(time.monotonic() - began, 3)}))


def tcp_send(host, port, count, seed, rate="0"):
    connection, address = peer(host, port, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_S)
    connection.connect(address)
    print("connected", file=sys.stderr, flush=True)
    data, digest, began, sent = random.Random(int(seed)), hashlib.sha256(), time.monotonic(), 0
    while sent < int(count):
        piece = data.randbytes(min(PIECE, int(count) - sent))
        digest.update(piece)
        connection.sendall(piece)
        sent += len(piece)
        if int(rate):
            time.sleep(max(0, began + sent / int(rate) - time.monotonic()))
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)  # the receiver has all of it
    report(sent, digest, began)


def tcp_receive(port):
    listener = own(port, socket.SOCK_STREAM)
    listener.settimeout(PATIENCE_S)
    listener.listen()
    print("listening", file=sys.stderr, flush=True)
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE_S)
    digest, began, count = hashlib.sha256(), time.monotonic(), 0
    while piece := connection.recv(PIECE):
        digest.update(piece)
        count += len(piece)
    report(count, digest, began)


def udp_echo(port):
    here = own(port, socket.SOCK_DGRAM)
    print("listening", file=sys.stderr, flush=True)
    while True:
        data, address = here.recvfrom(PIECE)
        here.sendto(data, address)


def udp_check(host, port, sizes, count):
    there, address = peer(host, port, socket.SOCK_DGRAM)
    there.settimeout(2)
    there.connect(address)
    first, _, last = sizes.partition("-")
    wanted = range(int(first), int(last) + 1) if last else [int(size) for size in sizes.split(",")]
    data, same, other = random.Random(1), 0, 0
    for size in wanted:
        for _ in range(int(count)):
            sent = data.randbytes(size)
            there.send(sent)
            if there.recv(PIECE) == sent:
                same += 1
            else:
                other += 1
    print(json.dumps({"same": same, "changed": other}))


VERBS = {"tcp-send": tcp_send, "tcp-receive": tcp_receive, "udp-echo": udp_echo,
         "udp-check": udp_check}
VERBS[sys.argv[1]](*sys.argv[2:])
