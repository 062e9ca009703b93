"""Blocks of records as numpy arrays.

    run     |head|payload|pad|head|payload|...     one array over it, its stride that of the run
    slices  payloads of many sizes                 the front of each, copied together; or all bytes,
                                                   and where each record is (`Packed`)

numpy is imported with the first array that somebody asks for, since that takes 60 ms (`_Numpy`).

*pandas* takes the fields of an array as they lie, without a copy:

    events = reader.read_array()                        # of a dtype with fields
    columns = {name: events[name] for name in events.dtype.names}
    frame = pandas.DataFrame(columns, copy=False)

*Arrow* has no columns with gaps in them, so each that is wanted is copied once, in C. Records as a
whole need no copy; then a value is what lies in the ring, header and padding included:

    table = pyarrow.table(columns)

    memory = bytearray(1 << 18)                         # not to be filled again while it is used
    events = reader.read_array(out=memory)
    kind, buffers = pyarrow.binary(events.strides[0]), [None, pyarrow.py_buffer(memory)]
    whole = pyarrow.FixedSizeBinaryArray.from_buffers(kind, len(events), buffers)
"""

from __future__ import annotations

import functools
import operator
import sys
from collections import deque
from collections.abc import Sequence

from pyebpf.errors import FormatError
from pyebpf.readers.block import Alike, Block, Entry, Room, Run, Spans
from pyebpf.readers.block import alike as alike_without
from pyebpf.readers.source import LENT, Source
from pyebpf.typed import Any, NamedTuple

__all__ = ["Filling", "Packed", "TooShort", "alike", "array", "kept", "packed", "quickest"]


# So few bytes of ``out=`` are left empty, as a look whether the next record fits costs more than it
# can bring.
_REST = 128


# Stands for numpy until it is used: then it is imported, and in its place from there on. To import
# it in each function would cost more than its call for some records.
class _Numpy:
    def __getattr__(self, name: str) -> object:
        global np
        import numpy as np

        return getattr(np, name)


np: Any = _Numpy()


class TooShort(FormatError):
    """Records are shorter than the dtype.

    Attributes:
        number: How many.
        rest: Blocks of the others.
    """

    def __init__(self, text: str, number: int, rest: list[Block], *, where: str) -> None:
        super().__init__(text, where=where)
        self.number = number
        self.rest = rest


class Filling:
    """Takes all records that wait out of a source, into one memory.

    Args:
        source: Where from.
        out: Memory to fill; ``None`` for some of our own, as large as it takes.

    Raises:
        TypeError: *out* is not writable, or no memory at all.
    """

    __slots__ = ("_own", "_room", "_source")

    def __init__(self, source: Source, out: object) -> None:
        self._source = source
        self._own = out is None
        self._room: Room | None = None
        if out is not None:
            memory = memoryview(out).cast("B")  # type: ignore[arg-type]  # or TypeError
            if memory.readonly:
                raise TypeError("out= is not writable")
            self._room = Room(memory, alike)

    @property
    def memory(self) -> memoryview[int] | None:
        """Where their data are, one behind the other; ``None`` if nothing was taken."""
        room = self._room
        return None if room is None or room.left == len(room.memory) else room.memory

    def fetch(self, queue: deque[Entry], faults: deque[FormatError]) -> None:
        """Take what was seen.

        Args:
            queue: Gets their blocks.
            faults: Gets what was malformed.

        Raises:
            ValueError: Not one record fits.
        """
        source, room = self._source, self._room
        if room is None or self._own:
            seen = source.seen
            if not seen:
                return
            room = self._room = Room(_memory(seen if seen <= LENT else source.needed), alike)
        before = found = len(queue)
        source.fill(queue, faults, room)
        while len(queue) > found and room.left > _REST and not faults:
            found = len(queue)
            source.fill(queue, faults, room)
        if len(queue) == before and not self._own and not faults and source.seen:
            raise ValueError(f"out= has {len(room.memory)} bytes, the next record takes more")


def kept(queue: deque[Entry]) -> deque[Entry]:
    """Return *queue* with bytes in its blocks, which other calls hand out: no memory of callers."""
    return deque(
        each._replace(data=bytes(each.data)) if isinstance(each, Block) else each for each in queue
    )


def _memory(size: int) -> memoryview[int]:
    made: memoryview[int] = np.empty(size, np.uint8).data
    return made


def alike(words: memoryview[int], first: int, step: int, count: int) -> int:
    """Do what `pyebpf.readers.block.alike` does, three times as fast."""
    size = words.itemsize
    found = np.ndarray(count, _unsigned(size), words, first * size, step * size)
    # The first that is not equal; 0 if there is none, since the first of all is.
    return int((found == found[0]).argmin()) or count


@functools.cache
def _unsigned(size: int) -> Any:  # noqa: ANN401
    return np.dtype(f"u{size}")


def quickest() -> Alike:
    """Return `alike` if numpy is there anyway, and otherwise what does without."""
    return alike if "numpy" in sys.modules else alike_without


class Packed(NamedTuple):
    """Records of any sizes in one memory: the first is ``data[starts[0]:][:lengths[0]]``.

    Attributes:
        data: All bytes, headers and padding included, as a numpy array of ``u8``.
        starts: Where the records begin, a numpy array of ``i8``.
        lengths: Their bytes, likewise.
    """

    data: Any
    starts: Any
    lengths: Any


