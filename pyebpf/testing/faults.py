"""Failures on demand: the n-th call of a kind fails with an errno of the test's choice."""

from __future__ import annotations

from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import Cmd

__all__ = ["CALLS", "Faults"]

CALLS = frozenset(
    {"perf_event_open", "ioctl", "mmap", "open", "read", "setsockopt", "socket", "rtnetlink"}
)
"""What may fail besides the commands of bpf(2)."""


class _Fault:
    def __init__(self, number: int, after: int, times: int | None) -> None:
        self.number = number
        self.after = after
        self.times = times


class Faults:
    """What is to fail."""

    def __init__(self) -> None:
        self._faults: dict[Cmd | str, list[_Fault]] = {}

    def add(self, call: Cmd | str, number: int, *, after: int, times: int | None) -> None:
        """Let calls fail; arguments as for `FakeKernel.fail`."""
        if not isinstance(call, Cmd) and call not in CALLS:
            known = ", ".join(sorted(CALLS))
            raise ValueError(f"not a command of bpf(2), nor one of {known}: {call!r}")
        if number <= 0 or after < 0 or (times is not None and times < 1):
            raise ValueError("a fault takes an errno, after >= 0 and times >= 1 or None")
        self._faults.setdefault(call, []).append(_Fault(number, after, times))

    def clear(self) -> None:
        """Forget all of them."""
        self._faults.clear()

    def check(self, call: Cmd | str) -> None:
        """Count a call.

        Raises:
            Refused: It is to fail.
        """
        faults = self._faults.get(call)
        if not faults:
            return
        for fault in faults:
            if fault.after:
                fault.after -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if not fault.times:
                    faults.remove(fault)
            raise Refused(fault.number, "made to fail by the test")
