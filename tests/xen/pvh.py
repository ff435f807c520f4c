"""The second shape of the host: a PVH dom0, which has hugepages and an IOMMU, and a NIC for DPDK to
drive. The other end of the NIC's wire is a Station."""

import json
import pathlib
import socket
import sys

from emulation import CPU
from host import XenHost

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from readme_blocks import PVH_PROMPT, commands  # noqa: E402

# The NIC, where QEMU puts it and with the address that it is told to have.
NIC, NIC_MAC = "0000:00:04.0", "52:54:00:00:00:04"
# Its registers (Intel's 82574 datasheet, 10.2): bytes from the start of its memory.
RECEIVE_CONTROL, UNICAST_PROMISCUOUS, MULTICAST_PROMISCUOUS = 0x100, 1 << 3, 1 << 4
MULTICAST_TABLE, MULTICAST_TABLE_WORDS = 0x5200, 128
ADDRESSES, ADDRESS_COUNT, ADDRESS_VALID = 0x5400, 16, 1 << 31


class Monitor:
    """QEMU's own monitor: what the hardware is, whatever programs say of it."""

    def __init__(self):
        self.end, self.qemu = socket.socketpair()
        self.end.settimeout(10)

    def open(self):
        self.qemu.close()
        self.stream = self.end.makefile("r")
        self.stream.readline()  # its greeting
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        words = {"execute": command, "arguments": arguments}
        self.end.sendall(json.dumps(words).encode() + b"\n")
        while "return" not in (answer := json.loads(self.stream.readline())):
            assert "error" not in answer, f"{words}: {answer['error']}"  # others are events
        return answer["return"]

    def human(self, line):
        return self.execute("human-monitor-command", **{"command-line": line})

    def words_at(self, address, count):
        """`count` 32-bit words of the machine's physical addresses: memory, or a device's."""
        lines = self.human(f"xp /{count}wx {address:#x}").splitlines()
        return [int(word, 16) for line in lines for word in line.split(":")[1].split()]


class PvhHost(XenHost):
    """`station` has the other end of the NIC's wire."""

    def __init__(self, name, station, overlay=None):
        self.monitor = Monitor()
        wire, monitor = station.qemu.fileno(), self.monitor.qemu.fileno()
        hardware = ["-machine", "q35,kernel-irqchip=off", "-device", "amd-iommu",
                    "-chardev", f"socket,id=monitor,fd={monitor}",
                    "-mon", "chardev=monitor,mode=control",
                    "-netdev", f"dgram,id=wire,local.type=fd,local.str={wire}",
                    "-device", f"e1000e,netdev=wire,addr=4,mac={NIC_MAC}"]
        # With rdtscp dom0 dies: "SVM Insn len emulation failed" (real-xen).
        super().__init__(name, overlay=overlay, memory=3072, xen_args="dom0=pvh",
                         cpu=CPU + ",-rdtscp", hardware=hardware, descriptors=[wire, monitor])

    def boot(self, timeout=240):
        super().boot(timeout)
        self.monitor.open()

    def nic_words(self, register, count=1):
        """Of the NIC's registers, as the machine has them."""
        device = self.run("dom0", f"cat /sys/bus/pci/devices/{NIC}/resource")
        return self.monitor.words_at(int(device.split()[0], 16) + register, count)

    def nic_receives_all(self):
        """What the NIC takes whatever its tables say: (unicast, multicast)."""
        [control] = self.nic_words(RECEIVE_CONTROL)
        return bool(control & UNICAST_PROMISCUOUS), bool(control & MULTICAST_PROMISCUOUS)

    def nic_addresses(self):
        """Those that it takes frames for; the first is its own."""
        words = self.nic_words(ADDRESSES, 2 * ADDRESS_COUNT)
        return [(low.to_bytes(4, "little") + high.to_bytes(4, "little")[:2]).hex(":")
                for low, high in zip(words[::2], words[1::2]) if high & ADDRESS_VALID]

    def nic_multicast_bits(self):
        """How many of the hash table of groups are set."""
        return sum(word.bit_count()
                   for word in self.nic_words(MULTICAST_TABLE, MULTICAST_TABLE_WORDS))

    def give_nic_to_programs(self):
        """As the README has it."""
        self.run("dom0", "mkdir -p /dev/hugepages")  # elsewhere udev's or systemd's
        for command in commands(PVH_PROMPT):
            self.run("dom0", command)
        assert self.run("dom0", "cat /sys/hypervisor/guest_type") == "PVH\n"
