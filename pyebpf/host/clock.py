"""What the time was when a program read the kernel's clock, and the other way round.

    bpf_ktime_get_ns()         CLOCK_MONOTONIC     stands still while the machine sleeps
    bpf_ktime_get_boot_ns()    CLOCK_BOOTTIME      does not
    bpf_ktime_get_tai_ns()     CLOCK_TAI
    bpf_jiffies64()            jiffies             ticks, CONFIG_HZ of them in a second

In: nanoseconds of such a clock. Out: wall-clock time. The two are compared now, by reading the wall
clock between two readings of the other and taking the closest of several tries. So boot time is
exact as long as nobody has set the wall clock meanwhile; monotonic time only since the machine last
woke up, as nobody knows any more how long it slept.
"""

from __future__ import annotations

import enum
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pyebpf.errors import FormatError, SyscallError
from pyebpf.sys import kernel

__all__ = [
    "KtimeClock",
    "boot_ns",
    "datetime_to_ktime",
    "jiffies",
    "ktime_to_datetime",
    "ktime_to_unix_ns",
    "monotonic_ns",
    "unix_ns_to_ktime",
]

_TRIES = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_JIFFIES = re.compile(rb"^(?:jiffies:|timestamp) *(\d+)$", re.MULTILINE)


class KtimeClock(enum.Enum):
    """Which of the kernel's clocks a number is from, by the helper that read it."""

    MONOTONIC = "monotonic"  # bpf_ktime_get_ns, bpf_ktime_get_coarse_ns, perf's use_clockid
    BOOT = "boot"  # bpf_ktime_get_boot_ns
    TAI = "tai"  # bpf_ktime_get_tai_ns


_NUMBERS = {
    KtimeClock.MONOTONIC: time.CLOCK_MONOTONIC,
    KtimeClock.BOOT: time.CLOCK_BOOTTIME,
    KtimeClock.TAI: time.CLOCK_TAI,
}


def ktime_to_unix_ns(ns: int, *, clock: KtimeClock = KtimeClock.MONOTONIC) -> int:
    """Return the wall-clock time, in nanoseconds since 1970, of a reading of the kernel's clock.

    Args:
        ns: The reading.
        clock: Which clock; monotonic is exact since the machine last woke up only.
    """
    return ns + _offset(clock)


def unix_ns_to_ktime(ns: int, *, clock: KtimeClock = KtimeClock.MONOTONIC) -> int:
    """Return what the kernel's clock showed (or will) at a wall-clock time.

    Args:
        ns: Nanoseconds since 1970.
        clock: Which clock.
    """
    return ns - _offset(clock)


def ktime_to_datetime(ns: int, *, clock: KtimeClock = KtimeClock.MONOTONIC) -> datetime:
    """Return the time of a reading of the kernel's clock: aware, in UTC, in whole microseconds.

    Args:
        ns: The reading.
        clock: Which clock; monotonic is exact since the machine last woke up only.
    """
    return _EPOCH + timedelta(microseconds=ktime_to_unix_ns(ns, clock=clock) // 1000)


def datetime_to_ktime(when: datetime, *, clock: KtimeClock = KtimeClock.MONOTONIC) -> int:
    """Return what the kernel's clock showed (or will) at a time.

    Args:
        when: Aware.
        clock: Which clock.

    Raises:
        ValueError: *when* is naive: it says no time zone.
    """
    if when.tzinfo is None:
        raise ValueError(f"{when} has no time zone")
    passed = when - _EPOCH
    microseconds = (passed.days * 86400 + passed.seconds) * 1_000_000 + passed.microseconds
    return unix_ns_to_ktime(microseconds * 1000, clock=clock)


def monotonic_ns() -> int:
    """Return what ``bpf_ktime_get_ns`` would now."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def boot_ns() -> int:
    """Return what ``bpf_ktime_get_boot_ns`` would now."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def jiffies(root: str | None = None) -> int:
    """Return what ``bpf_jiffies64`` would now, give or take a tick.

    Args:
        root: The directory that stands for ``/``.

    Raises:
        SyscallError: Neither ``/proc/timer_list`` (for root) nor ``/proc/schedstat`` is there.
        FormatError: It does not say.
    """
    top = Path(root or kernel.current().root, "proc")
    for path in (top / "timer_list", top / "schedstat"):
        try:
            with path.open("rb") as file:
                text = file.read()
        except OSError as error:
            problem = SyscallError("open", error.errno or 0, str(path))
            continue
        found = _JIFFIES.search(text)
        if found is None:
            raise FormatError("no jiffies", str(path))
        return int(found[1])
    raise problem


def _offset(clock: KtimeClock) -> int:
    number = _NUMBERS[clock]
    best = None
    for _ in range(_TRIES):
        before = time.clock_gettime_ns(number)
        now = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(number)
        if best is None or after - before < best[0]:
            best = (after - before, now - (before + after) // 2)
    assert best is not None
    return best[1]
