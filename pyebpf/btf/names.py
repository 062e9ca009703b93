r"""Names of BTF types: finding strings in the string area, and types by their string's offset.

    strings      \0 int \0 task_struct \0 ...        searched as bytes, never split into objects
    name offsets one u32 per type                   searched by value

Neither is sorted, and a dict of either would take longer to build than all the searches of a load.
(An index that somebody has kept is sorted: `SortedNames`.)
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["NameIndex", "SortedNames", "Strings", "essential_name"]

# Text before the last "___" that has other characters on both sides.
_FLAVOUR = re.compile(r"(.*[^_])___[^_].*", re.DOTALL)

# From here on a string area is taken to be free of repetitions, as those of kernels are (pahole
# merges equal strings): looking for a second copy would read all of it, 1 ms for each name.
_LARGE = 1 << 20


def essential_name(name: str) -> str:
    """Return *name* without its flavour: ``"task_struct"`` for ``"task_struct___old"``.

    A flavour is what follows the last three underscores between two other characters. CO-RE
    ignores it, so that a program can describe several versions of one kernel type.
    """
    match = _FLAVOUR.fullmatch(name) if "___" in name else None
    return match[1] if match else name


class Strings:
    """A string area; places are bytes from its start.

    Attributes:
        data: The area.
    """

    __slots__ = ("_flavours", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._flavours: dict[str, list[int]] | None = None

    def at(self, start: int) -> str | None:
        """Return the string at *start*, ``None`` if that is outside the area."""
        end = self.data.find(b"\0", start)
        if end < 0:
            # A split area may be empty; offset 0 is "" even then.
            return None if start else ""
        return self.data[start:end].decode("utf-8", "surrogateescape")

    def find(self, name: str) -> Iterator[int]:
        """Yield where *name* stands; the first place only in a large area."""
        text = name.encode("utf-8", "surrogateescape")
        if b"\0" in text:
            return
        # The first string of a split area has no zero before it.
        if self.data.startswith(text + b"\0"):
            yield 0
        text = b"\0" + text + b"\0"
        place = self.data.find(text)
        while place >= 0:
            yield place + 1
            if len(self.data) >= _LARGE:
                return
            place = self.data.find(text, place + 1)

    def flavours(self) -> dict[str, list[int]]:
        """Return where the strings with a flavour stand, by their `essential_name`."""
        if self._flavours is None:
            self.use_flavours(self._with_underscores())
        assert self._flavours is not None  # set right before
        return self._flavours

    def use_flavours(self, starts: Iterable[int]) -> None:
        """Take over where the strings with a flavour stand, in order; others are left out."""
        found: dict[str, list[int]] = {}
        for start in starts:
            text = self.at(start) or ""
            name = essential_name(text)
            if name != text:
                found.setdefault(name, []).append(start)
        self._flavours = found

    def _with_underscores(self) -> Iterator[int]:
        place = self.data.find(b"___")
        while place >= 0:
            start = self.data.rfind(b"\0", 0, place) + 1
            yield start
            # On behind this string: it may be nothing but underscores.
            place = self.data.find(b"___", self.data.find(b"\0", place))


class NameIndex:
    """Name offsets by type, searched by value.

    A search for all four bytes of an offset takes 0.5 ms over a kernel's types; memchr over one
    byte of each, and a check of the hits, takes 0.05 ms.

    Attributes:
        offsets: One per type.
    """

    __slots__ = ("_columns", "offsets")

    def __init__(self, offsets: array[int]) -> None:
        self.offsets = offsets
        self._columns: dict[int, bytes] = {}

    def find(self, offset: int) -> Iterator[int]:
        """Yield the index of every entry that equals *offset*, in order."""
        # Not a byte that is 0: that would hit every anonymous type.
        number = next((n for n in range(4) if offset >> n * 8 & 0xFF), 0)
        column = self._column(number)
        byte, offsets = offset >> number * 8 & 0xFF, self.offsets
        place = column.find(byte)
        while place >= 0:
            if offsets[place] == offset:
                yield place
            place = column.find(byte, place + 1)

    def _column(self, number: int) -> bytes:
        column = self._columns.get(number)
        if column is None:
            first = number if sys.byteorder == "little" else 3 - number
            column = self._columns[number] = self.offsets.tobytes()[first::4]
        return column


class SortedNames:
    """Name offsets by type, for which somebody has sorted the types.

    Args:
        words: The type area.
        places: Where in it each type starts.
        ordered: Indices of all types, by their name's offset and then in order.
    """

    __slots__ = ("_ordered", "_places", "_words")

    def __init__(self, words: memoryview, places: Sequence[int], ordered: Sequence[int]) -> None:
        self._words = words
        self._places = places
        self._ordered = ordered

    def find(self, offset: int) -> Iterator[int]:
        """Yield the index of every type whose name is at *offset*, in order."""
        ordered, name_offset = self._ordered, self._name_offset
        at = bisect_left(ordered, offset, key=name_offset)
        while at < len(ordered) and name_offset(ordered[at]) == offset:
            yield ordered[at]
            at += 1

    def _name_offset(self, number: int) -> int:
        found: int = self._words[self._places[number]]
        return found
