"""The README's console blocks: every command in them is run by a test."""

import pathlib
import re

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
HOST_PROMPT, DOM0_PROMPT = "$ ", "dom0# "
PVH_PROMPT = "pvh# "  # of a PVH dom0 with a NIC for DPDK


def commands(prompt):
    """The commands behind one prompt, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", README.read_text(), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    prompts = (HOST_PROMPT, DOM0_PROMPT, PVH_PROMPT)
    strange = [line for line in lines if not line.startswith(prompts)]
    assert not strange, f"README: no prompt that a test knows: {strange}"
    return [line.removeprefix(prompt) for line in lines if line.startswith(prompt)]
