"""`CachedMap`: what a map should hold, kept here, and brought into the kernel until it does.

    set, delete ──▶ desired state ──▶ kernel         done: OK
         each entry: value, action,     │ refused: the entry keeps its action and the error
         last error                     ▼
                     reconcile() ──▶ tries again what is not done, and mends what others changed

A daemon restarts, a map is full for a while, a limit is hit: the wish must not be lost. So nothing
here raises what the kernel says about an entry, unless it is asked to; it is written down, and
`outstanding` counts it.
"""

from __future__ import annotations

import contextlib
import enum
import threading
from collections.abc import Iterator, Mapping

from pyebpf.errors import EbpfError, IterationAborted, KeyNotFoundError
from pyebpf.maps.kinds import HOLDS_FDS
from pyebpf.maps.map import Map
from pyebpf.plain import plain
from pyebpf.typed import Generic, TypeVar, cast

__all__ = ["Action", "CachedEntry", "CachedMap", "ReconcileResult"]

K = TypeVar("K")
V = TypeVar("V")


class Action(enum.Enum):
    """What is to be done with an entry."""

    OK = "ok"  # the kernel has it as it should be
    INSERT = "insert"
    DELETE = "delete"


@plain(frozen=True)
class CachedEntry(Generic[V]):
    """One entry as it should be.

    Attributes:
        value: As it should be; of an entry to delete, as it was wanted, ``None`` if it never was.
        action: What is still to be done.
        error: Why the last try failed, or ``None``.
        tries: How many have failed, one after another.
    """

    value: V | None
    action: Action
    error: EbpfError | None = None
    tries: int = 0


@plain(frozen=True, kw_only=True)
class ReconcileResult:
    """What one run has done.

    Attributes:
        inserted: Entries set because they were missing, different, or not yet set.
        deleted: Entries removed because they should not be there.
        failed: Tries that the kernel refused.
        outstanding: Entries that are still not as they should be.
    """

    inserted: int
    deleted: int
    failed: int
    outstanding: int


