"""What a reader has seen so far: `ReaderStats`, and `CpuStats` for the perf kind."""

from __future__ import annotations

from pyebpf.plain import plain, replace

__all__ = ["CpuStats", "ReaderStats", "Tally"]


@plain(frozen=True, kw_only=True)
class CpuStats:
    """One CPU's ring of a `PerfReader`; the numbers mean what they mean in `ReaderStats`."""

    cpu: int
    received: int
    lost: int
    unknown: int
    bytes: int


@plain(frozen=True, kw_only=True)
class ReaderStats:
    """Totals since the reader was made.

    Attributes:
        received: Records taken out of the rings, including those read ahead that the caller has
            not got yet.
        lost: Records the kernel dropped because a ring was full, or ``None`` where that cannot be
            known: a BPF ring buffer does not count them, the program sees it and must.
        unknown: Records of another kind than data and losses, and malformed ones: also those that
            were received, and are not what ``record=`` or a dtype says.
        bytes: Bytes taken out of the rings, headers and padding included.
        wakeups: How often a sleep of this reader ended because there was something to read.
        per_cpu: One entry per CPU that is read, for perf; empty for a BPF ring buffer.
    """

    received: int
    lost: int | None
    unknown: int
    bytes: int
    wakeups: int
    per_cpu: tuple[CpuStats, ...] = ()

    def plus_unknown(self, number: int) -> ReaderStats:
        """Return the same with *number* more of `unknown`."""
        return replace(self, unknown=self.unknown + number)


class Tally:
    """A number that grows.

    Attributes:
        number: So far.
    """

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def add(self, number: int = 1) -> None:
        """Count more."""
        self.number += number
