"""The README's commands for dom0, in its order; the kernel's netback is loaded at first."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "support"))

from readme_blocks import DOM0_PROMPT, commands  # noqa: E402
from scenarios.lab import scenario  # noqa: E402

# The image has no systemd: this starts what the installed unit says.
SYSTEMCTL = """#!/bin/sh
[ "$1 $2" = "start dpdk-netback" ] || exit 1
exec=$(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/dpdk-netback.service)
setsid $exec >/tmp/readme-daemon.out 2>&1 </dev/null &
for i in $(seq 100); do netbackctl info >/dev/null 2>&1 && exit 0; sleep 0.1; done
exit 1
"""
UNIT = pathlib.Path(__file__).resolve().parents[3] / "config" / "dpdk-netback.service"


@scenario("readme: each dom0 command works", guests=(), daemon=None)
def dom0_commands(lab):
    host = lab.host
    host.dom0("mkdir -p /usr/lib/systemd/system; cat >/usr/bin/systemctl; "
              "chmod 755 /usr/bin/systemctl", data=SYSTEMCTL.encode())
    host.dom0("cat >/usr/lib/systemd/system/dpdk-netback.service", data=UNIT.read_bytes())
    host.run("dom0", "modprobe xen-netback; modprobe tun")
    all_of_them = commands(DOM0_PROMPT)
    assert len(all_of_them) > 5, all_of_them
    try:
        for command in all_of_them:
            status, output = host.dom0(command, 60)
            assert status == 0, f"dom0# {command}\nstatus {status}\n{output}"
    finally:
        host.dom0("netbackctl stop --drain; cat /tmp/readme-daemon.out")
