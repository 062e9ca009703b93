"""Helpers that read, write and reshape packets in socket buffers; redirects.

Errnos and order of the checks are those of net/core/filter.c.
"""

from __future__ import annotations

import errno

from pyebpf.errors import ENOTSUPP, ExecutionError
from pyebpf.testing.interpreter import checksum
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.contexts import Redirect
from pyebpf.testing.interpreter.run import Run
from pyebpf.testing.interpreter.skb import SkbContext
from pyebpf.testing.interpreter.xdp import XdpContext
from pyebpf.uapi.helper_flags import (
    CsumLevel,
    CsumReplaceFlag,
    HdrStartOff,
    RedirectFlag,
    SkbStoreBytesFlag,
)
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS", "buffer_of"]

LARGEST_INT = (1 << 31) - 1
MASK_32 = 0xFFFF_FFFF
TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7
XDP_ABORTED, XDP_REDIRECT = 0, 4
# Numbers: the complement of a flag knows no bits that have no name.
STORE_FLAGS = int(SkbStoreBytesFlag.RECOMPUTE_CSUM | SkbStoreBytesFlag.INVALIDATE_HASH)
FIELD_SIZE = int(CsumReplaceFlag.HDR_FIELD_MASK)
L4_FLAGS = int(
    CsumReplaceFlag.MARK_MANGLED_0
    | CsumReplaceFlag.MARK_ENFORCE
    | CsumReplaceFlag.PSEUDO_HDR
    | CsumReplaceFlag.HDR_FIELD_MASK
    | CsumReplaceFlag.IPV6
)
SKB_MAX_CSUM_LEVEL = 3


def buffer_of(run: Run, context: int) -> SkbContext:
    """Return the socket buffer that a program passed.

    Raises:
        ExecutionError: It is none.
    """
    if not isinstance(run.context, SkbContext):
        raise ExecutionError("this helper needs a socket buffer")
    run.context.check(context)
    return run.context


def skb_load_bytes(run: Run, context: int, offset: int, place: int, length: int) -> int:
    """Copy from the packet."""
    skb, offset = buffer_of(run, context), offset & MASK_32
    return _load(run, skb.packet, offset, place, length & MASK_32)


def skb_load_bytes_relative(
    run: Run, context: int, offset: int, place: int, length: int, start: int
) -> int:
    """Copy from the packet, counted from the link-layer or the network header."""
    skb, offset, length = buffer_of(run, context), offset & MASK_32, length & MASK_32
    if start == HdrStartOff.NET:
        data = skb.packet[skb.network :]
    elif start == HdrStartOff.MAC:
        data = bytearray(skb.link_header) + skb.packet
    else:
        data = bytearray()
    return _load(run, data, offset if offset <= 0xFFFF else LARGEST_INT, place, length)


def skb_store_bytes(
    run: Run, context: int, offset: int, source: int, length: int, flags: int
) -> int:
    """Copy into the packet."""
    skb, offset, length = buffer_of(run, context), offset & MASK_32, length & MASK_32
    if flags & ~STORE_FLAGS:
        return -errno.EINVAL
    if offset > LARGEST_INT or offset + length > len(skb.packet):
        return -errno.EFAULT
    packet = bytearray(skb.packet)
    packet[offset : offset + length] = run.memory.read(source, length)
    skb.replace(packet)
    if flags & SkbStoreBytesFlag.INVALIDATE_HASH:
        skb.set("hash", 0)
    return 0


def skb_pull_data(run: Run, context: int, length: int) -> int:
    """Make the first bytes writable; here all of them always are."""
    skb = buffer_of(run, context)
    if length & MASK_32 > len(skb.packet):
        return -errno.ENOMEM
    skb.replace(skb.packet)
    return 0


def l3_csum_replace(run: Run, context: int, offset: int, old: int, new: int, flags: int) -> int:
    """Change the checksum at *offset* for a field that changes from *old* to *new*."""
    skb, offset = buffer_of(run, context), offset & MASK_32
    if flags & ~FIELD_SIZE:
        return -errno.EINVAL
    if offset > 0xFFFF or offset & 1 or offset + 2 > len(skb.packet):
        return -errno.EFAULT
    return _replace_checksum(run, skb, offset, old, new, flags & FIELD_SIZE)


def l4_csum_replace(run: Run, context: int, offset: int, old: int, new: int, flags: int) -> int:
    """Change a TCP or UDP checksum likewise."""
    skb, offset = buffer_of(run, context), offset & MASK_32
    if flags & ~L4_FLAGS:
        return -errno.EINVAL
    if offset > 0xFFFF or offset & 1 or offset + 2 > len(skb.packet):
        return -errno.EFAULT
    zero_means_none = flags & CsumReplaceFlag.MARK_MANGLED_0
    present = any(skb.packet[offset : offset + 2])
    if zero_means_none and not flags & CsumReplaceFlag.MARK_ENFORCE and not present:
        return 0
    size = flags & FIELD_SIZE
    status = _replace_checksum(run, skb, offset, old, new, size)
    if status == 0 and zero_means_none and not any(skb.packet[offset : offset + 2]):
        packet = bytearray(skb.packet)
        packet[offset : offset + 2] = b"\xff\xff"  # CSUM_MANGLED_0
        skb.replace(packet)
    return status


