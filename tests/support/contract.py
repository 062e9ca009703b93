"""What contract tests share: raw calls on maps whose outcome is a value or an errno."""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Callable, Iterator
from typing import Any

from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import MapBatch, MapCreate, MapElem, MapNextKey, ProgLoad
from pyebpf.uapi.bpf import MapFlag, MapType, ProgType
from tests.support.kernel import parse_version, version

RETURN_TWO = bytes([0xB7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])

Outcome = Any
"""What a call gave: bytes, a number, or the name of an errno."""


def outcome(call: Callable[[], Outcome]) -> Outcome:
    """Return what *call* returns, or the name of the errno it failed with."""
    try:
        return call()
    except SyscallError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    except NotSupportedError:
        return "EINVAL"


def create(kind: MapType, key: int, value: int, entries: int, flags: int = 0, **more: Any) -> FD:
    """Create a map."""
    attr = MapCreate(
        map_type=kind, key_size=key, value_size=value, max_entries=entries, map_flags=flags, **more
    )
    with _known(kind):
        return bpf.map_create(attr)


def lookup(fd: FD, key: bytes | None, size: int, flags: int = 0) -> Outcome:
    """Return the value of a key."""
    value = bytearray(size)
    attr = MapElem(map_fd=fd.fileno(), key=key, value=value, flags=flags)
    return outcome(lambda: _after(bpf.map_lookup_elem(attr), value))


# The call comes first: what it has written is there when it is read.
def _after(_: None, value: bytearray) -> bytes:
    return bytes(value)


def update(fd: FD, key: bytes | None, value: bytes, flags: int = 0) -> Outcome:
    """Set the value of a key."""
    attr = MapElem(map_fd=fd.fileno(), key=key, value=value, flags=flags)
    return outcome(lambda: bpf.map_update_elem(attr))


def delete(fd: FD, key: bytes | None) -> Outcome:
    """Remove a key."""
    return outcome(lambda: bpf.map_delete_elem(MapElem(map_fd=fd.fileno(), key=key)))


def take(fd: FD, key: bytes | None, size: int, flags: int = 0) -> Outcome:
    """Remove a key and return its value."""
    value = bytearray(size)
    attr = MapElem(map_fd=fd.fileno(), key=key, value=value, flags=flags)
    return outcome(lambda: _after(bpf.map_lookup_and_delete_elem(attr), value))


def next_key(fd: FD, key: bytes | None, size: int) -> Outcome:
    """Return the key after another one, ``None`` after the last."""
    following = bytearray(size)
    attr = MapNextKey(map_fd=fd.fileno(), key=key, next_key=following)
    return outcome(lambda: bytes(following) if bpf.map_get_next_key(attr) else None)


def walk(fd: FD, size: int, limit: int = 1000) -> list[bytes]:
    """Return all keys in the kernel's order."""
    keys: list[bytes] = []
    key = next_key(fd, None, size)
    while isinstance(key, bytes) and len(keys) < limit:
        keys.append(key)
        key = next_key(fd, key, size)
    assert key is None, key
    return keys


def look_up_batch(
    fd: FD, count: int, sizes: tuple[int, int], start: bytes | None = None, *, remove: bool = False
) -> tuple[Outcome, dict[bytes, bytes], bytes]:
    """Return the outcome (``False`` at the end), the elements, and where to go on."""
    key_size, value_size = sizes
    keys, values = bytearray(key_size * count), bytearray(value_size * count)
    out = bytearray(max(key_size, 4))
    attr = MapBatch(
        map_fd=fd.fileno(), count=count, keys=keys, values=values, in_batch=start, out_batch=out
    )
    command = bpf.map_lookup_and_delete_batch if remove else bpf.map_lookup_batch
    result = outcome(lambda: command(attr))
    found = {
        bytes(keys[n * key_size : (n + 1) * key_size]): bytes(
            values[n * value_size : (n + 1) * value_size]
        )
        for n in range(attr.count if not isinstance(result, str) else 0)
    }
    return result, found, bytes(out)


def load(kind: ProgType = ProgType.SOCKET_FILTER, code: bytes = RETURN_TWO, **more: Any) -> FD:
    """Load a program that returns 2."""
    attr = ProgLoad(prog_type=kind, insns=code, insn_cnt=len(code) // 8, license=b"GPL\0", **more)
    with _known(kind):
        return bpf.prog_load(attr)


# Of a kind that is newer than the kernel the skip policy is told; to a caller it is EINVAL still.
@contextlib.contextmanager
def _known(kind: MapType | ProgType) -> Iterator[None]:
    try:
        yield
    except SyscallError as error:
        since = kind.since
        if error.errno != errno.EINVAL or since is None or version() >= parse_version(since):
            raise
        raise NotSupportedError(kind.c_name, since) from None


def require(feature: str, since: str) -> None:
    """Raise what the skip policy takes for a kernel that is too old."""
    if version() < parse_version(since):
        raise NotSupportedError(feature, since)


def u32(number: int) -> bytes:
    """Return a number as a key or value."""
    return struct.pack("=I", number)


def prefix(length: int, address: bytes) -> bytes:
    """Return the key of an LPM trie."""
    return struct.pack("=I", length) + address


NO_PREALLOC = MapFlag.NO_PREALLOC
