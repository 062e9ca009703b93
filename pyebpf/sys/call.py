"""One system call: its memory before, its result after.

CStruct ──Memory.pack──▶ bytes with addresses ──Result.call──▶ number, errno
   ▲                           │ written by the kernel
   └───────Memory.refresh──────┘
"""

from __future__ import annotations

import array
import os
import sys
from itertools import starmap

from pyebpf.sys.libc import address_of, error_number, libc
from pyebpf.typed import final
from pyebpf.uapi.cstruct import CStruct

__all__ = ["Memory", "Result"]

_WORD = sys.maxsize * 2 + 1
_ZEROS = (0,) * 5


@final
class Memory:
    """Turns buffers into addresses and keeps them where they are, as long as it lives."""

    __slots__ = ("_keepers", "_nested")

    def __init__(self) -> None:
        self._keepers: list[object] = []
        self._nested: list[tuple[CStruct, bytearray]] = []

    def pack(self, attr: CStruct | bytearray) -> bytearray:
        """Return the bytes of a struct, addresses of its buffers in place; bytes are themselves."""
        if not isinstance(attr, CStruct):
            return attr
        buffer = attr.pack(self.address)
        self._nested.append((attr, buffer))
        return buffer

    def address(self, buffer: object) -> int:
        """Return the address of a buffer, or of a struct, which is packed first.

        Of a list: the address of an array with the addresses of its members.

        Raises:
            TypeError: It is none of these.
        """
        if isinstance(buffer, list):
            buffer = array.array("Q", map(self.address, buffer))
        if isinstance(buffer, CStruct):
            buffer = self.pack(buffer)
        keeper, address = address_of(buffer)
        self._keepers.append(keeper)
        return address

    def refresh(self) -> None:
        """Hand what the kernel wrote back to the structs."""
        for attr, buffer in self._nested:
            attr.unpack_into(buffer)


@final
class Result:
    """What one system call returned; as a ``with`` block, closes a new descriptor on an error.

    A signal handler may raise (KeyboardInterrupt) as soon as the call is over, before Python could
    store the descriptor's number; so C code stores it, in a list.

    Args:
        closes: The call returns a descriptor.

    Attributes:
        number: The errno, 0 for success.
    """

    __slots__ = ("_closes", "_returned", "number")

    def __init__(self, *, closes: bool) -> None:
        self._closes = closes
        self._returned: list[int] = []
        self.number = 0

    def call(self, number: int, *words: int) -> None:
        """Make the system call *number*; at most five arguments, negative ones as C has them.

        May be called again after a failure.
        """
        self._returned.clear()
        self.number = 0
        arguments = [number, *(int(word) & _WORD for word in words), *_ZEROS[len(words) :]]
        self._returned.clear()
        self._returned.extend(starmap(libc.syscall, (arguments,)))
        self.number = error_number() if self._returned[0] < 0 else 0

    @property
    def value(self) -> int:
        """What the call returned, -1 for an error."""
        return self._returned[0]

    def __enter__(self) -> Result:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._closes and self._returned and self._returned[0] >= 0:
            os.close(self._returned[0])
