"""The machine the tests run on: kernel version, our privileges, what it lacks, a few raw calls.

Raw on purpose: what judges the library must not depend on it. Only Linux's own ABI is used here.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import pathlib
import platform
import re
import struct
from collections.abc import Callable

from pyebpf.errors import NotSupportedError

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}

BPF_PROG_GET_NEXT_ID, BPF_MAP_GET_NEXT_ID, BPF_LINK_GET_NEXT_ID = 11, 12, 31

CLONE_NEWNET = 0x40000000

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21


@functools.cache
def lacks_function(name: str) -> bool:
    """Say whether the kernel itself has no function of this name."""
    text = pathlib.Path("/proc/kallsyms").read_text("utf-8")
    return re.search(rf" [tT] {name}$", text, re.MULTILINE) is None


# What a kernel may lack by its configuration although it is new enough: the `feature` of a
# NotSupportedError -> a probe of the system that is true where it is lacking indeed. Anything else
# that a new enough kernel is said to lack is a bug of ours.
LACKED_BY_CONFIGURATION: dict[str, Callable[[], bool]] = {
    "BPF_PROG_TYPE_LIRC_MODE2": lambda: lacks_function("lirc_prog_attach"),
    "kprobes in tracefs": lambda: lacks_function("register_kprobe"),
    "tc actions": lambda: lacks_function("tcf_bpf_init"),
    "kprobe.multi": lambda: lacks_function("register_fprobe"),
    "netkit": lambda: lacks_function("netkit_prog_attach"),
}


@functools.cache
def version() -> tuple[int, int]:
    """Return the kernel's version, such as ``(6, 1)``."""
    return parse_version(os.uname().release)


def version_text() -> str:
    """Return the kernel's full version."""
    return os.uname().release


def parse_version(text: str) -> tuple[int, int]:
    """Return the first two numbers of a version, such as ``"6.1.0-18-amd64"``."""
    match = re.match(r"(\d+)\.(\d+)", text)
    assert match is not None, text
    return int(match[1]), int(match[2])


def needs(since: str, what: str) -> None:
    """Skip a test on kernels that are older: `conftest.py` knows the error."""
    if version() < parse_version(since):
        raise NotSupportedError(what, since)


def required() -> bool:
    """Say whether a test that cannot run for want of a privilege counts as failed."""
    return os.environ.get("PYEBPF_REQUIRE_KERNEL") == "1"


@functools.cache
def missing_privilege() -> str | None:
    """Return what keeps this process from using eBPF, in words, or ``None``."""
    status = pathlib.Path("/proc/self/status").read_text("utf-8")
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    effective = int(match[1], 16) if match else 0
    for bit, name in ((CAP_SYS_ADMIN, "CAP_SYS_ADMIN"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")):
        if not effective >> bit & 1:
            return f"{name} is missing (run as root)"
    if platform.machine() not in _SYS_BPF:
        return f"the number of bpf(2) on {platform.machine()} is not known"
    try:
        next_id(BPF_MAP_GET_NEXT_ID, 0)
    except OSError as error:
        return f"bpf(2) is refused: {error.strerror}"
    return None


def hides_addresses() -> bool:
    """Say whether processes without CAP_SYSLOG are shown no addresses of the kernel."""
    settings = pathlib.Path("/proc/sys/kernel")
    shown = (settings / "kptr_restrict").read_text() == "0\n"
    return not shown or int((settings / "perf_event_paranoid").read_text()) > 1


def next_id(command: int, start: int) -> int | None:
    """Return the id of the kernel's next object after *start*, or ``None`` at the end."""
    attr = ctypes.create_string_buffer(struct.pack("=IIII", start, 0, 0, 0), 16)
    number = ctypes.c_long(_SYS_BPF[platform.machine()])
    if _libc.syscall(number, ctypes.c_int(command), attr, ctypes.c_uint(len(attr))) == 0:
        return int(struct.unpack_from("=I", attr, 4)[0])
    if ctypes.get_errno() == errno.ENOENT:
        return None
    raise _os_error()


def unshare(flags: int) -> None:
    """Move this thread into new namespaces."""
    if _libc.unshare(ctypes.c_int(flags)) != 0:
        raise _os_error()


def setns(fd: int, kind: int) -> None:
    """Move this thread into the namespace *fd*."""
    if _libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)) != 0:
        raise _os_error()


def mount(kind: str, target: pathlib.Path) -> None:
    """Mount a kernel file system."""
    path, name = os.fsencode(target), kind.encode()
    if _libc.mount(name, path, name, ctypes.c_ulong(0), None) != 0:
        raise _os_error()


def unmount(target: pathlib.Path) -> None:
    """Unmount, at once for new openers even if something is still open."""
    lazily = 2
    if _libc.umount2(os.fsencode(target), ctypes.c_int(lazily)) != 0:
        raise _os_error()


def mount_points(kind: str) -> list[pathlib.Path]:
    """Return where file systems of this kind are mounted."""
    lines = pathlib.Path("/proc/self/mounts").read_text("utf-8").splitlines()
    return [pathlib.Path(line.split()[1]) for line in lines if line.split()[2] == kind]


def _os_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
