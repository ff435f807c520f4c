"""The Debian packages of the Xen host, downloaded and unpacked into a cache directory.

Nothing is installed: the machine that runs the tests need not be (and must not become) a Xen host.
The unpacked tree is named by the hash of the package list, so a changed list makes a new tree.
"""

import fcntl
import gzip
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE_LIST = CHECKOUT / "config" / "packages-xen.txt"
BOOT_PACKAGES = ("linux-image-", "xen-hypervisor-")  # the large ones
XZ_MAGIC = b"\xfd7zXZ\0"


def cache_dir():
    """Where packages, kernels and images are kept between runs."""
    path = pathlib.Path(os.environ.get("NETBACK_XEN_CACHE", CHECKOUT / "build" / "xen-cache"))
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def listed_names():
    lines = (line.split("#")[0].strip() for line in PACKAGE_LIST.read_text().splitlines())
    return [line for line in lines if line]


def package_names():
    """The list, with linux-image-amd64 replaced by the versioned kernel package it depends on."""
    return [versioned_kernel() if name == "linux-image-amd64" else name for name in listed_names()]


def versioned_kernel():
    shown = subprocess.run(["apt-cache", "show", "--no-all-versions", "linux-image-amd64"],
                           check=True, capture_output=True, text=True).stdout
    return re.search(r"^Depends: (linux-image-\S+)", shown, re.M).group(1)


class Tree:
    """The unpacked packages, plus the two boot files in the form that QEMU and Xen want."""

    def __init__(self, path):
        self.path = path
        self.root = path / "root"
        self.xen = path / "xen.elf"
        self.kernel = path / "vmlinux"

    @property
    def kernel_version(self):
        return next((self.root / "lib/modules").iterdir()).name

    @property
    def modules(self):
        return self.root / "lib/modules" / self.kernel_version


def tree_named(name):
    key = hashlib.sha256(PACKAGE_LIST.read_bytes()).hexdigest()[:12]
    return Tree(cache_dir() / f"{name}-{key}")


def complete(tree):
    return (tree.path / "complete").exists()


def made(tree, fill):
    """The tree, filled on first use; safe when several test runs start at once."""
    with open(cache_dir() / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete(tree):
            shutil.rmtree(tree.path, ignore_errors=True)
            fill(tree)
            (tree.path / "complete").touch()
    return tree


def fetch():
    """The whole host: Xen, the kernel, the programs."""
    def fill(tree):
        unpack(tree, package_names())
        add_boot_files(tree)
    return made(tree_named("tree"), fill)


def fetch_tools():
    """Xen's programs alone, which are a twentieth of it: all that a lab needs."""
    whole = tree_named("tree")
    if complete(whole):
        return whole
    names = [name for name in listed_names() if not name.startswith(BOOT_PACKAGES)]
    return made(tree_named("tools"), lambda tree: unpack(tree, names))


def has_tools():
    """Whether fetch_tools() would download nothing."""
    return complete(tree_named("tree")) or complete(tree_named("tools"))


def unpack(tree, names):
    debs = tree.path / "debs"
    debs.mkdir(parents=True)
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *names]
    if subprocess.run(download, cwd=debs).returncode != 0:
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        subprocess.run(download, cwd=debs, check=True)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg", "-x", deb, tree.root], check=True)
    shutil.rmtree(debs)


def add_boot_files(tree):
    xen = next((tree.root / "boot").glob("xen-*-amd64.gz"))
    tree.xen.write_bytes(gzip.decompress(xen.read_bytes()))
    tree.kernel.write_bytes(uncompressed_kernel(next((tree.root / "boot").glob("vmlinuz-*"))))
    subprocess.run(["depmod", "-b", tree.root, tree.kernel_version], check=True)


def uncompressed_kernel(bzimage):
    """The ELF file inside a bzImage: unpacking xz takes seconds on an emulated CPU, per guest."""
    data = bzimage.read_bytes()
    elf = lzma.LZMADecompressor().decompress(data[data.index(XZ_MAGIC):])
    if elf[:4] != b"\x7fELF":
        raise RuntimeError(f"{bzimage} holds no xz-compressed ELF kernel")
    return elf
