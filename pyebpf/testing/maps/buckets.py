"""The order of a hash: keys in buckets, as the kernel keeps them.

    bucket 3:  newest key, older key        A walk and a batch go from bucket to bucket. A bucket is
    bucket 7:  key                          taken whole or not at all, so a batch that is smaller
                                            than the fullest bucket cannot go on.

Which keys share a bucket is nobody's business; here a digest of the key says.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterator

__all__ = ["Buckets"]


class Buckets:
    """Keys in buckets.

    Args:
        capacity: How many keys there may be.
    """

    def __init__(self, capacity: int) -> None:
        self.count = 1 << max(capacity - 1, 0).bit_length()
        self._mask = self.count - 1
        self._buckets: dict[int, list[bytes]] = {}
        self._order: list[int] = []  # of those that are not empty

    def add(self, key: bytes) -> None:
        """Put a new key in front of its bucket."""
        number = self._number(key)
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = [key]
            bisect.insort(self._order, number)
        else:
            bucket.insert(0, key)

    def remove(self, key: bytes) -> None:
        """Take a key out."""
        number = self._number(key)
        bucket = self._buckets[number]
        bucket.remove(key)
        if not bucket:
            del self._buckets[number]
            del self._order[bisect.bisect_left(self._order, number)]

    def first(self) -> bytes | None:
        """Return the first key."""
        return self._buckets[self._order[0]][0] if self._order else None

    def after(self, key: bytes) -> bytes | None:
        """Return the key after one that is there."""
        number = self._number(key)
        bucket = self._buckets[number]
        place = bucket.index(key) + 1
        if place < len(bucket):
            return bucket[place]
        following = bisect.bisect_right(self._order, number)
        if following == len(self._order):
            return None
        return self._buckets[self._order[following]][0]

    def since(self, start: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield number and keys of the buckets from *start* on that are not empty."""
        for number in self._order[bisect.bisect_left(self._order, start) :]:
            yield number, list(self._buckets[number])

    def _number(self, key: bytes) -> int:
        digest = hashlib.blake2s(key, digest_size=4).digest()
        return int.from_bytes(digest, "little") & self._mask
