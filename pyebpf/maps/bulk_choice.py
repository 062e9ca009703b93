"""When the in-kernel way is taken: where it is to be had, and where it has proven to win.

Making a program costs some milliseconds, thousands of entries the plain way. So it is made
when the plain way has cost as much: at most twice what would have been best, whatever comes.
Lookups are quicker then without exception. Copies of a whole map are timed both ways: how many
nanoseconds an entry takes depends on the machine's caches, and where entries come and go, much work
in the kernel is for nothing.
"""

from __future__ import annotations

import errno
import struct
import time
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable

from pyebpf.errors import EbpfError, NotSupportedError, SyscallError
from pyebpf.typed import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

__all__ = [
    "NOT_NOW",
    "Choice",
    "Entries",
    "EntriesChoice",
    "EntriesProgram",
    "KeysProgram",
    "Program",
]

# What looking up many keys stumbles over: somebody at the program, no program, a key that does not
# fit.
NOT_NOW = (LookupError, TypeError, ValueError, OverflowError, struct.error)

# Keys that cost the plain way about what a program does; entries copied, at a tenth of that.
_KEYS_WORTH = 1 << 14
_ENTRIES_WORTH = 1 << 16

# Of the oldest program; see `pyebpf.maps.bulk` for which kinds take more.
_SINCE = "5.14"
# How many times the quicker way is taken before the slower one gets another chance.
_PATIENCE = 32


class Entries(NamedTuple):
    """All entries of a map, one after another.

    Attributes:
        keys: Bytes of the keys.
        values: Bytes of the values, in the same order.
        number: How many.
    """

    keys: bytearray
    values: bytearray
    number: int


class Program(Protocol):
    """What `pyebpf.maps.bulk` makes; that is imported by those who use it, it takes 4 ms."""

    usable: bool

    def close(self) -> None:
        """Let go of it."""


class KeysProgram(Program, Protocol):
    """See `pyebpf.maps.bulk.ManyKeys`."""

    free: list[None] | deque[None]
    closed: bool
    few: dict[int, Few]

    def get(self, keys: list[Any], default: object) -> list[Any] | None:
        """Return the values of *keys*; ``None`` if it cannot be now."""

    def complete(self, found: list[Any], default: object) -> bool:
        """Put *default* where keys were missing; return whether the other values are right."""

    def let_go(self) -> None:
        """Close what there is, if nobody is at it."""


# How a program looks up a few keys, as far as that depends on their number alone: the program
# itself, to be taken and put back; what takes the keys; what runs the program and returns 0; what
# returns the values; and an item that is 0 if all keys were there, else `KeysProgram.complete`
# helps. A plain tuple: named ones are taken apart much more slowly.
Few: TypeAlias = tuple[
    KeysProgram, Callable[..., None], Callable[[], int], Callable[[], list[Any]], memoryview
]


class EntriesProgram(Program, Protocol):
    """See `pyebpf.maps.bulk.AllEntries`."""

    def get(self) -> Entries | None:
        """Return all entries; ``None`` if it cannot be now."""


B = TypeVar("B", bound=Program)


class Choice(Generic[B]):
    """Makes the program of one map when it pays, and keeps it.

    Args:
        worth: Entries that cost the plain way about what the program does.

    Attributes:
        made: The program, if there is one; a parent's in a fork's child.
    """

    def __init__(self, worth: int = _KEYS_WORTH) -> None:
        self.made: B | None = None
        self._worth = worth
        self._spent = 0
        self._refusal: EbpfError | None = None
        self._making = allocate_lock()
        self._closed = False

    def spend(self, entries: int) -> None:
        """Count entries that took the plain way."""
        self._spent += entries

    def bulk(self, make: Callable[[], B], entries: int, *, wanted: bool | None) -> B | None:
        """Return the program, if it is to be used.

        Args:
            make: Makes it; after a refusal it is not asked again.
            entries: How many are asked for.
            wanted: The user's word: ``None`` leaves it to experience.

        Raises:
            NotSupportedError: It is wanted and not to be had.
        """
        made = self.made
        if made is not None and made.usable:
            return made
        if wanted is None and self._spent + entries < self._worth:
            return None
        made = self._new(make)
        if made is None and wanted:
            raise self._unsupported()
        return made

    def _unsupported(self) -> NotSupportedError:
        refusal, since = self._refusal, None
        if isinstance(refusal, NotSupportedError):
            since = refusal.since
        elif isinstance(refusal, SyscallError) and refusal.errno == errno.EINVAL:
            since = _SINCE  # as a kernel says of kinds of programs and helpers it does not know
        reason = str(refusal) if refusal else "somebody else is making it"
        return NotSupportedError("in-kernel bulk access", since, reason)

    def _new(self, make: Callable[[], B]) -> B | None:
        if self._refusal is not None or not self._making.acquire(blocking=False):
            return None
        try:
            self._drop()  # a parent's
            self.made = make()
            if self._closed:  # meanwhile
                self._drop()
        except EbpfError as error:
            self._refusal = error
        finally:
            self._making.release()
        return self.made

    def close(self) -> None:
        """Let go of the program, for good."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        made, self.made = self.made, None
        if made is not None:
            made.close()


class EntriesChoice(Choice[EntriesProgram]):
    """Takes the quicker way to all entries, by what each has cost so far."""

    def __init__(self) -> None:
        super().__init__(_ENTRIES_WORTH)
        self._cost: dict[bool, float] = {}  # nanoseconds an entry, in the kernel or plain
        self._since = 0

    def entries(
        self,
        make: Callable[[], EntriesProgram],
        plain: Callable[[], Entries],
        *,
        wanted: bool | None,
    ) -> Entries:
        """Return all entries of the map, by way of *plain* or of the program.

        Args:
            make: Makes the program.
            plain: Gets the entries without it.
            wanted: The user's word: ``None`` leaves it to experience.

        Raises:
            NotSupportedError: The program is wanted and not to be had.
            EbpfError: What *plain* raises.
        """
        start = time.thread_time_ns()
        bulk = None
        if wanted or (wanted is None and self._favours_kernel()):
            bulk = self.bulk(make, 0, wanted=wanted)
        found = bulk.get() if bulk is not None else None
        if found is None:
            found = plain()
            self.spend(found.number)
        # Work in the kernel that was for nothing counts as its cost.
        self._note(bulk is not None, time.thread_time_ns() - start, found.number)
        return found

    def _favours_kernel(self) -> bool:
        if len(self._cost) < 2:
            return True not in self._cost
        quicker = self._cost[True] < self._cost[False]
        self._since += 1
        if self._since < _PATIENCE:
            return quicker
        self._since = 0
        return not quicker

    def _note(self, in_kernel: bool, spent: int, number: int) -> None:
        if number:
            self._cost[in_kernel] = spent / number
