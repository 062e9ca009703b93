"""Records as rings give them: many at a time, in one stretch of memory. Pure.

    data   |head|payload|pad|head|payload|pad|...      as it lies in the ring
    shape  a `Run`: equal records at equal distances   or `Spans`: a start and an end per payload

Most rings hold records of one size, and then nothing need be done per record: whether they are
equal is one comparison (`alike`), and what walks over them is a C iterator. A `Cursor` is a place
in a block that knows how many records are left, so that reading can stop and go on anywhere.
"""

from __future__ import annotations

import functools
import itertools
import operator
import struct
from collections import deque
from collections.abc import Callable, Iterator

from pyebpf.errors import FormatError
from pyebpf.typed import Any, NamedTuple

__all__ = [
    "Alike",
    "Block",
    "Cursor",
    "Entry",
    "Few",
    "Room",
    "Run",
    "Spans",
    "alike",
    "cursor",
    "spaced",
]

Buffer = bytes | memoryview
Alike = Callable[["memoryview[int]", int, int, int], int]


class Run(NamedTuple):
    """Records of one length at equal distances.

    Attributes:
        first: Offset of the first payload.
        length: Bytes of each payload.
        stride: Bytes from one to the next.
        number: How many.
    """

    first: int
    length: int
    stride: int
    number: int


class Spans(NamedTuple):
    """Records of any lengths.

    Attributes:
        starts: Offsets of the payloads.
        ends: Offsets behind them.
    """

    starts: list[int]
    ends: list[int]

    @property
    def number(self) -> int:
        """How many."""
        return len(self.ends)


class Block(NamedTuple):
    """A stretch of a ring.

    Attributes:
        data: The bytes, headers included: of a run ``number * stride``.
        shape: Where the payloads are.
        ring: Number of the map it is from, of a reader of several.
    """

    data: Buffer
    shape: Run | Spans
    ring: int = 0

    @property
    def number(self) -> int:
        """How many records it holds."""
        return self.shape.number

    def slices(self) -> Iterator[slice]:
        """Iterate over where the payloads are."""
        if isinstance(self.shape, Run):
            return iter(_slices(*self.shape))
        return map(slice, *self.shape)

    def payloads(self) -> list[Buffer]:
        """Return the payloads: all at once is quicker than one by one."""
        data, shape, _ = self
        if isinstance(shape, Run):
            return _payloads(data, shape)
        return [data[start:end] for start, end in zip(*shape)]  # noqa: B905 - of one length

    def rest(self, left: int) -> Block:
        """Return the last *left* records."""
        if not isinstance(self.shape, Run):
            skipped = self.shape.number - left
            return self._replace(shape=Spans(*(each[skipped:] for each in self.shape)))
        skipped = (self.shape.number - left) * self.shape.stride
        return self._replace(data=self.data[skipped:], shape=self.shape._replace(number=left))


class Few(list[bytes]):
    """A few records of a reader's only ring, each copied by itself: what most wake-ups find."""

    __slots__ = ()

    def block(self) -> Block:
        """Return them in one stretch."""
        ends = list(itertools.accumulate(map(len, self)))
        return Block(b"".join(self), Spans([0, *ends][:-1], ends))


class Room:
    """Memory that chunks are copied to, one behind the other.

    Args:
        memory: Writable bytes.
        alike: The way to compare records, see `alike`.

    Attributes:
        memory: As given.
        alike: As given.
        left: How many bytes of it are not filled.
    """

    __slots__ = ("_used", "alike", "left", "memory")

    def __init__(self, memory: memoryview[int], alike: Alike) -> None:
        self.memory = memory
        self.alike = alike
        self._used = 0
        self.left = len(memory)

    def take(self, size: int) -> memoryview[int]:
        """Return the next *size* bytes."""
        start = self._used
        self._used = end = start + size
        self.left -= size
        return self.memory[start:end]

    def untake(self, size: int) -> None:
        """Give the last *size* bytes back."""
        self._used -= size
        self.left += size


class Cursor:
    """A place in a block.

    Args:
        block: Where; or the few records themselves, which may still be to come.
        records: Iterates over what is made of its records.
        source: The iterator that *records* takes from, with a ``__length_hint__``.
        back: Records that were taken from *source* and come again.
        again: The records are decoded already, by a call that was interrupted; *block* is empty.
    """

    __slots__ = ("_back", "_source", "_taken", "again", "block", "records")

    def __init__(
        self,
        block: Block | Few,
        records: Iterator[Any],
        source: Iterator[Any],
        back: list[Any] | None = None,
        *,
        again: bool = False,
    ) -> None:
        self.again = again
        self.block = block
        self.records = records
        self._source = source
        self._back: list[Any] = [] if back is None else back
        self._taken: list[Any] = []

    @property
    def left(self) -> int:
        """How many records have not been taken."""
        return operator.length_hint(self._source) + len(self._back)

    def take_rest(self) -> Block:
        """Take them all, so that whoever iterates comes to the end, and return their block.

        The same once more if that was interrupted.
        """
        # Another thread that iterates must not have one of them too, and no call may be between
        # these, behind which a signal handler could raise.
        self._taken += self._back
        del self._back[:]
        self._taken += self._source
        left = len(self._taken)
        block = self.block if isinstance(self.block, Block) else self.block.block()
        return block if left == block.number else block.rest(left)

    def drop(self) -> None:
        """Take them all, so that whoever iterates comes to the end."""
        self._back.clear()
        deque(self._source, maxlen=0)


