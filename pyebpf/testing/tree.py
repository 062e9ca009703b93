"""The small tree that stands for ``/proc`` and ``/sys``: what `pyebpf.host` reads.

    proc/   kallsyms config.gz self/mountinfo self/status sys/kernel/osrelease …
    sys/    kernel/btf/vmlinux  kernel/tracing/events/*/*/{id,format}
            bus/event_source/devices/{kprobe,uprobe}/…  devices/system/cpu/{possible,online}

``/sys/fs/bpf`` is elsewhere, since each kernel has one of its own: see `pyebpf.testing.pins`.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyebpf.testing.c_types import Types
from pyebpf.testing.tracepoints import Tracepoint

__all__ = ["PMUS", "Tree", "remove_directory"]

PMUS = {"software": 1, "tracepoint": 2, "kprobe": 8, "uprobe": 9}
"""Numbers of perf event sources."""

_EVENTS = "sys/kernel/tracing/events"
_FIRST_ADDRESS = 0xFFFF_FFFF_8100_0000
_DISTANCE = 0x1000  # from one function to the next
_ALL_CAPABILITIES = (1 << 41) - 1


class Tree:
    """A directory with those files; nobody writes to it, so that kernels that are alike share one.

    Args:
        release: As ``uname -r`` says it.
        cpus: How many there are.
        configuration: Of the kernel: ``{"CONFIG_HZ": "250"}``.
        types: The kernel's types and functions; BTF is shown only with *btf*.
        tracepoints: Its tracepoints.
        btf: Whether the kernel shows its types.

    Attributes:
        root: Where it is.
    """

    def __init__(
        self,
        *,
        release: str,
        cpus: int,
        configuration: Mapping[str, str],
        types: Types,
        tracepoints: Sequence[Tracepoint],
        btf: bool,
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="pyebpf-fake-kernel-", dir=_memory()))
        # At the end of the process that made it, not of its children.
        self._remove = weakref.finalize(self, remove_directory, str(self.root), os.getpid())
        self._write("proc/sys/kernel/osrelease", f"{release}\n")
        self._write("proc/sys/kernel/version", "#1 SMP\n")
        self._write("proc/sys/kernel/unprivileged_bpf_disabled", "2\n")
        self._write("proc/sys/kernel/perf_event_paranoid", "2\n")
        self._write("proc/self/status", f"CapEff:\t{_ALL_CAPABILITIES:016x}\n")
        self._write("proc/self/mountinfo", _mounts())
        self._addresses = _addresses(types.functions)
        symbols = (f"{address:016x} T {name}\n" for name, address in self._addresses.items())
        self._write("proc/kallsyms", "".join(symbols))
        text = "".join(f"{name}={value}\n" for name, value in configuration.items())
        self._write("proc/config.gz", gzip.compress(text.encode(), 1, mtime=0))
        numbers = f"0-{cpus - 1}\n" if cpus > 1 else "0\n"
        for name in ("possible", "present", "online"):
            self._write(f"sys/devices/system/cpu/{name}", numbers)
        if btf:
            self._write("sys/kernel/btf/vmlinux", types.encode())
        self._write_pmus()
        for each in tracepoints:
            directory = f"{_EVENTS}/{each.category}/{each.name}"
            self._write(f"{directory}/id", f"{each.id}\n")
            self._write(f"{directory}/format", each.format)

    def address(self, function: str) -> int:
        """Return where a function of the kernel is, as ``/proc/kallsyms`` says."""
        return self._addresses[function]

    def has_function(self, name: str) -> bool:
        """Whether there is a function of this name."""
        return name in self._addresses

    def function_at(self, address: int) -> tuple[str, int] | None:
        """Return the function that an address is in, and how far from its start."""
        offset = address % _DISTANCE
        for name, start in self._addresses.items():
            if start == address - offset:
                return name, offset
        return None

    def remove(self) -> None:
        """Remove everything; otherwise that happens when nobody uses it any more."""
        self._remove()

    def _write_pmus(self) -> None:
        devices = "sys/bus/event_source/devices"
        for name, number in PMUS.items():
            self._write(f"{devices}/{name}/type", f"{number}\n")
        for name in ("kprobe", "uprobe"):
            self._write(f"{devices}/{name}/format/retprobe", "config:0\n")
        self._write(f"{devices}/uprobe/format/ref_ctr_offset", "config:32-63\n")

    def _write(self, path: str, data: str | bytes) -> None:
        target = f"{self.root}/{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)


# Where files cost no disk, if the machine has such a place.
def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None


def remove_directory(path: str, owner: int) -> None:
    """Remove a directory with all that is in it, but not in a child of process *owner*."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


# Besides the functions with types, those by which the library tells what a kernel is like.
def _addresses(functions: list[str]) -> dict[str, int]:
    wrapper = {"x86_64": "__x64_sys_bpf", "aarch64": "__arm64_sys_bpf", "s390x": "__s390x_sys_bpf"}
    more = ["bpf_prog_put", wrapper.get(os.uname().machine, "sys_bpf")]
    return {
        name: _FIRST_ADDRESS + _DISTANCE * number for number, name in enumerate([*functions, *more])
    }


def _mounts() -> str:
    points = (
        ("proc", "proc"),
        ("sysfs", "sys"),
        ("tracefs", "sys/kernel/tracing"),
        ("bpf", "sys/fs/bpf"),
        ("cgroup2", "sys/fs/cgroup"),
    )
    return "".join(
        f"{number} 1 0:{number} / /{point} rw - {kind} {kind} rw\n"
        for number, (kind, point) in enumerate(points, 20)
    )
