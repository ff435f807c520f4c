"""Many idle vifs in a lab: connected, their buffers posted, held by processes that sleep."""

import concurrent.futures
import time

from lab import PKTGEN, LabError

VIFS_PER_DOMAIN = 50  # xenstored lets a domain have 1,000 nodes, a vif takes 16
TOOLS_AT_ONCE = 4     # as with several xl create side by side


def mac(number):
    return f"00:16:3e:{number >> 16 & 0xff:02x}:{number >> 8 & 0xff:02x}:{number & 0xff:02x}"


def jain(shares):
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


class Crowd:
    """`count` vifs with addresses from mac(first) on, over as many domains as it takes."""

    def __init__(self, lab, count, first=0x10000):
        self.lab, self.count, self.holders = lab, count, []
        self.domains = {}  # by name: how many vifs
        self.first = first
        for number in range(0, count, VIFS_PER_DOMAIN):
            name = f"idle{number // VIFS_PER_DOMAIN}"
            self.domains[name] = min(VIFS_PER_DOMAIN, count - number)
            lab.create(name)
        with concurrent.futures.ThreadPoolExecutor(TOOLS_AT_ONCE) as tools:
            list(tools.map(self.add_vifs, range(len(self.domains))))

    def add_vifs(self, number):
        name = f"idle{number}"
        self.lab.tool("vif", "add", name, "--count", self.domains[name],
                      f"mac={mac(self.first + number * VIFS_PER_DOMAIN)}")

    def connect(self):
        """All of them at once: how many seconds it took."""
        started = time.monotonic()
        self.holders = [self.lab.start(name, PKTGEN, "--vifs", vifs, "--timeout", 60, "hold")
                        for name, vifs in self.domains.items()]
        for holder in self.holders:
            if "connected" not in (said := holder.stderr.readline()):
                raise LabError(f"netfront-pktgen: {said.strip()}")
        return time.monotonic() - started

    def disconnect(self):
        """What the holders found."""
        for holder in self.holders:
            holder.terminate()
        found = [self.lab.result(holder) for holder in self.holders]
        self.holders = []
        return found

    def destroy(self):
        for name in self.domains:
            self.lab.tool("domain", "destroy", name)