Entry = Block | Cursor
"""What waits to be read, in the queue of a reader."""


def cursor(
    block: Block | Few,
    decode: Callable[[Any], Any] | None = None,
    spoilt: Callable[[], object] | None = None,
) -> Cursor:
    """Return a cursor over what *decode* makes of the payloads of *block*.

    Args:
        block: The records.
        decode: Given each payload; ``None`` leaves them as they are.
        spoilt: Called for each that *decode* says to be malformed, by `FormatError`.
    """
    payloads = iter(block if isinstance(block, Few) else block.payloads())
    if decode is None:
        return Cursor(block, payloads, payloads)
    back: list[Any] = []
    return Cursor(block, _Replay(decode, payloads, back, spoilt), payloads, back)


# Decodes payloads one by one; a signal that interrupts the decoding loses none. An exception of
# *decode* itself does consume the payload.
class _Replay:
    __slots__ = ("_back", "_decode", "_payloads", "_spoilt")

    def __init__(
        self,
        decode: Callable[[Any], Any],
        payloads: Iterator[Any],
        back: list[Any],
        spoilt: Callable[[], object] | None,
    ) -> None:
        self._decode = decode
        self._payloads = payloads
        self._back = back
        self._spoilt = spoilt

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401  what the user's function makes
        if self._back:
            try:
                payload = self._back.pop()
            except IndexError:  # another thread was faster
                return next(self)
        else:
            # No call: a signal handler that raises behind one would take the payload along.
            for payload in self._payloads:  # noqa: B007
                break
            else:
                raise StopIteration
        try:
            return self._decode(payload)
        except FormatError:
            if self._spoilt is not None:
                self._spoilt()
            raise
        except Exception:
            raise
        except BaseException:
            self._back.append(payload)
            raise


def alike(words: memoryview[int], first: int, step: int, count: int) -> int:
    """Count how many of the words at *first*, *first* + *step*, … equal the first, from there on.

    Args:
        words: Any numbers of one size.
        first: Index of the first word.
        step: Words from one to the next.
        count: How many to look at, at least one.
    """
    size = words.itemsize
    found = words[first : first + (count - 1) * step + 1 : step].tobytes()
    one = found[:size]
    if found == one * count:
        return count
    low, high = 1, count  # the first *low* are equal, the first *high* are not
    while high - low > 1:
        middle = (low + high) // 2
        if found[low * size : middle * size] == one * (middle - low):
            low = middle
        else:
            high = middle
    return low


@functools.lru_cache(maxsize=256)
def spaced(layout: str, first: int, stride: int) -> struct.Struct | None:
    """Return the struct of a record in a run: *layout* at *first*, padding all around.

    Args:
        layout: A struct format with an explicit byte order, so that nothing in it is aligned.
        first: Bytes before it.
        stride: Bytes of the whole.

    Returns:
        The struct, or ``None`` if *layout* does not fit.
    """
    order, body = layout[0], layout[1:]
    behind = stride - first - struct.calcsize(layout)
    return struct.Struct(f"{order}{first}x{body}{behind}x") if behind >= 0 else None


# So many payloads are made by one call into C: three times as fast as slicing one after the other.
_TOGETHER = 64


def _payloads(data: Buffer, run: Run) -> list[Buffer]:
    first, length, stride, number = run
    many, rest = divmod(number, _TOGETHER)
    layout = f"{first}x{length}s{stride - first - length}x"
    made: list[Buffer] = []
    end = many * _TOGETHER * stride
    if many:
        rows = _repeated(layout, _TOGETHER).iter_unpack(memoryview(data)[:end])
        made.extend(itertools.chain.from_iterable(rows))
    if rest:
        made.extend(_repeated(layout, rest).unpack_from(data, end))
    return made


@functools.lru_cache(maxsize=256)
def _repeated(layout: str, number: int) -> struct.Struct:
    return struct.Struct("=" + layout * number)


def _slices(first: int, length: int, stride: int, count: int) -> list[slice]:
    # Blocks are as long as a copy, and then a little shorter or not full: one list serves all.
    most = _all_slices(first, length, stride, max(64, 1 << (count - 1).bit_length()))
    return most[:count]


@functools.lru_cache(maxsize=64)
def _all_slices(first: int, length: int, stride: int, count: int) -> list[slice]:
    ends = range(first + length, first + length + count * stride, stride)
    return [slice(end - length, end) for end in ends]
