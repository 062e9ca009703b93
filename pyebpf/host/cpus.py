"""Which CPUs there are: possible ones (per-CPU maps have a value for each) and online ones.

In: ``/sys/devices/system/cpu/possible`` and ``online``, lists such as ``0-3,8-11``. Out: numbers.
"""

from __future__ import annotations

import contextlib
import os

from pyebpf.errors import FormatError, SyscallError
from pyebpf.sys import kernel

__all__ = ["online", "parse", "pass_over", "possible", "possible_numbers", "slots", "stamp"]

_DIRECTORY = "sys/devices/system/cpu"
_ANNOUNCEMENTS = "sys/kernel/uevent_seqnum"
# More than any kernel is built for (CONFIG_NR_CPUS), so that a broken file cannot ask for much.
_LIMIT = 1 << 16


def pass_over(cpu: int) -> bool:
    """Let this thread run on a CPU for a moment; return whether it may.

    What the kernel had begun there without preemption is done then: a program that was putting out
    a record, for one (``__perf_output_begin`` in kernel/events/ring_buffer.c).
    """
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        return False
    with contextlib.suppress(OSError):  # EINVAL: none of them is allowed any more
        os.sched_setaffinity(0, before)
    return True


def possible(root: str | None = None) -> int:
    """Return how many CPUs may ever come online: the number of values in a per-CPU map.

    Raises:
        SyscallError: The file cannot be read.
        FormatError: It makes no sense.
    """
    return len(possible_numbers(root))


def possible_numbers(root: str | None = None) -> tuple[int, ...]:
    """Return the numbers of the possible CPUs, in the order of a per-CPU map's values.

    Usually they count from 0, but numbers may be missing: the kernel stores no value for those.
    """
    return _read("possible", root)


def slots(root: str | None = None) -> int:
    """Return the highest possible CPU number plus 1: the size of an array indexed by CPU number."""
    return possible_numbers(root)[-1] + 1


def online(root: str | None = None) -> tuple[int, ...]:
    """Return the numbers of the CPUs that run now; others come and go."""
    return _read("online", root)


def stamp(root: str | None = None) -> str:
    """Return something that differs whenever CPUs have come or gone since, and at times otherwise.

    Beside those online it has the number of the kernel's announcements about devices, which tells
    of a CPU that was away for a moment. Empty where /sys does not show the CPUs.
    """
    root = root or kernel.current().root
    try:
        with open(os.path.join(root, _DIRECTORY, "online"), encoding="ascii") as file:
            found = file.read()
    except (OSError, ValueError):
        return ""
    try:
        with open(os.path.join(root, _ANNOUNCEMENTS), encoding="ascii") as file:
            return found + file.read()
    except (OSError, ValueError):
        return found


def parse(text: str) -> tuple[int, ...]:
    """Return the numbers in a kernel CPU list such as ``0-3,8``.

    Raises:
        FormatError: It is no such list, is empty, or goes beyond 65535.
    """
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(each.isascii() and each.isdigit() for each in ends):
            raise FormatError(f"not a CPU list: {text.strip()[:40]!r}")
        low, high = map(int, ends)
        if not low <= high < _LIMIT:
            raise FormatError(f"not a CPU range: {part[:40]!r}")
        numbers.update(range(low, high + 1))
    return tuple(sorted(numbers))


def _read(name: str, root: str | None) -> tuple[int, ...]:
    path = os.path.join(root or kernel.current().root, _DIRECTORY, name)
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read()
    except OSError as error:
        raise SyscallError("open", error.errno or 0, path) from None
    try:
        return parse(text)
    except FormatError as error:
        raise FormatError(error.message, path) from None
