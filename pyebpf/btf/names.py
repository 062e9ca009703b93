r"""Names of BTF types: finding strings in the string area, and types by their string's offset.

    strings      \0 int \0 task_struct \0 ...        searched as bytes, never split into objects
    type area    words, some of which are names     searched by value: `NameSearch`
    name offsets one u32 per type                   searched by value: `NameIndex`

None is sorted, and a dict of any would take longer to build than all the searches of a load. (An
index that somebody has kept is sorted: `SortedNames`.)
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from mmap import mmap
from operator import itemgetter

from pyebpf.btf.places import PIECE, Places

__all__ = [
    "LARGE", "NameIndex", "NameSearch", "SortedNames", "Strings", "essential_name", "name_offsets",
]  # fmt: skip

# From here on a string area is taken to be free of repetitions, as those of kernels are (pahole
# merges equal strings): looking for a second copy would read all of it, 1 ms for each name.
LARGE = 1 << 20

# How many names are searched for among all words (0.5 ms each, and 1 ms before the first) before
# the index of all types is made (16 ms).
_SEARCHES = 32


def essential_name(name: str) -> str:
    """Return *name* without its flavour: ``"task_struct"`` for ``"task_struct___old"``.

    A flavour is what follows the last three underscores between two other characters. CO-RE
    ignores it, so that a program can describe several versions of one kernel type.
    """
    # Text before the last "___" that has other characters on both sides.
    at = name.rfind("___")
    while at > 0:
        if name[at - 1] != "_" and name[at + 3 : at + 4] not in ("", "_"):
            return name[:at]
        at = name.rfind("___", 0, at + 2)
    return name


class Strings:
    """A string area; places are bytes from its start.

    Args:
        data: What holds the area. It is searched where it is: a copy of a kernel's takes longer
            than the searches of a load.
        start: Where in *data* it starts.
        end: Where it ends.
    """

    __slots__ = ("_data", "_end", "_flavours", "_start")

    def __init__(self, data: bytes | mmap, start: int = 0, end: int | None = None) -> None:
        self._data = data
        self._start = start
        self._end = len(data) if end is None else end
        self._flavours: dict[str, list[int]] | None = None

    def __len__(self) -> int:
        return self._end - self._start

    def at(self, start: int) -> str | None:
        """Return the string at *start*, ``None`` if that is outside the area."""
        place = self._start + start
        end = self._data.find(b"\0", place, self._end)
        if end < 0:
            # A split area may be empty; offset 0 is "" even then.
            return None if start else ""
        return self._data[place:end].decode("utf-8", "surrogateescape")

    def find(self, name: str) -> Iterator[int]:
        """Yield where *name* stands; the first place only in a large area."""
        text = name.encode("utf-8", "surrogateescape")
        if b"\0" in text:
            return
        data, start, end = self._data, self._start, self._end
        # The first string of a split area has no zero before it.
        if data[start : min(start + len(text) + 1, end)] == text + b"\0":
            yield 0
        text = b"\0" + text + b"\0"
        place = data.find(text, start, end)
        while place >= 0:
            yield place + 1 - start
            if end - start >= LARGE:
                return
            place = data.find(text, place + 1, end)

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
        data, first, end = self._data, self._start, self._end
        place = data.find(b"___", first, end)
        while place >= 0:
            # -1 where the first string of a split area is it.
            yield max(data.rfind(b"\0", first, place) + 1 - first, 0)
            # On behind this string: it may be nothing but underscores.
            place = data.find(b"___", data.find(b"\0", place, end), end)


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
        column = self._columns.get(number)
        if column is None:
            first = number if sys.byteorder == "little" else 3 - number
            column = self._columns[number] = self.offsets.tobytes()[first::4]
        return _equal(self.offsets, column, offset, number)


class NameSearch:
    """The types of one name, looked for among all words of a large type area.

    A word of that value is a name, or else a member's name, a number, a size. What follows the name
    of a type is its kind, and behind nearly all of the others there is none; the few that are left
    are types if one starts there, which `Places` knows. So no more types are walked than up to the
    last hit: for a handful of names that is done before an index of all types would be.

    Args:
        words: The type area.
        column: Makes a bytes object of the bytes of that number, from the lowest, of all words.
        places: Of the types.
    """

    __slots__ = ("_column", "_columns", "_index", "_left", "_places", "_words")

    def __init__(self, words: memoryview, column: Callable[[int], bytes], places: Places) -> None:
        self._words = words
        self._column = column
        self._columns: dict[int, bytes] = {}
        self._places = places
        self._index: NameIndex | None = None
        self._left = _SEARCHES

    def find(self, offset: int) -> Iterator[int]:
        """Yield the index of every type whose name is at *offset*, in order.

        Raises:
            BtfError: Malformed types, as far as they were looked at.
        """
        # Zeros are everywhere.
        if self._index is None and self._left and offset:
            self._left -= 1
            return self._search(offset)
        if self._index is None:
            self._columns.clear()
            self._index = NameIndex(name_offsets(self._words, self._places.all()))
        return self._index.find(offset)

    def _search(self, offset: int) -> Iterator[int]:
        # Where members are, in bits, is mostly a multiple of 8: their lowest byte is among few.
        number = 0 if offset & 7 or offset >> 8 & 0xFF < 8 else 1
        column = self._columns.get(number)
        if column is None:
            column = self._columns[number] = self._column(number)
        for place in _equal(self._words, column, offset, number):
            if place + 1 < len(self._words) and self._words[place + 1] >> 24 & 0x7F:
                found = self._places.number_at(place)
                if found is not None:
                    yield found


def name_offsets(words: memoryview, places: array[int]) -> array[int]:
    """Return the name offset of every type."""
    names = array("I")
    # In one C call a piece, half as long as in a loop. 0 makes a single one a tuple.
    for start in range(0, len(places), PIECE):
        piece = places[start : start + PIECE]
        names.extend(array("I", itemgetter(*piece, 0)(words)))
        names.pop()
    return names


# Of *values*, whose bytes of that number are *column*.
def _equal(values: Sequence[int], column: bytes, wanted: int, number: int) -> Iterator[int]:
    byte = wanted >> number * 8 & 0xFF
    place = column.find(byte)
    while place >= 0:
        if values[place] == wanted:
            yield place
        place = column.find(byte, place + 1)


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
