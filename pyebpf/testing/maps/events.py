"""The contents of a ring buffer map: no elements, one ring."""

from __future__ import annotations

from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.rings import BpfRing

__all__ = ["RingBuffer"]


class RingBuffer(Contents):
    """``BPF_MAP_TYPE_RINGBUF``.

    Attributes:
        ring: Its memory.
    """

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self.ring = BpfRing(definition.max_entries)

    def close(self) -> None:
        self.ring.shared.close()
