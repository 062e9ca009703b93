"""Contexts as structs whose fields are not what lies in memory: ``xdp_md`` and ``__sk_buff``.

The kernel rewrites each access to such a context. A 32-bit load of ``data`` gives a 64-bit pointer;
some fields may be written and others not. Here the struct is bytes, with a table of the fields that
are pointers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyebpf.testing.interpreter.memory import ByteOrder, Region

__all__ = ["FieldsRegion"]

NOTHING: Mapping[int, int] = {}


class FieldsRegion(Region):
    """A context of fields.

    Args:
        data: The struct's bytes.
        name: The struct's name.
        writable_fields: Ranges that programs may write, as ``(first byte, end)``.
        short: Offsets of 32-bit fields that the kernel keeps as 16 bits, and the first value that
            it ignores instead of cutting it.

    Attributes:
        pointers: The address that a 4-byte load at an offset gives.
    """

    __slots__ = ("pointers", "short", "writable_fields")

    plain = False

    def __init__(
        self,
        data: bytearray,
        name: str,
        *,
        writable_fields: Sequence[tuple[int, int]] = (),
        short: Mapping[int, int] = NOTHING,
    ) -> None:
        super().__init__(data, name)
        self.writable_fields = writable_fields
        self.short = short
        self.pointers: dict[int, int] = {}

    def load(self, offset: int, size: int, byteorder: ByteOrder) -> int:
        """Return a field; a pointer is 64 bits wide though its field has 32."""
        if size == 4 and offset in self.pointers:
            return self.pointers[offset]
        return super().load(offset, size, byteorder)

    def store(self, offset: int, size: int, value: int, byteorder: ByteOrder) -> None:
        """Write a field, or part of one."""
        limit = self.short.get(offset, 0)
        if limit and value >= limit:
            self.view(offset, size, write=True)
            return
        super().store(offset, size, value & 0xFFFF if limit else value, byteorder)

    def view(self, offset: int, size: int, *, write: bool) -> memoryview:
        """Return the bytes, as long as they may be used."""
        if write and not any(
            first <= offset and offset + size <= end for first, end in self.writable_fields
        ):
            raise self.fault(offset, size, write=True)
        return super().view(offset, size, write=write)
