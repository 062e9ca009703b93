"""Dynptrs: pointers that know how much they point to; helpers and kernel functions on them.

A dynptr is 16 bytes of the program's stack (struct bpf_dynptr), which programs cannot read
themselves. Here they hold an address, a size of 24 bits with a flag above, and an offset:

    address u64 | size and flag u32 | offset u32
"""

from __future__ import annotations

import errno

from pyebpf.errors import NotModelledError
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.run import Run
from pyebpf.testing.interpreter.skb import SkbContext
from pyebpf.testing.interpreter.xdp import XdpContext
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS", "KFUNCS", "LARGEST", "look", "make"]

LARGEST = (1 << 24) - 1  # DYNPTR_MAX_SIZE
READ_ONLY = 1 << 31


def make(run: Run, dynptr: int, address: int, size: int, *, read_only: bool = False) -> None:
    """Make a dynptr; address 0 makes a null one."""
    run.store(dynptr, 8, address)
    run.store(dynptr + 8, 4, size | (READ_ONLY if read_only else 0))
    run.store(dynptr + 12, 4, 0)


def look(run: Run, dynptr: int) -> tuple[int, int, bool]:
    """Return where a dynptr points to, how many bytes there are, and whether they are read-only."""
    size, offset = run.load(dynptr + 8, 4), run.load(dynptr + 12, 4)
    address = run.load(dynptr, 8)
    return address and address + offset, size & LARGEST, bool(size & READ_ONLY)


# --- helpers ------------------------------------------------------------------------------------


def dynptr_from_mem(run: Run, data: int, size: int, flags: int, dynptr: int) -> int:
    """Make a dynptr to memory of the program."""
    size &= 0xFFFF_FFFF
    make(run, dynptr, 0, 0)
    if size > LARGEST:
        return -errno.E2BIG
    if flags:
        return -errno.EINVAL
    run.memory.view(data, size, write=True)
    make(run, dynptr, data, size)
    return 0


def dynptr_read(run: Run, place: int, length: int, dynptr: int, offset: int, flags: int) -> int:
    """Copy out of a dynptr."""
    length, offset = length & 0xFFFF_FFFF, offset & 0xFFFF_FFFF
    data, size, _ = look(run, dynptr)
    if not data or flags:
        return -errno.EINVAL
    if length > size or offset > size - length:
        return -errno.E2BIG
    run.memory.write(place, run.memory.read(data + offset, length))
    return 0


def dynptr_write(run: Run, dynptr: int, offset: int, source: int, length: int, flags: int) -> int:
    """Copy into a dynptr."""
    length, offset = length & 0xFFFF_FFFF, offset & 0xFFFF_FFFF
    data, size, read_only = look(run, dynptr)
    if not data or read_only:
        return -errno.EINVAL
    if length > size or offset > size - length:
        return -errno.E2BIG
    if flags:
        return -errno.EINVAL
    run.memory.write(data + offset, run.memory.read(source, length))
    return 0


def dynptr_data(run: Run, dynptr: int, offset: int, length: int) -> int:
    """Return the address of a part of a dynptr, or 0."""
    length, offset = length & 0xFFFF_FFFF, offset & 0xFFFF_FFFF
    data, size, read_only = look(run, dynptr)
    if not data or read_only or length > size or offset > size - length:
        return 0
    return data + offset


# --- kernel functions ---------------------------------------------------------------------------


def bpf_dynptr_from_skb(run: Run, context: int, flags: int, dynptr: int) -> int:
    """Make a dynptr to a socket buffer's packet; only programs of tc may write to it."""
    skb = run.context
    make(run, dynptr, 0, 0)
    if flags or not isinstance(skb, SkbContext):
        return -errno.EINVAL
    skb.check(context)
    writable = skb.type in (ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.LWT_XMIT)
    make(run, dynptr, skb.start, len(skb.packet), read_only=not writable)
    return 0


def bpf_dynptr_from_xdp(run: Run, context: int, flags: int, dynptr: int) -> int:
    """Make a dynptr to an XDP packet."""
    xdp = run.context
    make(run, dynptr, 0, 0)
    if flags or not isinstance(xdp, XdpContext):
        return -errno.EINVAL
    xdp.check(context)
    if xdp.fragments:
        raise NotModelledError("dynptr to a packet in several pages")
    make(run, dynptr, xdp.start, len(xdp.packet))
    return 0


def bpf_dynptr_slice(run: Run, dynptr: int, offset: int, buffer: int, size: int) -> int:
    """Return the address of a part, or 0; the buffer is needed for packets in pieces only."""
    offset, size = offset & 0xFFFF_FFFF, size & 0xFFFF_FFFF
    data, length, _ = look(run, dynptr)
    if not data or size > length or offset > length - size:
        return 0
    return data + offset


def bpf_dynptr_slice_rdwr(run: Run, dynptr: int, offset: int, buffer: int, size: int) -> int:
    """Return the address of a part that may be written, or 0."""
    return 0 if look(run, dynptr)[2] else bpf_dynptr_slice(run, dynptr, offset, buffer, size)


def bpf_dynptr_adjust(run: Run, dynptr: int, start: int, end: int) -> int:
    """Narrow a dynptr to the bytes from *start* to *end*."""
    start, end = start & 0xFFFF_FFFF, end & 0xFFFF_FFFF
    data, size, read_only = look(run, dynptr)
    if not data or start > end:
        return -errno.EINVAL
    if start > size or end > size:
        return -errno.ERANGE
    run.store(dynptr + 8, 4, end - start | (READ_ONLY if read_only else 0))
    run.store(dynptr + 12, 4, run.load(dynptr + 12, 4) + start)
    return 0


def bpf_dynptr_is_null(run: Run, dynptr: int) -> int:
    """Tell whether it points nowhere."""
    return int(not look(run, dynptr)[0])


def bpf_dynptr_is_rdonly(run: Run, dynptr: int) -> int:
    """Tell whether what it points to is read-only."""
    data, _, read_only = look(run, dynptr)
    return int(bool(data) and read_only)


def bpf_dynptr_size(run: Run, dynptr: int) -> int:
    """Return how many bytes it points to."""
    data, size, _ = look(run, dynptr)
    return size if data else -errno.EINVAL


def bpf_dynptr_clone(run: Run, dynptr: int, copy: int) -> int:
    """Make another dynptr to the same bytes."""
    run.memory.write(copy, run.memory.read(dynptr, 16))
    return 0 if look(run, dynptr)[0] else -errno.EINVAL


HELPERS: dict[int, Function] = {
    FuncId.dynptr_from_mem: dynptr_from_mem,
    FuncId.dynptr_read: dynptr_read,
    FuncId.dynptr_write: dynptr_write,
    FuncId.dynptr_data: dynptr_data,
}
KFUNCS: dict[str, Function] = {
    "bpf_dynptr_from_skb": bpf_dynptr_from_skb,
    "bpf_dynptr_from_xdp": bpf_dynptr_from_xdp,
    "bpf_dynptr_slice": bpf_dynptr_slice,
    "bpf_dynptr_slice_rdwr": bpf_dynptr_slice_rdwr,
    "bpf_dynptr_adjust": bpf_dynptr_adjust,
    "bpf_dynptr_is_null": bpf_dynptr_is_null,
    "bpf_dynptr_is_rdonly": bpf_dynptr_is_rdonly,
    "bpf_dynptr_size": bpf_dynptr_size,
    "bpf_dynptr_clone": bpf_dynptr_clone,
}
