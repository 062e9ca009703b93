"""Run a command as root under another kernel, in QEMU, on this machine's files.

    python -m tests.vm.guest 6.1 -- python3 -m pytest tests/kernel

The guest's root is this machine's, by 9P and read-only, below an overlay in memory: the command
sees the same programs, environments and working directory, and what it writes is lost at its end,
but for `--share DIRECTORY`. The network is lo and two cards that a wire joins. bpffs, tracefs,
debugfs, securityfs and cgroup2 are mounted. The command's output comes as it is written, and its
status is ours; 124: its time was up; 125: there was no guest, or it ended first: then its console's
last lines are shown.

    initramfs (busybox, modules, INIT) -> root by 9P, overlay -> switch_root -> COMMAND

Without hardware that virtualises, the guest is emulated: Python is some twenty times slower, and
``PYEBPF_FEWER_EXAMPLES`` tells tests so.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import lzma
import os
import pathlib
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator

from tests.vm.kernels import UnavailableError, cache

QEMU = "qemu-system-x86_64"
TIME_IS_UP, NO_GUEST = 124, 125
SLOWNESS = 20  # of an emulated guest

# Kernels differ in what is built in; these are loaded where they are modules.
BOOT_MODULES = "virtio_pci virtio_console 9pnet_virtio 9p overlay"
TEST_MODULES = (
    "veth dummy tun ifb sch_ingress sch_fq cls_bpf act_bpf cls_matchall "
    "crc32c_generic nf_conntrack nf_defrag_ipv4 nf_defrag_ipv6 virtio_net"
)
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHON*", "PYTEST*", "PYEBPF_*")

INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod $module; done
opts=trans=virtio,version=9p2000.L,msize=512000
mkdir /lower /upper /new
mount -t 9p -o ro,cache=loose,$opts root /lower || exec reboot -f
mount -t tmpfs -o size=75% tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /new
mount -t proc proc /new/proc
mount -t sysfs sysfs /new/sys
mount -t devtmpfs devtmpfs /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
mount -t tmpfs tmpfs /new/run
mount -t bpf bpf /new/sys/fs/bpf
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
# As an init would: until some controller was enabled, old kernels have no perf_event in groups.
echo +pids >/new/sys/fs/cgroup/cgroup.subtree_control
mount -t tracefs tracefs /new/sys/kernel/tracing
mount -t debugfs debugfs /new/sys/kernel/debug
mount -t securityfs securityfs /new/sys/kernel/security
ifconfig lo 127.0.0.1 up
hostname guest
while read -r directory; do
    mkdir -p "/new$directory"
    mount -t 9p -o rw,cache=none,$opts share "/new$directory"
done </shared
mkdir /new/run/guest
cp /bin/busybox /command /new/run/guest/
# Not chroot: namespaces of users, which tokens need, are refused in one.
exec switch_root /new /bin/sh /run/guest/command
"""

# For the root's own shell: busybox's would prefer its own applets to programs. The ports are no
# terminals: what goes through them stays as it is.
COMMAND = r"""
set -- /dev/vport*
(
{environment}
cd {directory} || exit 125
exec {command}
) </dev/null >"$1" 2>&1
echo $? >"$2"
exec /run/guest/busybox reboot -f
"""


