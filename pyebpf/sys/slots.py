"""The memory of one call on a map's element, and the calls bound to it: `Slot`.

    union bpf_attr  | map_fd  0 | key   | value | flags |     lookup, update, lookup_and_delete: 32
                    | map_fd  0 | key   |                     delete: 16, the kernel refuses more
                    | map_fd  0 | key   | next  |             get_next_key: 24
                      0       4   8       16      24

`pyebpf.sys.elements` says who may use one, and when.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial

from pyebpf.sys.numbers import numbers
from pyebpf.typed import final
from pyebpf.uapi.bpf import Cmd

__all__ = ["Slot", "call", "last_errno", "quiet_call"]

# No argtypes: ctypes converts small ints and a ready byref faster without (250 ns a call).
_holding_gil = ctypes.PyDLL(None, use_errno=True).syscall
_releasing_gil = ctypes.CDLL(None, use_errno=True).syscall
# For `Cells`: 40 ns less without errno. (And 20 less with all arguments in one tuple than bound.)
quiet_call: Callable[..., int] = ctypes.PyDLL(None).syscall
# The same with errno, which `last_errno` tells.
call: Callable[..., int] = _holding_gil
last_errno = ctypes.get_errno

# Words of the attr; _VALUE is next_key in get_next_key's.
_KEY, _VALUE = 1, 2
_LOOKUP_SIZE, _DELETE_SIZE, _NEXT_KEY_SIZE = 32, 16, 24


@final
class Slot:
    """An attr with its buffers, and the calls bound to it, which return 0 or tell `errno`.

    Args:
        key_size: Bytes of a key.
        value_size: Bytes of a value.
        waits: The calls release the GIL.
    """

    __slots__ = (
        "delete",
        "fd",
        "key",
        "lookup",
        "lookup_and_delete",
        "memory",
        "next_fd",
        "next_key",
        "next_value",
        "next_words",
        "update",
        "value",
        "where",
        "words",
    )

    errno = staticmethod(ctypes.get_errno)

    def __init__(self, key_size: int, value_size: int, *, waits: bool) -> None:
        # Two attrs: next_key aliases value.
        # bytearrays, because memoryviews of ctypes' own memory cannot be cast; ctypes looking at
        # them keeps them from moving.
        attr, next_attr = bytearray(_LOOKUP_SIZE), bytearray(_NEXT_KEY_SIZE)
        key, value, following = bytearray(key_size), bytearray(value_size), bytearray(key_size)
        self.memory = [_pinned(one) for one in (attr, next_attr, key, value, following)]
        self.key, self.value = memoryview(key), memoryview(value)
        self.next_value = memoryview(following)
        self.words = memoryview(attr).cast("Q")
        self.next_words = memoryview(next_attr).cast("Q")
        self.fd = memoryview(attr).cast("I")
        self.next_fd = memoryview(next_attr).cast("I")
        addresses = [ctypes.addressof(one) if len(one) else 0 for one in self.memory]
        self.words[_KEY] = self.next_words[_KEY] = addresses[2]
        self.words[_VALUE] = addresses[3]
        self.next_words[_VALUE] = addresses[4]
        call = partial(_releasing_gil if waits else _holding_gil, numbers().bpf)
        where, next_where = ctypes.byref(self.memory[0]), ctypes.byref(self.memory[1])
        self.where = where
        # Plain ints: ctypes would look for _as_parameter_ in an enum first.
        self.lookup = _bound(call, Cmd.MAP_LOOKUP_ELEM, where, _LOOKUP_SIZE)
        self.update = _bound(call, Cmd.MAP_UPDATE_ELEM, where, _LOOKUP_SIZE)
        self.delete = _bound(call, Cmd.MAP_DELETE_ELEM, where, _DELETE_SIZE)
        self.next_key = _bound(call, Cmd.MAP_GET_NEXT_KEY, next_where, _NEXT_KEY_SIZE)
        self.lookup_and_delete = _bound(call, Cmd.MAP_LOOKUP_AND_DELETE_ELEM, where, _LOOKUP_SIZE)

    def aim(self, fd: int) -> None:
        """Let all further calls go to this descriptor."""
        self.fd[0] = fd
        self.next_fd[0] = fd

    def arguments(self, cmd: Cmd) -> tuple[object, ...]:
        """Return those of `quiet_call` for a lookup, an update or a removal."""
        size = _DELETE_SIZE if cmd == Cmd.MAP_DELETE_ELEM else _LOOKUP_SIZE
        return numbers().bpf, int(cmd), self.where, size


def _pinned(memory: bytearray) -> ctypes.Array[ctypes.c_char]:
    return (ctypes.c_char * len(memory)).from_buffer(memory)


def _bound(call: Callable[..., int], cmd: Cmd, where: object, size: int) -> Callable[[], int]:
    return partial(call, int(cmd), where, size)
