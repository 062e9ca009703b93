"""Dynamic perf event sources: the numbers under ``/sys/bus/event_source/devices``.

In: a PMU's name, ``"uprobe"`` or ``"kprobe"``; out: its perf event type and where in the attr its
options go. ``format/retprobe`` holds ``config:0`` for "bit 0 of config", ``format/ref_ctr_offset``
holds ``config:32-63``.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyebpf.errors import FormatError, NotSupportedError, SyscallError
from pyebpf.sys import kernel
from pyebpf.typed import NamedTuple

__all__ = ["Bits", "Pmu", "probe"]

_BITS = re.compile(r"(config[0-9]?):(\d+)(?:-(\d+))?")
# perf_kprobe and perf_uprobe came with Linux 4.17, ref_ctr_offset with 4.20.
_SINCE = {"kprobe": "4.17", "uprobe": "4.17"}


class Bits(NamedTuple):
    """A range of bits of one of perf_event_attr's config words, both ends included."""

    word: str
    low: int
    high: int

    def place(self, value: int) -> int:
        """Return *value* at its place in the word.

        Raises:
            ValueError: It does not fit.
        """
        if not 0 <= value < 1 << (self.high - self.low + 1):
            raise ValueError(f"{value} does not fit {self.word}:{self.low}-{self.high}")
        return value << self.low


class Pmu(NamedTuple):
    """A source of probe events.

    Attributes:
        type: For ``perf_event_attr.type``.
        config: For ``perf_event_attr.config``: the bit that asks for return probes, if asked for.
        reference_counter: Where a uprobe's semaphore offset goes in ``config``, or ``None``.
    """

    type: int
    config: int
    reference_counter: Bits | None


def probe(name: str, *, retprobe: bool = False, root: str | None = None) -> Pmu:
    """Return the source of ``"kprobe"`` or ``"uprobe"`` events.

    Args:
        name: The PMU.
        retprobe: For events at the function's return.
        root: The directory that stands for ``/``.

    Raises:
        NotSupportedError: This kernel has no such PMU.
        FormatError: Its files make no sense.
    """
    directory = Path(root or kernel.current().root, "sys/bus/event_source/devices", name)
    number = _text(directory / "type")
    if number is None:
        raise NotSupportedError(f"{name} perf events", _SINCE.get(name))
    if not number.isdecimal():
        raise FormatError(f"not a number: {number[:40]!r}", str(directory / "type"))
    config = 0
    if retprobe:
        bits = _bits(directory / "format/retprobe")
        if bits is None:
            raise NotSupportedError(f"return probes of {name} perf events", _SINCE.get(name))
        config = bits.place(1)
    return Pmu(int(number), config, _bits(directory / "format/ref_ctr_offset"))


def _bits(path: Path) -> Bits | None:
    text = _text(path)
    if text is None:
        return None
    match = _BITS.fullmatch(text)
    if not match or not int(match[2]) <= int(match[3] or match[2]) < 64:
        raise FormatError(f"not a range of bits: {text[:40]!r}", str(path))
    return Bits(match[1], int(match[2]), int(match[3] or match[2]))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SyscallError("open", error.errno or 0, str(path)) from None
