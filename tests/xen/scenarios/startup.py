"""The daemon does not start, says why in one line, and leaves nothing behind."""

from netback import FEW_BUFFERS
from scenarios.lab import BRIDGE, scenario

def traces(lab):
    """What a start that fails could leave: interfaces, sockets and EAL's files, xenstore's nodes;
    but for what comes and goes with a daemon or a console that others started."""
    lines = lab.host.run("dom0", "ls /sys/class/net; find /run /tmp /dev/shm /var/tmp;"
                                 " xenstore-ls -f").splitlines()
    return sorted(line for line in lines if "console/tty" not in line and "/tmp/daemon" not in line)


def assert_fails(lab, status, message, arguments="", before="", after=""):
    """A start in front of us: exit code, the last line it prints, and no traces."""
    host = lab.host
    # What stays for good: the lock, because who waits for it has it open (control/host.cpp), and
    # the directory that DPDK makes.
    host.run("dom0", "mkdir -p /run/dpdk /run/dpdk-netback;"
                     " touch /run/dpdk-netback/control.sock.lock")
    there = traces(lab)
    got, output = host.dom0(f"{{\n{before or 'true'}\n}} || exit 99\n"
                            f"timeout 60 dpdk-netback {arguments} </dev/null; got=$?\n"
                            f"{{\n{after or 'true'}\n}} || exit 98; exit $got")
    left = traces(lab)
    assert got == status, f"exit {got}, not {status}:\n{output}"
    assert output.splitlines()[-1] == f"dpdk-netback: {message}", output
    assert left == there, f"left behind:\n{difference(there, left)}"


def difference(before, after):
    return "\n".join([f"- {line}" for line in before if line not in after]
                     + [f"+ {line}" for line in after if line not in before])


def config(lab, text, name="bad"):
    """A configuration directory of its own; the words for the command line."""
    directory = f"/etc/{name}"
    lab.host.dom0(f"mkdir -p {directory}/vif.d; cat >{directory}/dpdk-netback.toml",
                  data=text.encode())
    return f"--config {directory}"


def port(device, more=""):
    return f'[[port]]\nname = "p"\ndevice = "{device}"\n{more}\n'


@scenario("start-up fails: no /dev/vhost-net", guests=(), daemon=None)
def no_vhost_net(lab):
    assert lab.host.dom0("[ -e /dev/vhost-net ]")[0] != 0, "vhost_net was not to be loaded yet"
    device = "net_virtio_user0,path=/dev/vhost-net,queue_size=1024,iface=netback0"
    assert_fails(lab, 1, f"cannot start: check ports: port 'bridge': device '{device}': cannot open"
                 " /dev/vhost-net: No such file or directory"
                 " (fix: modprobe vhost_net, or use net_af_packet on a veth)",
                 f"--config {lab.config_directory(BRIDGE)}")


@scenario("start-up fails: the kernel's xen-netback is loaded", guests=(), daemon=None)
def kernel_netback(lab):
    assert_fails(lab, 3, "cannot start: check for kernel xen-netback: the kernel's xen-netback is"
                 " loaded and owns this domain's vifs (fix: rmmod xen-netback; add"
                 ' "blacklist xen-netback" to /etc/modprobe.d)',
                 config(lab, port("net_null0")),
                 before="modprobe xen-netback", after="modprobe -r xen-netback")


@scenario("start-up fails: no such bridge, interface, driver", guests=(), daemon=None)
def no_such_thing(lab):
    lab.host.run("dom0", "modprobe tun; modprobe vhost_net")
    tap = "net_virtio_user0,path=/dev/vhost-net,iface=nb0"
    assert_fails(lab, 1, "cannot start: open ports: port 'p': there is no bridge xenbr7"
                 " (fix: ip link add xenbr7 type bridge && ip link set xenbr7 up)",
                 config(lab, port(tap, 'bridge = "xenbr7"')))
    assert_fails(lab, 1, "cannot start: check ports: port 'p': device"
                 " 'net_af_packet0,iface=lost0': there is no interface lost0"
                 " (fix: ip link add lost0 type veth peer name ...)",
                 config(lab, port("net_af_packet0,iface=lost0")))
    assert_fails(lab, 1, "cannot start: check ports: port 'p': device 'net_nul0': unknown driver"
                 " (fix: use one of net_null, net_ring, net_pcap, net_tap, net_virtio_user,"
                 " net_af_packet, net_af_xdp, net_memif, a PCI address)",
                 config(lab, port("net_nul0")))


@scenario("start-up fails: a NIC in a PV dom0", guests=(), daemon=None)
def nic_in_pv_dom0(lab):
    assert lab.host.run("dom0", "cat /sys/hypervisor/guest_type") == "PV\n"
    assert_fails(lab, 1, "cannot start: check ports: port 'p': device '0000:00:04.0': a PCI device"
                 " driven from a PV domain can write to other guests' memory (fix: use a PVH dom0"
                 " or a driver domain, or net_virtio_user or net_af_packet)",
                 config(lab, port("0000:00:04.0")))


