"""How often to try: less often where PYEBPF_FEWER_EXAMPLES is set, once for so many times.

For machines on which Python is slow, such as emulated ones.
"""

from __future__ import annotations

import os

__all__ = ["FEWER", "amount"]

FEWER = int(os.environ.get("PYEBPF_FEWER_EXAMPLES", "1"))


def amount(count: int) -> int:
    """Return how many examples, rounds or threads there shall be where *count* are usual."""
    return max(1, count // FEWER)
