"""`UserRing`: samples from here to programs (``BPF_MAP_TYPE_USER_RINGBUF``).

    UserRing ──submit──▶ ring ──bpf_user_ringbuf_drain(&ring, callback, ctx, flags)──▶ program

A program drains when it runs: nothing is taken out by itself. The kernel stops at a sample that is
reserved and not finished, whatever is behind it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

from pyebpf.errors import ClosedError, ReaderTimeout, naming
from pyebpf.maps.map import Map
from pyebpf.sys.forks import stays_here
from pyebpf.sys.user_ring import UserBpfRing
from pyebpf.typed import Any, final
from pyebpf.uapi.bpf import MapType

__all__ = ["UserRing"]

_LARGEST = (1 << 30) - 1  # the header's two upper bits are flags
# A program may drain without waking anybody (BPF_RB_NO_WAKEUP): look again now and then.
_LONGEST_SLEEP = 0.1


@final
class UserRing:
    """Writes samples into a user ring buffer.

    May be shared between threads; each waits for the others' reservations of room, not for their
    samples to be finished. A ring has one at a time: in a child of ``fork`` it is closed, and what
    one left unfinished that was killed is given up by the next, or programs would wait for it.

    Args:
        map: The ring. A duplicate is held, so the map may be closed.

    Raises:
        ValueError: *map* is of another type.
        SyscallError: ``EPERM`` if the map may not be written.

    Since Linux 6.1.
    """

    def __init__(self, map: Map[Any, Any]) -> None:  # noqa: A002 - the kernel's word
        if map.type != MapType.USER_RINGBUF:
            raise ValueError(f'map "{map.name}" is a {map.type}, not a BPF_MAP_TYPE_USER_RINGBUF')
        self._name = map.name
        self._lock = threading.RLock()
        self._sleeping = threading.RLock()
        self._closed = False
        self._open: set[int] = set()  # places of samples that are being written
        with ExitStack() as stack, naming(f'write map "{map.name}"'):
            duplicate = stack.enter_context(map.clone())
            self._ring = UserBpfRing(duplicate.fileno(), duplicate.max_entries)
            stack.callback(self._ring.close)
            self._stack = stack.pop_all()
        stays_here(self)

    @contextmanager
    def reserve(self, length: int, *, timeout: float | None = 0) -> Iterator[memoryview[int]]:
        """Write a sample in place, in a ``with`` block whose end hands it over.

        An exception gives the sample up: programs do not see it.

        Args:
            length: Bytes.
            timeout: Seconds to wait for room; 0 does not wait, ``None`` waits for ever.

        Yields:
            The memory, with anything in it; not to be used after the block.

        Raises:
            ReaderTimeout: There was no room in time.
            ValueError: It can never fit.
            ClosedError: The ring is closed, also while it waits.
        """
        place, memory = self._reserve(length, timeout)
        try:
            yield memory
        except BaseException:
            self._finish(place, discard=True)
            raise
        self._finish(place, discard=False)

    def submit(self, sample: bytes | bytearray | memoryview, *, timeout: float | None = 0) -> None:
        """Put a sample into the ring.

        Args:
            sample: The bytes.
            timeout: Seconds to wait for room; 0 does not wait, ``None`` waits for ever.

        Raises:
            ReaderTimeout: There was no room in time.
            ValueError: It can never fit.
            ClosedError: The ring is closed, also while it waits.
        """
        octets = memoryview(sample).cast("B")
        with self.reserve(len(octets), timeout=timeout) as memory:
            memory[:] = octets

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Give the memory back; the second time does nothing.

        Samples that are being written are given up: their blocks raise `ClosedError` at the end.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for place in self._open:  # or programs would wait for them for ever
                self._ring.finish(place, discard=True)
            self._ring.wake()
        # Nobody may sleep on descriptors that are closed: their numbers are used again.
        with self._sleeping:
            self._stack.close()

    def __enter__(self) -> UserRing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'<UserRing of map "{self._name}", {"closed" if self._closed else "open"}>'

    def _reserve(self, length: int, timeout: float | None) -> tuple[int, memoryview[int]]:
        most = min(self._ring.size - 8, _LARGEST)
        if not 0 <= length <= most:
            raise ValueError(f'map "{self._name}" takes samples of up to {most} bytes: {length}')
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be seconds, 0 or more, or None: {timeout}")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                self._check()
                found = self._ring.reserve(length)
                if found is not None:
                    self._open.add(found[0])
                    return found
            rest = _LONGEST_SLEEP if deadline is None else deadline - time.monotonic()
            if rest <= 0:
                raise ReaderTimeout(
                    f'write map "{self._name}": no room for {length} bytes within {timeout} s'
                )
            self._sleep(min(rest, _LONGEST_SLEEP))

    # One thread at a time; the others wait for their turn as long.
    def _sleep(self, seconds: float) -> None:
        if not self._sleeping.acquire(timeout=seconds):
            return
        try:
            if not self._closed:
                self._ring.wait(seconds)
        finally:
            self._sleeping.release()

    def _finish(self, place: int, *, discard: bool) -> None:
        with self._lock:
            self._check()
            self._open.discard(place)
            self._ring.finish(place, discard=discard)

    def _forked(self) -> None:
        self._lock, self._sleeping = threading.RLock(), threading.RLock()
        self._closed = True
        self._stack.close()

    def _check(self) -> None:
        if self._closed:
            raise ClosedError(f'user ring of map "{self._name}" used after close')
