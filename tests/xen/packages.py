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
XZ_MAGIC = b"\xfd7zXZ\0"


def cache_dir():
    """Where packages, kernels and images are kept between runs."""
    path = pathlib.Path(os.environ.get("NETBACK_XEN_CACHE", CHECKOUT / "build" / "xen-cache"))
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def package_names():
    """The list, with linux-image-amd64 replaced by the versioned kernel package it depends on."""
    lines = (line.split("#")[0].strip() for line in PACKAGE_LIST.read_text().splitlines())
    return [versioned_kernel() if line == "linux-image-amd64" else line for line in lines if line]


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


def fetch():
    """The tree, made on first use; safe when several test runs start at once."""
    cache = cache_dir()
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        key = hashlib.sha256(PACKAGE_LIST.read_bytes()).hexdigest()[:12]
        tree = Tree(cache / f"tree-{key}")
        if not (tree.path / "complete").exists():
            shutil.rmtree(tree.path, ignore_errors=True)
            unpack(tree)
            (tree.path / "complete").touch()
        return tree


def unpack(tree):
    debs = tree.path / "debs"
    debs.mkdir(parents=True)
    names = package_names()
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *names]
    if subprocess.run(download, cwd=debs).returncode != 0:
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        subprocess.run(download, cwd=debs, check=True)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg", "-x", deb, tree.root], check=True)
    shutil.rmtree(debs)
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
