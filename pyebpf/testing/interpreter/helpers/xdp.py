"""Helpers on XDP packets: borders and bytes.

Errnos and order of the checks are those of net/core/filter.c.
"""

from __future__ import annotations

import errno

from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.run import Run
from pyebpf.testing.interpreter.xdp import FRAME_HEADER, FRAME_SIZE, XdpContext
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]

ETHERNET = 14
LONGEST_METADATA = 252  # a u8 counts it, in words of 4 bytes
MASK_32 = 0xFFFF_FFFF


def xdp_adjust_head(run: Run, context: int, delta: int) -> int:
    """Move the start of the packet, and its metadata with it."""
    xdp, delta = _frame(run, context), _signed(delta)
    length = xdp.data - xdp.data_meta
    data = xdp.data + delta
    if data < FRAME_HEADER + length or data > xdp.data_end - ETHERNET:
        return -errno.EINVAL
    xdp.frame[data - length : data] = xdp.metadata
    xdp.move(data_meta=data - length, data=data, data_end=xdp.data_end)
    return 0


def xdp_adjust_tail(run: Run, context: int, delta: int) -> int:
    """Move the end of the packet; what is gained is zeros."""
    xdp, delta = _frame(run, context), _signed(delta)
    if xdp.fragments:
        return _adjust_fragments(xdp, delta)
    end = xdp.data_end + delta
    if end > xdp.hard_end or end < xdp.data + ETHERNET:
        return -errno.EINVAL
    if delta > 0:
        xdp.frame[xdp.data_end : end] = bytes(delta)
    xdp.move(data_meta=xdp.data_meta, data=xdp.data, data_end=end)
    return 0


# bpf_xdp_frags_increase_tail, bpf_xdp_frags_shrink_tail
def _adjust_fragments(xdp: XdpContext, delta: int) -> int:
    if delta >= 0:
        if delta > -len(xdp.fragments) % FRAME_SIZE:
            return -errno.EINVAL
        xdp.fragments += bytes(delta)
        return 0
    if -delta > len(xdp.packet) - ETHERNET:
        return -errno.EINVAL
    more = max(-delta - len(xdp.fragments), 0)
    del xdp.fragments[delta:]
    xdp.move(data_meta=xdp.data_meta, data=xdp.data, data_end=xdp.data_end - more)
    return 0


def xdp_adjust_meta(run: Run, context: int, delta: int) -> int:
    """Move the start of the metadata."""
    xdp, delta = _frame(run, context), _signed(delta)
    meta = xdp.data_meta + delta
    if meta < FRAME_HEADER or meta > xdp.data:
        return -errno.EINVAL
    if (xdp.data - meta) % 4 or xdp.data - meta > LONGEST_METADATA:
        return -errno.EACCES
    xdp.move(data_meta=meta, data=xdp.data, data_end=xdp.data_end)
    return 0


def xdp_get_buff_len(run: Run, context: int) -> int:
    """Return the length of the packet."""
    return len(_frame(run, context).packet)


def xdp_load_bytes(run: Run, context: int, offset: int, place: int, length: int) -> int:
    """Copy from the packet."""
    xdp, offset, length = _frame(run, context), offset & MASK_32, length & MASK_32
    target = run.memory.view(place, length, write=True)
    problem = _outside(xdp, offset, length)
    if not problem:
        target[:] = xdp.packet[offset : offset + length]
    return problem


def xdp_store_bytes(run: Run, context: int, offset: int, source: int, length: int) -> int:
    """Copy into the packet."""
    xdp, offset, length = _frame(run, context), offset & MASK_32, length & MASK_32
    data = run.memory.read(source, length)
    problem = _outside(xdp, offset, length)
    if not problem:
        xdp.write(offset, data)
    return problem


def _frame(run: Run, context: int) -> XdpContext:
    if not isinstance(run.context, XdpContext):
        raise ExecutionError("this helper needs an XDP packet")
    run.context.check(context)
    return run.context


def _outside(xdp: XdpContext, offset: int, length: int) -> int:
    if offset > 0xFFFF or length > 0xFFFF:
        return -errno.EFAULT
    return -errno.EINVAL if offset + length > len(xdp.packet) else 0


def _signed(value: int) -> int:
    return (value & MASK_32 ^ 0x8000_0000) - 0x8000_0000


HELPERS: dict[int, Function] = {
    FuncId.xdp_adjust_head: xdp_adjust_head,
    FuncId.xdp_adjust_tail: xdp_adjust_tail,
    FuncId.xdp_adjust_meta: xdp_adjust_meta,
    FuncId.xdp_get_buff_len: xdp_get_buff_len,
    FuncId.xdp_load_bytes: xdp_load_bytes,
    FuncId.xdp_store_bytes: xdp_store_bytes,
}
