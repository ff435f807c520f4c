"""Linux's own netback in dom0: what the harness is proved with, and the rival in bench/compare."""

BRIDGE = "xenbr0"
BRIDGE_ADDRESSES = ("10.0.0.1/24", "fd00::1/64")


def make_bridge(host, name=BRIDGE, addresses=BRIDGE_ADDRESSES):
    """A bridge in dom0 that forwards at once (no spanning tree, no wait for learning)."""
    commands = ["modprobe bridge", f"ip link add {name} type bridge stp_state 0 forward_delay 0",
                f"ip link set {name} up"]
    commands += [f"ip address add {address} dev {name} nodad" if ":" in address
                 else f"ip address add {address} dev {name}" for address in addresses]
    host.run("dom0", " && ".join(commands))


def use_kernel_netback(host):
    """Linux's netback and a bridge; guests' vifs then say bridge=xenbr0."""
    host.run("dom0", "modprobe xen-netback")
    make_bridge(host)


def stop_kernel_netback(host):
    """Makes room for another backend; every guest must be gone."""
    host.run("dom0", f"ip link delete {BRIDGE}; modprobe -r xen-netback")