class CachedMap(Mapping[K, V]):
    """A map with its desired state; a mapping of what should be there.

    Keys are as the map's codec gives them, and must be hashable then; they may be given as it takes
    them. May be shared between
    threads; a lock is held while the kernel is asked. Does not own the map, which must stay open.

    Args:
        cached: The map.
        load: Take what it holds now for the desired state (after a restart); by default the desired
            state is empty, and what the map holds is left alone until `reconcile` with *strict*.

    Raises:
        SyscallError: The map cannot be read.
    """

    def __init__(self, cached: Map[K, V], *, load: bool = False) -> None:
        self.map = cached
        self._lock = threading.RLock()
        self._entries: dict[K, CachedEntry[V]] = {}
        if load:
            self._entries = {key: CachedEntry(value, Action.OK) for key, value in cached.items()}

    # --- the desired state

    def __getitem__(self, key: K) -> V:
        try:
            entry = self._entries[self._canonical(key)]
        except (TypeError, ValueError):
            raise KeyError(key) from None
        if entry.action is Action.DELETE:
            raise KeyError(key)
        return cast("V", entry.value)

    def __iter__(self) -> Iterator[K]:
        with self._lock:
            entries = list(self._entries.items())
        return iter([key for key, entry in entries if entry.action is not Action.DELETE])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __setitem__(self, key: K, value: V) -> None:
        self.set(key, value)

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self.delete(key)

    def set(self, key: K, value: V, *, strict: bool = False) -> bool:
        """Want an entry, and try to set it at once.

        Args:
            key: Its key.
            value: Its value.
            strict: Raise what the kernel says; the wish stays all the same.

        Returns:
            Whether the kernel has it now.

        Raises:
            TypeError: Key or value are not what the map holds; nothing is wanted then.
            ValueError: Likewise.
            EbpfError: With *strict*.
        """
        key = self._canonical(key)
        self.map.value_codec.encode(value)
        with self._lock:
            before = self._entries.get(key)
            tries = before.tries if before is not None else 0
            self._entries[key] = CachedEntry(value, Action.INSERT, None, tries)
            return self._do(key, strict)

    def delete(self, key: K, *, strict: bool = False) -> bool:
        """Want an entry to be gone, and try to remove it at once. One that is not there is gone.

        Args:
            key: Its key.
            strict: Raise what the kernel says; the wish stays all the same.

        Returns:
            Whether it is gone now.

        Raises:
            TypeError: The key is not what the map has; nothing is wanted then.
            ValueError: Likewise.
            EbpfError: With *strict*.
        """
        key = self._canonical(key)
        with self._lock:
            before = self._entries.get(key, CachedEntry(None, Action.DELETE))
            self._entries[key] = CachedEntry(before.value, Action.DELETE, None, before.tries)
            return self._do(key, strict)

    def clear(self) -> int:
        """Want the map to be empty: of all that is wanted, and all that is there.

        Returns:
            How many entries could not be removed yet.

        Raises:
            SyscallError: The map cannot be read.
        """
        with self._lock:
            for key, value in self.map.items():
                self._entries.setdefault(key, CachedEntry(value, Action.DELETE))
            for key in list(self._entries):
                self.delete(key)
            return len(self.outstanding())

    # --- and the kernel's

    def entries(self) -> dict[K, CachedEntry[V]]:
        """Return a copy of all that is known, entries that are to be deleted included."""
        with self._lock:
            return dict(self._entries)

    def outstanding(self) -> dict[K, CachedEntry[V]]:
        """Return the entries that the kernel does not have as they should be, with their errors."""
        with self._lock:
            return {
                key: entry for key, entry in self._entries.items() if entry.action is not Action.OK
            }

    def reconcile(
        self, *, compare: bool = True, strict: bool = False, max_errors: int | None = None
    ) -> ReconcileResult:
        """Bring the kernel to the desired state: retry what failed, mend what others changed.

        Deletions come first, so that there is room for what is to be set.

        Args:
            compare: Read the whole map and set what is missing or different. Without it only what
                is known to be outstanding is tried again.
            strict: Remove entries that nobody wanted.
            max_errors: Give up for this time after so many refusals.

        Raises:
            SyscallError: The map cannot be read.
        """
        with self._lock:
            if compare:
                self._compare(strict)
            order = (Action.DELETE, Action.INSERT)
            done = dict.fromkeys(order, 0)
            failed = 0
            for action in order:
                for key, entry in list(self._entries.items()):
                    if entry.action is not action:
                        continue
                    if max_errors is not None and failed >= max_errors:
                        break
                    if self._do(key, strict=False):
                        done[action] += 1
                    else:
                        failed += 1
            return ReconcileResult(
                inserted=done[Action.INSERT],
                deleted=done[Action.DELETE],
                failed=failed,
                outstanding=len(self.outstanding()),
            )

    # What the kernel has is held against what it should have. A map that never rests is compared
    # key by key.
    def _compare(self, strict: bool) -> None:
        try:
            there = self.map.to_dict()
        except IterationAborted:
            there = {}
            for key in self._entries:
                value = self.map.get(key, None)
                if value is not None:
                    there[key] = value
        for key, entry in self._entries.items():
            wanted = entry.action is not Action.DELETE
            if wanted and (key not in there or not self._is(there[key], entry.value)):
                self._entries[key] = CachedEntry(
                    entry.value, Action.INSERT, entry.error, entry.tries
                )
        if strict:
            for key, value in there.items():
                self._entries.setdefault(key, CachedEntry(value, Action.DELETE))

    def _do(self, key: K, strict: bool) -> bool:
        entry = self._entries[key]
        try:
            if entry.action is Action.DELETE:
                self._remove(key)
                del self._entries[key]
            else:
                self.map.update(key, cast("V", entry.value))
                self._entries[key] = CachedEntry(entry.value, Action.OK)
        except EbpfError as error:
            # After the fact: an error that is looked at before it has happened is lost.
            self._entries[key] = CachedEntry(entry.value, entry.action, error, entry.tries + 1)
            if strict:
                raise
            return False
        return True

    def _remove(self, key: K) -> None:
        with contextlib.suppress(KeyNotFoundError):  # gone already, as it should be
            self.map.delete(key)

    # As it comes out of the map: a network may go in as text, a struct as a dict.
    def _canonical(self, key: K) -> K:
        codec = self.map.key_codec
        return cast("K", codec.decode(codec.encode(key)))

    # By their bytes: not every value compares (ctypes), and descriptors come back as ids.
    def _is(self, found: V, wanted: V | None) -> bool:
        if self.map.type in HOLDS_FDS:
            return bool(found == getattr(wanted, "id", None))
        encode = self.map.value_codec.encode
        return encode(found) == encode(wanted)