def packed(blocks: Sequence[Block], memory: memoryview[int] | None) -> Packed:
    """Return the records of *blocks*; see `array` for *memory*."""
    sizes = [len(each.data) for each in blocks]
    if len(blocks) == 1:
        data = blocks[0].data
    else:
        data = b"".join([each.data for each in blocks]) if memory is None else memory[: sum(sizes)]
    number = sum(each.number for each in blocks)
    starts, lengths = np.empty(number, np.int64), np.empty(number, np.int64)
    done = position = 0
    for each, size in zip(blocks, sizes, strict=True):
        part, shape = slice(done, done + each.number), each.shape
        if isinstance(shape, Run):
            starts[part] = np.arange(shape.number) * shape.stride + shape.first
            lengths[part] = shape.length
        else:
            starts[part] = shape.starts
            lengths[part] = np.subtract(shape.ends, shape.starts)
        starts[part] += position
        done, position = done + each.number, position + size
    return Packed(np.frombuffer(data, np.uint8), starts, lengths)


def array(
    dtype: Any,  # noqa: ANN401  numpy's word
    name: str,
    blocks: Sequence[Block],
    memory: memoryview[int] | None = None,
) -> Any:  # noqa: ANN401  numpy is imported late
    """Return the records of *blocks*, each the front of a payload.

    Args:
        dtype: What a record is; ``None`` for all bytes of records of one size (``V64``).
        name: The map's, for messages.
        blocks: The records.
        memory: Filled from its start by the blocks' data, one behind the other. Then the array is
            a view of it, if the records are of one size. Otherwise it is a copy.

    Raises:
        FormatError: A record is shorter than *dtype*. Or *dtype* is ``None``, and the sizes differ.
        TypeError: *dtype* has Python objects.
    """
    head = blocks[0].shape if blocks else None
    if len(blocks) == 1 and isinstance(head, Run):  # what is most often, on a short way
        first, length, stride, number = head
        wanted = _octets(length) if dtype is None else _given(dtype)
        if length >= wanted.itemsize:
            return np.ndarray(number, wanted, blocks[0].data, first, stride)
    number = sum([block.number for block in blocks])
    if not number:
        return np.empty(0, _octets(0) if dtype is None else _given(dtype))
    wanted = _dtype(blocks, dtype, name)
    _check(blocks, wanted, name)
    if isinstance(head, Run) and all(block.shape[:3] == head[:3] for block in blocks):
        data = blocks[0].data if len(blocks) == 1 else memory
        if data is not None:
            return np.ndarray((number,), wanted, data, head.first, (head.stride,))
    made = np.empty(number, wanted)
    position = 0
    for block in blocks:
        _gather(made[position : position + block.number], block, wanted)
        position += block.number
    return made


def _dtype(blocks: Sequence[Block], dtype: Any, name: str) -> Any:  # noqa: ANN401
    if dtype is not None:
        return _given(dtype)
    lengths: set[int] = set()
    for block in blocks:
        lengths.update(_lengths(block))
    if len(lengths) > 1:
        raise FormatError(
            f"records of {min(lengths)} to {max(lengths)} bytes make no array: give a dtype",
            where=f'record of map "{name}"',
        )
    return _octets(lengths.pop())


def _given(dtype: Any) -> Any:  # noqa: ANN401
    made = np.dtype(dtype)
    if made.hasobject:  # the records' bytes would be taken for addresses
        raise TypeError(f"dtype {made} has Python objects, which no record has")
    return made


@functools.lru_cache(maxsize=64)
def _octets(length: int) -> Any:  # noqa: ANN401
    return np.dtype(f"V{length}")


def _lengths(block: Block) -> set[int]:
    if isinstance(block.shape, Run):
        return {block.shape.length}
    return set(map(operator.sub, block.shape.ends, block.shape.starts))


def _check(blocks: Sequence[Block], dtype: Any, name: str) -> None:  # noqa: ANN401
    size = dtype.itemsize
    shortest = min([min(_lengths(block)) for block in blocks if block.number], default=size)
    if shortest >= size:
        return
    rest = []
    for block in blocks:
        if not isinstance(block.shape, Run):
            pairs = zip(block.shape.starts, block.shape.ends, strict=True)
            good = [(start, end) for start, end in pairs if end - start >= size]
            rest.append(block._replace(shape=Spans([a for a, _ in good], [b for _, b in good])))
        elif block.shape.length >= size:
            rest.append(block)
    rest = [block for block in rest if block.number]
    number = sum(block.number for block in blocks) - sum(block.number for block in rest)
    raise TooShort(
        f"{shortest} bytes where dtype {dtype} has {size}: {number} records are too short",
        number,
        rest,
        where=f'record of map "{name}"',
    )


def _gather(part: Any, block: Block, dtype: Any) -> None:  # noqa: ANN401
    shape, size = block.shape, dtype.itemsize
    if isinstance(shape, Run):
        part[...] = np.ndarray(shape.number, dtype, block.data, shape.first, shape.stride)
    elif size:
        starts = np.array(shape.starts, np.intp)
        octets = np.frombuffer(block.data, np.uint8)
        rows = part.view(np.uint8).reshape(shape.number, size)
        np.take(octets, starts[:, None] + np.arange(size), out=rows)
