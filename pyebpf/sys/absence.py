"""What a kernel does not know at all: commands and attr fields, told from the errno of a tiny call.

In: a function that makes one bpf(2) call, and what failed. Out: whether the command is missing
(EINVAL alone does not say), or which fields lie beyond the kernel's ``union bpf_attr`` (E2BIG).
Only asked after a failure. None of the calls has an effect: they name no existing object.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

from pyebpf.typed import TypeAlias
from pyebpf.uapi.bpf import COMMON_ATTRS, Cmd
from pyebpf.uapi.cstruct import CStruct

__all__ = ["Call", "harmless", "lacks", "unknown_fields"]

# Command, attr, address and size of common attributes in; result and errno out.
Call: TypeAlias = Callable[[int, bytearray, tuple[int, int]], tuple[int, int]]

_ATTR_SIZE = 168
_COMMON_SIZE = 24
_NO_COMMON = (0, 0)
_NO_FD = 0xFFFFFFFF
_NO_PID = 0x7FFFFFFF
_LAST_ID = 0x7FFFFFFE  # the highest that may be asked for, so that there is none after it

# By command: a word that makes every kernel which has the command answer something other than
# EINVAL, and its offset: EBADF for descriptors, ENOENT for ids, E2BIG for a size.
_PROBES = {
    Cmd.PROG_TEST_RUN: (0, _NO_FD),
    Cmd.PROG_GET_NEXT_ID: (0, _LAST_ID),
    Cmd.MAP_GET_NEXT_ID: (0, _LAST_ID),
    Cmd.PROG_GET_FD_BY_ID: (0, _LAST_ID),
    Cmd.MAP_GET_FD_BY_ID: (0, _LAST_ID),
    Cmd.OBJ_GET_INFO_BY_FD: (0, _NO_FD),
    Cmd.RAW_TRACEPOINT_OPEN: (8, _NO_FD),
    Cmd.BTF_LOAD: (16, 0xFFFFFFFF),
    Cmd.BTF_GET_FD_BY_ID: (0, _LAST_ID),
    Cmd.TASK_FD_QUERY: (0, _NO_PID),
    Cmd.MAP_LOOKUP_AND_DELETE_ELEM: (0, _NO_FD),
    Cmd.MAP_FREEZE: (0, _NO_FD),
    Cmd.BTF_GET_NEXT_ID: (0, _LAST_ID),
    Cmd.MAP_LOOKUP_BATCH: (36, _NO_FD),
    Cmd.MAP_LOOKUP_AND_DELETE_BATCH: (36, _NO_FD),
    Cmd.MAP_UPDATE_BATCH: (36, _NO_FD),
    Cmd.MAP_DELETE_BATCH: (36, _NO_FD),
    Cmd.LINK_CREATE: (0, _NO_FD),
    Cmd.LINK_UPDATE: (0, _NO_FD),
    Cmd.LINK_GET_FD_BY_ID: (0, _LAST_ID),
    Cmd.LINK_GET_NEXT_ID: (0, _LAST_ID),
    Cmd.ENABLE_STATS: (0, 0),  # no word is refused otherwise; it succeeds and is closed at once
    Cmd.ITER_CREATE: (0, _NO_FD),
    Cmd.LINK_DETACH: (0, _NO_FD),
    Cmd.PROG_BIND_MAP: (0, _NO_FD),
    Cmd.TOKEN_CREATE: (4, _NO_FD),
    Cmd.PROG_STREAM_READ_BY_FD: (16, _NO_FD),
    Cmd.PROG_ASSOC_STRUCT_OPS: (4, _NO_FD),
}


def lacks(call: Call, cmd: int) -> bool:
    """Return whether the kernel surely has no such command; "cannot tell" is ``False``.

    Args:
        call: Makes the call.
        cmd: A command, or ``COMMON_ATTRS`` for the 5-argument form.
    """
    if cmd == COMMON_ATTRS:
        attr = bytearray(_ATTR_SIZE)
        # With the form: EFAULT, since there are no common attributes at address 0.
        return call(Cmd.MAP_CREATE | COMMON_ATTRS, attr, (0, _COMMON_SIZE))[1] == errno.EINVAL
    found = harmless(cmd)
    if found is None:
        return False
    attr = found
    result, number = call(cmd, attr, _NO_COMMON)
    if result > 0:
        os.close(result)
    return number == errno.EINVAL


def harmless(cmd: int) -> bytearray | None:
    """Return an attr which a kernel that has the command refuses otherwise than by ``EINVAL``.

    ``ENABLE_STATS`` takes it, and returns a descriptor; of the oldest commands there is none.
    """
    try:
        offset, word = _PROBES[Cmd(cmd)]
    except KeyError:
        return None
    attr = bytearray(_ATTR_SIZE)
    struct.pack_into("=I", attr, offset, word)
    return attr


def unknown_fields(call: Call, attr: object, buffer: bytearray) -> str:
    """Return which fields of *attr* are set that the kernel has no room for, or ``""``.

    Args:
        call: Makes the call.
        attr: A `CStruct`; of anything else we do not know the fields.
        buffer: Its bytes.
    """
    if not isinstance(attr, CStruct):
        return ""
    size = _known_size(call, len(buffer))
    missing = [
        f"{field.path} (since Linux {field.since})" if field.since else field.path
        for field in attr.FIELDS
        if field.offset + field.size > size and any(_bytes_of(buffer, field.offset, field.size))
    ]
    return f"this kernel's bpf_attr has no {', '.join(missing)}" if missing else ""


def _bytes_of(buffer: bytearray, offset: int, size: int) -> bytearray:
    return buffer[offset : offset + size]


# The size of the kernel's union, at most *limit*: it answers E2BIG to a set byte behind its end.
def _known_size(call: Call, limit: int) -> int:
    low, high = 8, limit
    while low < high:
        middle = (low + high + 1) // 2
        attr = bytearray(middle)
        struct.pack_into("=I", attr, 0, _NO_FD)
        attr[-1] = 0xFF
        if call(Cmd.MAP_LOOKUP_ELEM, attr, _NO_COMMON)[1] == errno.E2BIG:
            high = middle - 1
        else:
            low = middle
    return low
