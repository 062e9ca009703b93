"""Where types start in the type area: found by going from one to the next, as far as is asked.

    words   | name info size  … | name info size | name info size  …… | name …
    places    0                   7                10                   19

A kernel has 130 000 types, which takes 12 ms. Most of them are functions and stand at the end; what
CO-RE asks for is among the first 20 000. So a large area is walked in pieces.
"""

from __future__ import annotations

from _thread import allocate_lock
from array import array
from bisect import bisect_left
from collections.abc import Sequence

from pyebpf.errors import BtfError
from pyebpf.uapi.btf import BtfKind

__all__ = ["PIECE", "Places"]

# Words that are walked at once, 2500 types. Python's numbers of one piece lie where those of the
# last did, in the processor's cache; all of a kernel's at once would take 9 MB, whose pages cost as
# much as the walk.
PIECE = 1 << 14

# Words after the three every type has: (fixed, per element).
_EXTRA_WORDS: dict[int, tuple[int, int]] = {
    BtfKind.INT: (1, 0),
    BtfKind.PTR: (0, 0),
    BtfKind.ARRAY: (3, 0),
    BtfKind.STRUCT: (0, 3),
    BtfKind.UNION: (0, 3),
    BtfKind.ENUM: (0, 2),
    BtfKind.FWD: (0, 0),
    BtfKind.TYPEDEF: (0, 0),
    BtfKind.VOLATILE: (0, 0),
    BtfKind.CONST: (0, 0),
    BtfKind.RESTRICT: (0, 0),
    BtfKind.FUNC: (0, 0),  # its vlen is the linkage
    BtfKind.FUNC_PROTO: (0, 2),
    BtfKind.VAR: (1, 0),
    BtfKind.DATASEC: (0, 3),
    BtfKind.FLOAT: (0, 0),
    BtfKind.DECL_TAG: (1, 0),
    BtfKind.TYPE_TAG: (0, 0),
    BtfKind.ENUM64: (0, 3),
}


class Places:
    """The place of every type, in words of the type area, by its number from 0.

    May be shared between threads.

    Args:
        words: The type area.
        layout: Sizes of kinds that we do not know, see `pyebpf.btf.decode.read_layout`.
        first_id: Of the first type, for messages.

    Attributes:
        found: Those that are known so far.
    """

    __slots__ = ("_first_id", "_layout", "_lock", "_next", "_steps", "_words", "found")

    def __init__(self, words: memoryview, layout: Sequence[tuple[int, int]], first_id: int) -> None:
        self.found: array[int] = array("I")
        self._words = words
        self._layout = layout
        self._first_id = first_id
        self._next = 0  # where the first type starts that is not known
        self._steps: dict[int, int] = {}
        self._lock = allocate_lock()

    def all(self) -> array[int]:
        """Return all.

        Raises:
            BtfError: A type of unknown kind and size, or one that ends outside the area.
        """
        while self._more():
            pass
        return self.found

    def reach(self, number: int) -> bool:
        """Look for types until this one is found; false if there is none of this number.

        Raises:
            BtfError: As of `all`.
        """
        while number >= len(self.found):
            if not self._more():
                return False
        return True

    def number_at(self, place: int) -> int | None:
        """Return the number of the type that starts at *place*, ``None`` if none does.

        Raises:
            BtfError: As of `all`.
        """
        while place >= self._next and self._more():
            pass
        number = bisect_left(self.found, place)
        at = number < len(self.found) and self.found[number] == place
        return number if at else None

    def _more(self) -> bool:
        # Walks another piece; false if there is none.
        with self._lock:
            if self._next >= len(self._words):
                return False
            piece, place = self._walk(self._next)
            self.found.fromlist(piece)
            self._next = place  # last: who reads it without the lock looks at `found` then
            return True

    # The one loop that runs for each of a kernel's types. Among its 130 000 there are a few hundred
    # different infos, so how far it is to the next type is one look into a dict.
    def _walk(self, place: int) -> tuple[list[int], int]:
        piece: list[int] = []
        append, steps = piece.append, self._steps
        infos = self._words[1:]
        end = len(self._words)
        stop = min(place + PIECE, end)
        try:
            while place < stop:
                append(place)
                try:
                    place += steps[infos[place]]
                except KeyError:
                    info = infos[place]
                    steps[info] = _step(info, self._layout)
                    place += steps[info]
        except IndexError:
            place = end + 1
        except BtfError as error:
            place_of = f"{self._name_last(piece)}, offset 0x{place * 4:x}"
            raise BtfError(error.message, place_of) from None
        if place > end:
            raise BtfError("ends outside the type area", self._name_last(piece))
        return piece, place

    def _name_last(self, piece: Sequence[int]) -> str:
        return f"type {self._first_id + len(self.found) + len(piece) - 1}"


def _step(info: int, layout: Sequence[tuple[int, int]]) -> int:
    # Words a type takes.
    kind, count = info >> 24 & 0x7F, info & 0xFFFFFF
    if kind in _EXTRA_WORDS:
        fixed, element = _EXTRA_WORDS[kind]
    elif kind and kind < len(layout):
        # Another file's idea of a kind we do not know: bytes, for us whole words only.
        sizes = layout[kind]
        if sizes[0] % 4 or sizes[1] % 4:
            raise BtfError(f"layout of unknown kind {kind} is not in whole words")
        fixed, element = sizes[0] // 4, sizes[1] // 4
    else:
        raise BtfError(f"unknown kind {kind}")
    return 3 + fixed + element * count