@scenario("start-up fails: no xenstore, no hugepages, no memory", guests=(), daemon=None)
def no_means(lab):
    null = port("net_null0")
    words = config(lab, null)
    assert_fails(lab, 4, "cannot start: open event channels: cannot open /dev/xen/evtchn:"
                 " No such file or directory (fix: run in a Xen domain, as root, with the module"
                 " xen-evtchn loaded)", words,
                 before="mv /dev/xen/evtchn /dev/evtchn.away",
                 after="mv /dev/evtchn.away /dev/xen/evtchn")
    assert_fails(lab, 4, "cannot start: open grants: cannot open /dev/xen/gntdev: No such file or"
                 " directory (fix: run in a Xen domain, as root, with the module xen-gntdev"
                 " loaded)", words,
                 before="mv /dev/xen/gntdev /dev/gntdev.away",
                 after="mv /dev/gntdev.away /dev/xen/gntdev")
    assert_fails(lab, 4, "cannot start: open xenstore: cannot reach xenstored: No such file or"
                 " directory (fix: run in a Xen domain, with xenstored started)", words,
                 before="mv /run/xenstored /run/away; mv /dev/xen/xenbus /dev/xenbus.away;"
                        " umount -l /proc/xen",
                 after="mv /run/away /run/xenstored; mv /dev/xenbus.away /dev/xen/xenbus;"
                       " mount -t xenfs x /proc/xen")
    assert_fails(lab, 1, "cannot start: start DPDK: there are not 256 MB of free hugepages on a"
                 " mounted hugetlbfs (fix: sysctl vm.nr_hugepages=N and mount -t hugetlbfs none"
                 ' /dev/hugepages, or memory = "auto")',
                 config(lab, 'memory = "hugepages"\n' + null))


@scenario("start-up fails: a second instance")
def second_instance(lab):
    assert_fails(lab, 3, "cannot start: take instance lock: another dpdk-netback runs here, process"
                 f" {lab.daemon_pid()} (fix: netbackctl stop --drain)",
                 f"--config {lab.config_directory(BRIDGE)}")
    lab.assert_daemon_lives()
    lab.ping("g1", "10.0.0.1", 5)


@scenario("start-up fails: a tap that another process holds")
def busy_tap(lab):
    assert_fails(lab, 1, "cannot start: check ports: port 'bridge': device 'net_virtio_user0,"
                 "path=/dev/vhost-net,queue_size=1024,iface=netback0': tap netback0 is in use by"
                 " another process (fix: choose another iface=)",
                 f"--config {lab.config_directory(BRIDGE)} --socket /tmp/second.sock",
                 after="rm /tmp/second.sock.lock")
    lab.assert_daemon_lives()
    lab.ping("g1", "10.0.0.1", 5)


@scenario("the tap of a port has the port's mtu", guests=(), daemon=None)
def tap_mtu(lab):
    lab.host.run("dom0", "modprobe tun; modprobe vhost_net")
    words = config(lab, FEW_BUFFERS + port("net_virtio_user0,path=/dev/vhost-net,iface=nb0",
                                           "mtu = 1400"))
    output = lab.host.run("dom0", f"timeout -s TERM 90 dpdk-netback {words} </dev/null &"
                                  " for try in $(seq 600); do [ -S /run/dpdk-netback/control.sock ]"
                                  " && break; sleep 0.1; done;"
                                  " cat /sys/class/net/nb0/mtu; kill $!; wait")
    assert "\n1400\n" in f"\n{output}", output


@scenario("--check says what is wrong with the configuration", guests=(), daemon=None)
def check(lab):
    good = config(lab, port("net_null0"))
    status, output = lab.host.dom0(f"dpdk-netback {good} --check")
    assert (status, output) == (0, "/etc/bad: good\n"), (status, output)
    for text, message in (
            ('lcorse = [0]\n', "1: unknown key 'lcorse', did you mean 'lcores'?"),
            ('memory = "huge"\n', "1: 'memory' must be one of \"auto\", \"hugepages\", \"pages\","
                                  ' not "huge"'),
            ('[[port]]\nname = "p"\n', "1: [[port]] without 'device'")):
        words = config(lab, text)
        line = f"/etc/bad/dpdk-netback.toml:{message}"
        assert_fails(lab, 2, line, f"{words} --check")
        assert_fails(lab, 2, f"cannot start: read configuration: {line}", words)
    words = config(lab, port("net_null0"))
    lab.host.run("dom0", "echo 'nic = \"p\"' >/etc/bad/vif.d/g1.toml")
    assert_fails(lab, 2, "/etc/bad/vif.d/g1.toml:1: which vif? Give mac, or domain and devid, or"
                 " uuid and devid", f"{words} --check")
    lab.host.run("dom0", "rm -r /etc/bad")


@scenario("netbackctl without a daemon", guests=(), daemon=None)
def nobody(lab):
    status, output = lab.host.dom0("netbackctl info")
    assert status == 4 and "fix:" in output, (status, output)
