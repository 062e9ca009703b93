"""Histograms of a map, printed as people know them from bcc.

         usecs               : count    distribution
             0 -> 1          : 12       |*****                                   |
             2 -> 3          : 90       |****************************************|

In: slots with counts: a map whose keys are slot numbers (of an array or hash; per-CPU values are
summed up), or any mapping. In a log2 histogram slot n counts values from 2**(n-1) to
2**n - 1, as bcc's ``bpf_log2l`` numbers them; in a linear one slot n counts the value n. Out: text.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyebpf.maps.map import Map
from pyebpf.typed import TypeAlias

__all__ = ["linear_histogram", "log2_histogram", "log2_slot"]

Slots: TypeAlias = "Map[int, int] | Map[int, list[int]] | Mapping[int, int | list[int]]"

_STARS = 40
# Values of more than this many bits need more room.
_NARROW = 32


def log2_slot(value: int) -> int:
    """Return the slot of a log2 histogram that a value belongs to, as ``bpf_log2l`` does.

    0 is in slot 1 as 1 is; 2 and 3 are in slot 2; 4 to 7 in slot 3.
    """
    return max(value, 1).bit_length()


def log2_histogram(slots: Slots, *, unit: str = "value", strip_leading_zeros: bool = False) -> str:
    """Return a histogram by powers of two, as text of several lines; empty without counts.

    Args:
        slots: Counts by slot.
        unit: What the values are, as heading: ``"usecs"``.
        strip_leading_zeros: Leave out the empty slots before the first that is not.
    """
    counts = _counts(slots)
    last = _last(counts)
    if last < 1:
        return ""
    wide = last > _NARROW
    indent, width, digits, stars = (15, 29, 20, _STARS // 2) if wide else (5, 19, 10, _STARS)
    lines = [f"{'':{indent}}{unit:<{width}} : count     distribution"]
    for slot in _shown(counts, 1, last, strip_leading_zeros):
        low, high = (1 << slot) >> 1, (1 << slot) - 1
        low = 0 if low == high else low
        lines.append(f"{low:>{digits}} -> {high:<{digits}} : {_bar(counts, slot, stars)}")
    return "\n".join(lines)


def linear_histogram(
    slots: Slots, *, unit: str = "value", strip_leading_zeros: bool = False
) -> str:
    """Return a histogram by values, as text of several lines; empty without counts.

    Args:
        slots: Counts by value.
        unit: What the values are, as heading.
        strip_leading_zeros: Leave out the empty slots before the first that is not.
    """
    counts = _counts(slots)
    last = _last(counts)
    if last < 0:
        return ""
    lines = [f"     {unit:<13} : count     distribution"]
    shown = _shown(counts, 0, last, strip_leading_zeros)
    lines += [f"        {slot:<10} : {_bar(counts, slot, _STARS)}" for slot in shown]
    return "\n".join(lines)


def _counts(slots: Slots) -> dict[int, int]:
    counts: dict[int, int] = {}
    for slot, count in slots.items():
        counts[slot] = sum(count) if isinstance(count, list) else count
    return counts


def _last(counts: Mapping[int, int]) -> int:
    return max((slot for slot, count in counts.items() if count > 0), default=-1)


def _shown(counts: Mapping[int, int], first: int, last: int, strip: bool) -> range:
    if strip:
        first = min(slot for slot, count in counts.items() if count > 0 and slot >= first)
    return range(first, last + 1)


def _bar(counts: Mapping[int, int], slot: int, width: int) -> str:
    count = counts.get(slot, 0)
    stars = "*" * (width * count // max(counts.values()))
    return f"{count:<8} |{stars:<{width}}|"
