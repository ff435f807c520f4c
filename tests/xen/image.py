"""The two initramfs images: dom0's and the guests'.

An image is a list of entries written as one uncompressed cpio archive (unpacking a compressed one
is slow on an emulated CPU). Images are kept in the cache by a hash of what they are made of.
"""

import hashlib
import os
import pathlib
import re
import stat
import subprocess

import packages

HERE = pathlib.Path(__file__).resolve().parent
LIBRARIES = pathlib.Path("/usr/lib/x86_64-linux-gnu")
IMAGES_KEPT = 4

DOM0_MODULES = ["xen-gntdev", "xen-gntalloc", "xen-evtchn", "xen-privcmd", "xenfs",
                "virtio_pci", "virtio_console"]
# Present in dom0's image, loaded only by whoever wants them.
DOM0_MODULES_ON_DEMAND = ["xen-netback", "bridge", "stp", "tun", "tap", "vhost_net", "veth",
                          "dummy", "pktgen", "algif_hash", "sha256", "8021q", "uio",
                          "uio_pci_generic"]
GUEST_MODULES = ["xen-netfront"]
GUEST_MODULES_ON_DEMAND = ["pktgen", "algif_hash", "sha256", "8021q", "dummy", "bridge"]

XEN_PROGRAMS = ["xl", "xenstored", "xenconsoled", "xen-init-dom0", "xenconsole", "lsevtchn",
                "xentop", "libxl-save-helper", "vchan-socket-proxy"]
XENSTORE_PROGRAMS = ["xenstore-read", "xenstore-write", "xenstore-ls", "xenstore-list",
                     "xenstore-rm", "xenstore-exists", "xenstore-watch", "xenstore-chmod"]


class Image:
    """Entries of an initramfs. Paths are absolute paths in the image, of the merged-/usr kind."""

    def __init__(self, tree):
        self.tree = tree
        self.entries = {}
        for top in ("bin", "sbin", "lib", "lib64"):
            self.symlink(f"/{top}", f"usr/{top}")

    def directory(self, path):
        self.add(path, stat.S_IFDIR | 0o755, b"")

    def symlink(self, path, target):
        self.add(path, stat.S_IFLNK | 0o777, str(target).encode())

    def text(self, path, text, mode=0o644):
        self.add(path, stat.S_IFREG | mode, text.encode())

    def file(self, path, source):
        """A file of the host, read when the image is written."""
        mode = stat.S_IFREG | stat.S_IMODE(os.stat(source).st_mode)
        self.add(path, mode, pathlib.Path(source))

    def device(self, path, major, minor):
        self.add(path, stat.S_IFCHR | 0o600, (major, minor))

    def add(self, path, mode, content):
        path = merged_usr(path)
        parent = os.path.dirname(path)
        if parent != "/" and parent not in self.entries:
            self.directory(parent)
        self.entries[path] = (mode, content)

    def program(self, path, source=None):
        """A program or library with every shared library it needs, at the paths they have here."""
        source = pathlib.Path(source or path)
        self.linked_file(path, source)
        for name, library in shared_libraries(source, self.tree):
            self.linked_file(name, library)

    def linked_file(self, path, source):
        """A file; where `source` is a link within its tree, the file it leads to and a link.

        A library that is found by two names must be one file, or it is loaded twice.
        """
        real = source.resolve()
        if not source.is_symlink() or real.name == source.name and real.parent == source.parent:
            self.file(path, source)
            return
        home = merged_usr("/" + str(real).removeprefix(str(self.tree.root)).lstrip("/"))
        self.file(home, real)
        if home != merged_usr(path):
            self.symlink(path, home)

    def modules(self, loaded, on_demand):
        """Kernel modules with their dependencies; `loaded` is what /init loads."""
        found = {}
        for module in loaded + on_demand:
            for name in module_files(self.tree, module):
                found[name] = self.tree.modules / name
        base = f"/usr/lib/modules/{self.tree.kernel_version}"
        for name, source in found.items():
            self.file(f"{base}/{name}", source)
        wanted = set(found)
        lines = (self.tree.modules / "modules.dep").read_text().splitlines()
        kept = [line for line in lines if line.split(":")[0] in wanted]
        self.text(f"{base}/modules.dep", "\n".join(kept) + "\n")
        self.text("/etc/modules", "\n".join(loaded) + "\n")

    def busybox(self):
        source = self.tree.root / "bin/busybox"
        self.file("/usr/bin/busybox", source)
        applets = subprocess.run([source, "--list"], check=True, capture_output=True, text=True)
        for name in applets.stdout.split():
            path = f"/usr/bin/{name}"
            if name != "busybox" and path not in self.entries:
                self.symlink(path, "busybox")

    def key(self):
        """A hash of what the image is made of: sources by size and time of change."""
        digest = hashlib.sha256()
        for path, (mode, content) in sorted(self.entries.items()):
            if isinstance(content, pathlib.Path):
                info = content.stat()
                content = (str(content), info.st_size, info.st_mtime_ns)
            digest.update(repr((path, mode, content)).encode())
        return digest.hexdigest()[:16]

    def write(self, name):
        """The path of the written archive; an image of the same content is not written again."""
        directory = packages.cache_dir() / "images"
        directory.mkdir(exist_ok=True)
        target = directory / f"{name}-{self.key()}.cpio"
        if target.exists():
            os.utime(target)
            return target
        partial = target.with_suffix(f".{os.getpid()}")
        with open(partial, "wb") as archive:
            write_cpio(archive, self.entries)
        partial.rename(target)
        by_age = sorted(directory.glob(f"{name}-*.cpio"), key=lambda path: path.stat().st_mtime)
        for old in by_age[:-IMAGES_KEPT]:
            old.unlink(missing_ok=True)
        return target


