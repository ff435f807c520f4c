"""The guests of compare xen, and the addresses on its bridge."""

GUEST = "g1"  # a Linux guest with Linux's netfront
PEER = "g2"  # another one, for what guests say to each other
POLLER = "p1"  # one that polls its vif with netfront-pktgen
POLL_BYTES = 60
# The machine's CPUs: dom0 has the first one.
GUEST_CPU, PEER_CPU = 1, 2
MACS = {"discard": "00:16:3e:00:01:01", "bridge": "00:16:3e:00:01:02",
        "poll": "00:16:3e:00:01:03", "poll_source": "00:16:3e:00:01:04",
        "peer": "00:16:3e:00:01:05"}
FAR, FAR_MAC = "far0", "00:16:3e:00:02:01"
GUEST_ADDRESS, PEER_ADDRESS, HOST_ADDRESS = "10.0.0.11", "10.0.0.12", "10.0.0.1"
