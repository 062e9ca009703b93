"""`Lease`: records where the kernel has put them, for a moment; `Lending`: how they come there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator

from pyebpf.errors import FormatError
from pyebpf.readers import arrays
from pyebpf.readers.block import Block, Entry
from pyebpf.readers.source import Source
from pyebpf.typed import Any

__all__ = ["Lease", "Lending", "Lent"]


class Lending:
    """Takes the next block of a source without copying it.

    Args:
        source: Where from.
    """

    __slots__ = ("_compare", "_lent", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._compare = arrays.quickest()
        self._lent: list[Block] = []

    def fetch(self, queue: deque[Entry], faults: deque[FormatError]) -> None:
        """Take it.

        Args:
            queue: Gets the block.
            faults: Gets what was malformed.
        """
        found = self._source.lend(self._compare)
        if isinstance(found, Block):
            self._lent.append(found)
            queue.append(found)
        elif found is not None:
            faults.append(found)

    def undo(self, queue: deque[Entry]) -> None:
        """Leave it where it is, not in *queue*."""
        for each in self._lent:
            if each in queue:
                queue.remove(each)

    def end(self) -> None:
        """Give its memory back: it counts as read. To be called again if it was interrupted."""
        while self._lent:
            self._source.give_back(self._lent[0])
            del self._lent[0]  # no call between: once, also if a signal handler raises


class Lent:
    """What `Reader.lease` returns, for a ``with`` block: it gives a `Lease`.

    As ``contextlib.contextmanager`` would, in a third of the time, as nothing of the exception that
    ended the block is asked for.

    Args:
        steps: Yields the lease, and gives back what was lent when it is closed.
    """

    __slots__ = ("_steps",)

    def __init__(self, steps: Generator[Lease, None, None]) -> None:
        self._steps = steps

    def __enter__(self) -> Lease:
        for lease in self._steps:
            return lease
        raise RuntimeError("a lease is for one with block: call lease() again")

    def __exit__(self, *exception: object) -> None:
        self._steps.close()


class Lease:
    """Records that a reader lends; see `Reader.lease`.

    Iterates over payloads as read-only views. What was taken from it must not be used when the
    ``with`` block has ended: it is memory that the kernel writes to.
    """

    __slots__ = ("_block", "_dtype", "_name")

    def __init__(self, block: Block, dtype: Callable[[object], Any], name: str) -> None:
        self._block = block
        self._dtype = dtype
        self._name = name

    def __len__(self) -> int:
        return self._block.number

    def __iter__(self) -> Iterator[memoryview[int]]:
        whole = memoryview(self._block.data)
        return map(whole.__getitem__, self._block.slices())

    def array(self, dtype: object = None) -> Any:  # noqa: ANN401  numpy is imported late
        """Return the records as a numpy array.

        Args:
            dtype: As for `Reader.read_array`.

        Returns:
            A view that cannot be written if the records are of one size, a copy otherwise.

        Raises:
            FormatError: Records are shorter than *dtype*; or of many sizes, without a dtype.
            TypeError: *dtype* has Python objects.
            ImportError: numpy is not installed.
        """
        return arrays.array(self._dtype(dtype), self._name, [self._block])

    def __repr__(self) -> str:
        return f'<Lease of {len(self)} records of map "{self._name}">'