def merged_usr(path):
    return re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", str(path))


def shared_libraries(program, tree):
    """(path in the image, file here) of each library; the unpacked packages come first."""
    unpacked = tree.root / LIBRARIES.relative_to("/")
    search = f"{unpacked}:{tree.root}/lib/x86_64-linux-gnu"
    listed = subprocess.run(["ldd", program], capture_output=True, text=True,
                            env={**os.environ, "LD_LIBRARY_PATH": search}).stdout
    for line in listed.splitlines():
        if "not found" in line:
            raise RuntimeError(f"{program}: {line.strip()}")
        match = re.search(r"(/\S+) \(0x", line)
        if match:
            library = match.group(1)
            yield library.removeprefix(str(tree.root)), pathlib.Path(library)


def module_files(tree, module):
    shown = subprocess.run(
        ["modprobe", "-d", tree.root, "-S", tree.kernel_version, "--show-depends", module],
        check=True, capture_output=True, text=True).stdout
    return re.findall(rf"insmod \S*/lib/modules/{re.escape(tree.kernel_version)}/(\S+)", shown)


def write_cpio(archive, entries):
    """The "newc" format of the kernel's initramfs: parents come before children by sorting."""
    def record(number, path, mode, data, device=(0, 0)):
        name = path.lstrip("/").encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        archive.write(head + bytes(-len(head) % 4))
        archive.write(data)
        archive.write(bytes(-len(data) % 4))

    for number, (path, (mode, content)) in enumerate(sorted(entries.items()), 1):
        if isinstance(content, tuple):
            record(number, path, mode, b"", content)
        elif isinstance(content, pathlib.Path):
            record(number, path, mode, content.read_bytes())
        else:
            record(number, path, mode, content)
    record(0, "TRAILER!!!", 0, b"")


def build_tool(name):
    """A static program of this directory, compiled when a source is newer than the result."""
    sources = sorted(HERE.glob(f"{name}*.cpp"))
    newest = max(path.stat().st_mtime for path in HERE.glob("*.?pp"))
    program = packages.cache_dir() / "tools" / name
    program.parent.mkdir(exist_ok=True)
    if not program.exists() or program.stat().st_mtime < newest:
        partial = program.with_suffix(f".{os.getpid()}")
        subprocess.run(["g++", "-std=c++20", "-static", "-O2", "-s", "-Wall", "-Wextra",
                        "-o", partial, *sources], check=True)
        partial.rename(program)
    return program


def common(tree, init):
    image = Image(tree)
    image.file("/init", HERE / "image" / init)
    image.device("/dev/console", 5, 1)
    image.device("/dev/null", 1, 3)
    for path in ("/proc", "/sys", "/run", "/tmp", "/root", "/mnt", "/etc"):
        image.directory(path)
    image.file("/usr/bin/xen-agent", build_tool("agent"))
    image.file("/usr/bin/netcheck", build_tool("netcheck"))
    image.program("/usr/sbin/ethtool", tree.root / "sbin/ethtool")
    # Not busybox's shell: that prefers its own ip to the one in PATH.
    image.program("/usr/bin/sh", tree.root / "bin/dash")
    image.busybox()
    return image


def guest_image(tree, modules=GUEST_MODULES):
    image = common(tree, "guest-init")
    image.modules(modules, GUEST_MODULES_ON_DEMAND)
    return image


def dom0_image(tree, guest_ramdisk):
    """dom0 with Xen's tools, and what the guests are made from under /boot."""
    image = common(tree, "dom0-init")
    image.modules(DOM0_MODULES, DOM0_MODULES_ON_DEMAND)
    for name in XEN_PROGRAMS:
        image.program(f"/usr/lib/xen-4.17/bin/{name}", tree.root / "usr/lib/xen-4.17/bin" / name)
    for name in XENSTORE_PROGRAMS:
        image.program(f"/usr/bin/{name}", tree.root / "usr/bin" / name)
    image.program("/usr/sbin/ip")
    image.program("/usr/sbin/bridge")
    # pthread_cancel loads it by name, so ldd does not see it.
    image.program(LIBRARIES / "libgcc_s.so.1",
                  tree.root / "lib/x86_64-linux-gnu/libgcc_s.so.1")
    image.file("/etc/xen/scripts/vif-bridge", HERE / "image" / "vif-bridge")
    image.text("/etc/xen/xl.conf", 'autoballoon="off"\n')
    image.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    image.text("/etc/group", "root:x:0:\n")
    for path in ("/var/lib/xen", "/var/lib/xenstored", "/var/log/xen/console"):
        image.directory(path)
    image.symlink("/var/run", "../run")
    image.symlink("/var/lock", "../run/lock")
    image.file("/boot/vmlinux", tree.kernel)
    image.file("/boot/guest.cpio", guest_ramdisk)
    return image
