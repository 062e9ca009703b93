"""System call numbers that differ by architecture: bpf(2) and perf_event_open(2).

In: the machine's name and the width of our own pointers. Out: numbers for `syscall`. Only the
x86-64 and arm64 rows have run; the others are the kernel's tables.
"""

from __future__ import annotations

import os
import sys

from pyebpf.errors import NotSupportedError
from pyebpf.typed import NamedTuple

__all__ = ["Numbers", "numbers"]


class Numbers(NamedTuple):
    """The numbers of one architecture."""

    bpf: int
    perf_event_open: int


_GENERIC = Numbers(280, 241)  # include/uapi/asm-generic/unistd.h
_BY_MACHINE = {
    "x86_64": Numbers(321, 298),
    "i386": Numbers(357, 336),
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "loongarch64": _GENERIC,
    "arm": Numbers(386, 364),
    "ppc64": Numbers(361, 319),
    "ppc64le": Numbers(361, 319),
    "s390x": Numbers(351, 331),
    "sparc64": Numbers(349, 327),
    "mips": Numbers(4355, 4333),
    "mips64": Numbers(5315, 5292),
}
# A 32-bit Python on a 64-bit kernel uses the 32-bit table.
_NARROW = {"x86_64": "i386", "aarch64": "arm", "mips64": "mips"}


def numbers(machine: str | None = None, *, wide: bool = sys.maxsize > 1 << 32) -> Numbers:
    """Return the numbers for *machine*, by default the one we run on.

    Args:
        machine: As ``uname -m`` says.
        wide: Whether this process has 64-bit pointers.

    Raises:
        NotSupportedError: An architecture we have no numbers for.
    """
    name = machine or os.uname().machine
    if name.startswith("armv"):
        name = "arm"
    elif name in ("i486", "i586", "i686"):
        name = "i386"
    if not wide:
        name = _NARROW.get(name, name)
    try:
        return _BY_MACHINE[name]
    except KeyError:
        raise NotSupportedError(f"bpf(2) on {name}") from None
