"""`dump_reliably`: a walk over a map that others change, key by key, with an account of it.

The kernel's only cursor is a key, and a hash goes on from its beginning when that key is gone. So
the next key is asked for before the current one is looked up; one that has vanished is passed over,
and if its follower cannot be trusted the walk goes back to the last key that was there, once. A
walk visits at most four times the map's capacity: under enough churn there is no end to be found.

`Map.items` is faster, by batches; this one tells what happened on the way.
"""

from __future__ import annotations

from collections.abc import Callable

from pyebpf.errors import IterationAborted
from pyebpf.maps.map import Map
from pyebpf.plain import plain
from pyebpf.typed import TypeVar

__all__ = ["DumpStats", "dump_reliably"]

K = TypeVar("K")
V = TypeVar("V")

_BOUND = 4


@plain(kw_only=True)
class DumpStats:
    """The account of a walk.

    Attributes:
        bound: Lookups that are allowed.
        lookups: Keys that were looked up.
        dumped: Entries handed out.
        lookup_failed: Keys that had vanished.
        key_fallback: Times the walk went back to the key before.
        interrupted: Times it had to go on from a key that may be anywhere.
        completed: It has reached the end.
    """

    bound: int = 0
    lookups: int = 0
    dumped: int = 0
    lookup_failed: int = 0
    key_fallback: int = 0
    interrupted: int = 0
    completed: bool = False


def dump_reliably(
    dumped: Map[K, V],
    callback: Callable[[K, V], object],
    *,
    stats: DumpStats | None = None,
) -> DumpStats:
    """Call *callback* with every entry, as far as that can be done while the map changes.

    Keys that stay are all met; an entry may be met twice, when the walk had to go back.

    Args:
        dumped: The map.
        callback: Takes key and value; what it raises ends the walk.
        stats: Filled in while it goes, so that it is there when the walk fails.

    Returns:
        The account.

    Raises:
        IterationAborted: The bound was reached; `DumpStats.completed` is false.
        SyscallError: A kind without keys, …
    """
    account = stats if stats is not None else DumpStats()
    account.bound = _BOUND * max(dumped.max_entries, 1)
    current, previous = dumped.next_key(), None
    if current is None:
        account.completed = True
        return account
    for _ in range(account.bound):
        account.lookups += 1
        # First: once the current key is gone, its follower would be the first key of all.
        following = dumped.next_key(current)
        value = dumped.get(current, None)
        if value is None:
            account.lookup_failed += 1
            if previous is not None:
                # The follower of a vanished key may be the map's first: back to where we were.
                current, previous = previous, None
                account.key_fallback += 1
                continue
            account.interrupted += 1
            if following is None:
                account.completed = True
                return account
            current = following
            continue
        callback(current, value)
        account.dumped += 1
        if following is None:
            account.completed = True
            return account
        previous, current = current, following
    raise IterationAborted(
        f'map "{dumped.name}" changes faster than it can be walked: '
        f"{account.dumped} entries in {account.bound} steps"
    )