def csum_diff(run: Run, old: int, old_size: int, new: int, new_size: int, seed: int) -> int:
    """Return the sum of *seed*, less what is taken away, plus what is put in its place."""
    old_size, new_size, seed = old_size & MASK_32, new_size & MASK_32, seed & MASK_32
    before = run.memory.read(old, old_size) if old_size else b""
    after = run.memory.read(new, new_size) if new_size else b""
    # As Linux 6.18 does: 16 bits, of any number of bytes. Before 6.13 it wanted multiples
    # of 4, and returned 32 bits on some architectures.
    total = seed
    if old_size and new_size:
        total = checksum.subtract(
            checksum.partial(after, seed, run.byteorder),
            checksum.partial(before, 0, run.byteorder),
        )
    elif new_size:
        total = checksum.partial(after, seed, run.byteorder)
    elif old_size:
        taken = checksum.partial(before, seed ^ MASK_32, run.byteorder)
        total = taken ^ MASK_32
    return checksum.fold(total) ^ 0xFFFF


def csum_update(run: Run, context: int, value: int) -> int:
    """Change the checksum that a network card computed; there is none here."""
    buffer_of(run, context)
    return -ENOTSUPP


def csum_level(run: Run, context: int, level: int) -> int:
    """Ask or change how many checksums are taken to be right."""
    skb = buffer_of(run, context)
    known = skb.checksum_level
    if level == CsumLevel.QUERY:
        return -errno.EACCES if known is None else known
    if level == CsumLevel.INC:
        skb.checksum_level = 0 if known is None else min(known + 1, SKB_MAX_CSUM_LEVEL)
    elif level == CsumLevel.DEC:
        skb.checksum_level = known - 1 if known else None
    elif level == CsumLevel.RESET:
        skb.checksum_level = None
    else:
        return -errno.EINVAL
    return 0


def get_hash_recalc(run: Run, context: int) -> int:
    """Return the packet's hash, which a test gives."""
    return buffer_of(run, context).get("hash")


def set_hash_invalid(run: Run, context: int) -> int:
    """Forget the packet's hash."""
    buffer_of(run, context).set("hash", 0)
    return 0


def set_hash(run: Run, context: int, value: int) -> int:
    """Set the packet's hash."""
    buffer_of(run, context).set("hash", value)
    return 0


def redirect(run: Run, interface: int, flags: int) -> int:
    """Send the packet out of an interface; return what the program is to return."""
    is_xdp = isinstance(run.context, XdpContext)
    if flags & ~(0 if is_xdp else int(RedirectFlag.INGRESS)):
        return XDP_ABORTED if is_xdp else TC_ACT_SHOT
    run.context.redirect = Redirect(None, interface & MASK_32, flags)
    return XDP_REDIRECT if is_xdp else TC_ACT_REDIRECT


def redirect_peer(run: Run, interface: int, flags: int) -> int:
    """Send the packet into the namespace behind an interface; return what is to be returned."""
    if flags:
        return TC_ACT_SHOT
    run.context.redirect = Redirect(None, interface & MASK_32, flags)
    return TC_ACT_REDIRECT


def redirect_map(run: Run, pointer: int, key: int, flags: int) -> int:
    """Send the packet where a map says; without an entry the flags' low bits are returned."""
    found = run.map_at(pointer)
    broadcast = int(RedirectFlag.BROADCAST | RedirectFlag.EXCLUDE_INGRESS)
    if flags & ~(0x3 | broadcast):
        return XDP_ABORTED
    known = found.lookup((key & MASK_32).to_bytes(4, run.byteorder), run.world.cpu)
    if known is None and not flags & RedirectFlag.BROADCAST:
        return flags & 0x3
    run.context.redirect = Redirect(found, key & MASK_32, flags)
    return XDP_REDIRECT


def _load(run: Run, data: bytearray, offset: int, place: int, length: int) -> int:
    target = run.memory.view(place, length, write=True)
    if offset > LARGEST_INT or offset + length > len(data):
        target[:] = bytes(length)
        return -errno.EFAULT
    target[:] = data[offset : offset + length]
    return 0


def _replace_checksum(run: Run, skb: SkbContext, offset: int, old: int, new: int, size: int) -> int:
    packet = bytearray(skb.packet)
    before = int.from_bytes(packet[offset : offset + 2], run.byteorder)
    if size == 0:
        if old & MASK_32:
            return -errno.EINVAL
        after = checksum.fold(checksum.add(new & MASK_32, checksum.negate(before)))
    elif size == 2:
        after = checksum.replace_2(before, old & 0xFFFF, new & 0xFFFF)
    elif size == 4:
        after = checksum.replace_4(before, old & MASK_32, new & MASK_32)
    else:
        return -errno.EINVAL
    packet[offset : offset + 2] = after.to_bytes(2, run.byteorder)
    skb.replace(packet)
    return 0


HELPERS: dict[int, Function] = {
    FuncId.skb_load_bytes: skb_load_bytes,
    FuncId.skb_load_bytes_relative: skb_load_bytes_relative,
    FuncId.skb_store_bytes: skb_store_bytes,
    FuncId.skb_pull_data: skb_pull_data,
    FuncId.l3_csum_replace: l3_csum_replace,
    FuncId.l4_csum_replace: l4_csum_replace,
    FuncId.csum_diff: csum_diff,
    FuncId.get_hash_recalc: get_hash_recalc,
    FuncId.set_hash_invalid: set_hash_invalid,
    FuncId.set_hash: set_hash,
    FuncId.csum_update: csum_update,
    FuncId.csum_level: csum_level,
    FuncId.redirect: redirect,
    FuncId.redirect_peer: redirect_peer,
    FuncId.redirect_map: redirect_map,
}