class Kernel:
    """A kernel that was unpacked: its image and its modules."""

    def __init__(self, directory: pathlib.Path) -> None:
        releases = [*directory.glob("lib/modules/*"), *directory.glob("usr/lib/modules/*")]
        if not releases:
            raise UnavailableError("it is not in the cache: see tests/vm/kernels.py")
        self.release = releases[0].name
        # Beside its modules since 6.19.
        self.image = next(iter([*directory.glob("boot/vmlinuz-*"), *releases[0].glob("vmlinuz*")]))
        self._files = {
            path.name.split(".")[0].replace("-", "_"): path for path in releases[0].rglob("*.ko*")
        }

    def modules(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return these modules and what they depend on, in loading order, as far as there are."""
        found: dict[str, bytes] = {}
        for name in names:
            self._add(name, found)
        return found

    def _add(self, name: str, found: dict[str, bytes]) -> None:
        path = self._files.get(name)
        if path is None or name in found:
            return
        unpack: dict[str, Callable[[bytes], bytes]] = {
            ".xz": lzma.decompress,
            ".gz": gzip.decompress,
        }
        data = unpack.get(path.suffix, bytes)(path.read_bytes())
        # Packages carry no modules.dep.
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in depends[1].decode().split(",") if depends else ():
            self._add(other.replace("-", "_"), found)
        found[name] = data


def cpio(entries: Iterable[tuple[str, int, bytes]]) -> bytes:
    """Return an archive as the kernel unpacks it ("newc"), of (name, mode, content)."""
    out = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        raw = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out += b"070701" + b"".join(b"%08X" % each for each in fields)
        for part in (raw, data):
            out += part
            out += bytes(-len(out) % 4)
    return bytes(out)


def initramfs(kernel: Kernel, command: str, share: str | None) -> bytes:
    busybox = shutil.which("busybox", path="/bin:/usr/bin")
    if busybox is None:
        raise UnavailableError("busybox is not installed (Debian: busybox-static)")
    executable, directory = stat.S_IFREG | 0o755, stat.S_IFDIR | 0o755
    entries = [
        ("bin", directory, b""),
        ("bin/busybox", executable, pathlib.Path(busybox).read_bytes()),
        ("dev", directory, b""),
        ("init", executable, INIT.encode()),
        ("command", executable, command.encode()),
        ("shared", executable, f"{share}\n".encode() if share else b""),
        ("modules", directory, b""),
    ]
    modules = kernel.modules(f"{BOOT_MODULES} {TEST_MODULES}".split())
    for i, (name, data) in enumerate(modules.items()):
        entries.append((f"modules/{i:03}-{name}.ko", executable, data))
    return cpio(entries)


def environment(emulated: bool) -> Iterator[str]:
    """Yield the shell's lines that set what the command shall find."""
    for name, value in os.environ.items():
        if any(fnmatch.fnmatch(name, pattern) for pattern in ENVIRONMENT):
            yield f"export {name}={shlex.quote(value)}"
    yield "export PYEBPF_MACHINE_IS_OURS=1"
    if emulated:
        yield f"export PYEBPF_FEWER_EXAMPLES={SLOWNESS}"


def virtualises() -> bool:
    """Say whether KVM runs these kernels; where /dev/kvm is paravirtual only, it does not."""
    text = pathlib.Path("/proc/cpuinfo").read_text("utf-8")
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    if flags is None or not {"vmx", "svm"} & set(flags[1].split()):
        return False
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


# Zero-copy AF_XDP is only for cards that reach memory as DMA: iommu_platform.
def cards(directory: pathlib.Path) -> Iterator[str]:
    """Yield the options for two network cards that are joined by a wire."""
    for name, other in (("one", "other"), ("other", "one")):
        ends = f"local.type=unix,local.path={directory}/{name}"
        ends += f",remote.type=unix,remote.path={directory}/{other}"
        yield from ("-netdev", f"dgram,id={name},{ends}")
        yield from ("-device", f"virtio-net-pci,disable-legacy=on,iommu_platform=on,netdev={name}")


def qemu(
    kernel: Kernel, directory: pathlib.Path, output: int, share: str | None, emulated: bool
) -> list[str]:
    # One thread for all CPUs: with several, kernels that patch their own code (kprobes,
    # trampolines, static keys) now and then die of a stale breakpoint.
    accelerator = ["tcg,thread=single", "-cpu", "max"] if emulated else ["kvm", "-cpu", "host"]
    shared = "local,path={},mount_tag={},security_model=none,multidevs=remap"
    return [
        *(QEMU, "-M", "q35", "-accel", *accelerator, "-smp", "2", "-m", "1G"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-kernel", str(kernel.image), "-initrd", str(directory / "initramfs")),
        "-append",
        "console=ttyS0 loglevel=4 oops=panic panic=-1 mitigations=off lsm=bpf",
        *("-serial", f"file:{directory}/console"),
        *("-virtfs", shared.format("/", "root") + ",readonly=on"),
        *(("-virtfs", shared.format(share, "share")) if share else ()),
        *cards(directory),
        *("-device", "virtio-serial"),
        *("-chardev", f"file,id=output,path=/proc/self/fd/{output}"),
        *("-device", "virtserialport,chardev=output"),
        *("-chardev", f"file,id=status,path={directory}/status"),
        *("-device", "virtserialport,chardev=status"),
    ]


def run(
    version: str,
    command: list[str],
    *,
    share: pathlib.Path | None = None,
    timeout: float = 3600,
) -> int:
    """Run a command under a kernel; return its status.

    Args:
        version: Of a kernel in the cache.
        command: Runs in the current directory.
        share: A directory in which what the command writes stays.
        timeout: The guest is ended after so many seconds.

    Raises:
        UnavailableError: There is no such kernel, or a program is missing.
    """
    kernel = Kernel(cache() / version)
    if shutil.which(QEMU) is None:
        raise UnavailableError(f"{QEMU} is not installed (Debian: qemu-system-x86)")
    emulated = not virtualises()
    shared = str(share.resolve()) if share else None
    script = COMMAND.format(
        environment="\n".join(environment(emulated)),
        directory=shlex.quote(str(pathlib.Path.cwd())),
        command=shlex.join(command),
    )
    with tempfile.TemporaryDirectory(prefix="guest-") as name:
        directory = pathlib.Path(name)
        (directory / "initramfs").write_bytes(initramfs(kernel, script, shared))
        reader, writer = os.pipe()
        process = subprocess.Popen(
            qemu(kernel, directory, writer, shared, emulated),
            stdin=subprocess.DEVNULL,
            pass_fds=[writer],
        )
        os.close(writer)
        expired = follow(process, reader, timeout)
        return outcome(directory, expired)


def follow(process: subprocess.Popen[bytes], reader: int, timeout: float) -> bool:
    """Copy a guest's output until it ends; say whether its time was up. No guest outlives this."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(timeout, expire)
    timer.start()
    try:
        with open(reader, "rb", buffering=0) as stream:
            while data := stream.read(65536):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
        process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    return expired.is_set()


def outcome(directory: pathlib.Path, expired: bool) -> int:
    """Return the status that a guest left behind; show what its console said if it left none."""
    try:
        return int((directory / "status").read_text("utf-8"))
    except (OSError, ValueError):
        console = (directory / "console").read_text("utf-8", errors="replace")
        print(*console.splitlines()[-60:], sep="\n", file=sys.stderr)
    print("guest: its time is up" if expired else "guest: it ended too early", file=sys.stderr)
    return TIME_IS_UP if expired else NO_GUEST


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version", help="of a kernel in the cache, such as 6.1")
    parser.add_argument("--share", type=pathlib.Path, metavar="DIRECTORY")
    parser.add_argument("--timeout", type=float, default=3600, metavar="SECONDS")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no guest stays
    try:
        return run(
            arguments.version, arguments.command, share=arguments.share, timeout=arguments.timeout
        )
    except UnavailableError as error:
        print(f"guest: Linux {arguments.version}: {error}", file=sys.stderr)
        return NO_GUEST


if __name__ == "__main__":
    sys.exit(main())
