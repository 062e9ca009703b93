"""The program that walks over the buckets of a hash by itself, four times as fast as any call.

``bpf_for_each_map_elem`` calls its program for each entry through a pointer, which kernels that
guard against speculation make slow, and takes no lock, so that everything must be walked over
twice. This program knows how the kernel lays out a hash, from the kernel's own BTF, and reads it:

    struct bpf_htab    | … buckets | … n_buckets |
                            ▼
    struct bucket      | head ────▶ struct htab_elem | next ──▶ … | key, to 8 bytes | value |
                       | lock |                           the last one's: bucket's number << 1 | 1

For each bucket: follow the chain and copy key and value; compare the key again, in case the entry
was used for another key meanwhile; see that the end of the chain is this bucket's; follow it once
more and see that it holds the same keys. What two walks in a row have met in the same order was
there; all of that is in the CPU's nearest cache by then. Anything else, and `all_entries` reports
that the map has changed. The loads cannot fault: the kernel makes of them zeros where nothing is.

Needs ``bpf_rdonly_cast`` for memory of no type (Linux 6.17), ``CAP_PERFMON``, and the kernel's BTF.
That the kernel does lay out hashes so is tried out before it is relied upon: see
`pyebpf.maps.bulk`.
"""

from __future__ import annotations

import sys

from pyebpf.asm.assemble import Assembled, Item, assemble
from pyebpf.asm.build import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
    W0,
    Register,
    add,
    call,
    call_kfunc,
    exit_,
    function,
    jge,
    jne,
    jset,
    jsge,
    jump,
    label,
    load,
    load_function,
    load_map,
    load_map_value,
    mov,
    mul,
    rsh,
    store,
    u32,
    u64,
)
from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Composite, Func
from pyebpf.errors import NotSupportedError
from pyebpf.maps.bulk_code import (
    CAST,
    COUNT,
    DONE,
    FULL,
    MOVED,
    STATE,
    Layout,
    address,
    compare,
    copy,
)
from pyebpf.plain import plain

__all__ = ["HashLayout", "cast_id", "hash_layout", "walk"]

# Where the program keeps the address of the buckets: in the area's head.
_BUCKETS = 16
# Entries of one bucket that are followed. With as many buckets as entries 16 do not come together.
_CHAIN = 16
_SEEN = R10 - 8


@plain(frozen=True, kw_only=True)
class HashLayout:
    """Where the kernel has what the program reads.

    Attributes:
        buckets: Offset of ``bpf_htab.buckets``.
        n_buckets: Offset of ``bpf_htab.n_buckets``.
        bucket_size: Bytes of ``struct bucket``.
        key: Offset of ``htab_elem.key``.
        cast: The type id of ``bpf_rdonly_cast``.
    """

    buckets: int
    n_buckets: int
    bucket_size: int
    key: int
    cast: int


def hash_layout(kernel: Btf) -> HashLayout:
    """Read the layout out of a kernel's types.

    Raises:
        NotSupportedError: It has not what the program knows.
    """
    return HashLayout(
        buckets=_offset(kernel, "bpf_htab", "buckets"),
        n_buckets=_offset(kernel, "bpf_htab", "n_buckets"),
        bucket_size=kernel.size_of(_struct(kernel, "bucket")),
        key=_offset(kernel, "htab_elem", "key"),
        cast=cast_id(kernel),
    )


def cast_id(kernel: Btf) -> int:
    """Return the type id of ``bpf_rdonly_cast`` in a kernel's types.

    Raises:
        NotSupportedError: It has no such function.
    """
    for one in kernel.ids(CAST):
        if isinstance(kernel.type(one), Func):
            return one
    raise NotSupportedError(CAST, "6.2")


def walk(layout: Layout, where: HashLayout) -> Assembled:
    """Return the program; it reports as `pyebpf.maps.bulk_code.all_entries`.

    Args:
        layout: Of the area.
        where: Of hashes in this kernel.
    """
    items: list[Item] = [
        function("walk"),
        load_map_value(R6, "area"),
        store(u32(R6 + COUNT * 4), 0),
        store(u32(R6 + STATE * 4), DONE),
        # Through memory, an address becomes a number.
        load_map(R1, "map"),
        store(u64(R6 + _BUCKETS), R1),
        load(R1, u64(R6 + _BUCKETS)),
        *_cast(),
        load(R7, u64(R0 + where.buckets)),
        load(R1, u32(R0 + where.n_buckets)),
        store(u64(R6 + _BUCKETS), R7),
        load_function(R2, "bucket"),
        mov(R3, 0),
        mov(R4, 0),
        call("loop"),
        jsge(W0, 0, "out"),  # inlined, its error has 32 bits
        store(u32(R6 + STATE * 4), FULL),  # more buckets than it goes round
        label("out"),
        mov(R0, 0),
        exit_(),
        function("bucket"),  # (index, context)
        mov(R6, R1),
        *_first_walk(layout, where),
        *_second_walk(layout, where),
        load_map_value(R1, "area"),
        store(u32(R1 + COUNT * 4), R8),
        mov(R0, 0),
        exit_(),
        *_ending("moved", MOVED),
        *_ending("full", FULL),
    ]
    return assemble(items, sys.byteorder)


# R6: the bucket's number. R7: what next points to. R8: entries copied. R9: entries of this bucket.
def _first_walk(layout: Layout, where: HashLayout) -> list[Item]:
    value = where.key + (layout.key_size + 7 & ~7)
    return [
        *_head(where, R8),
        mov(R9, 0),
        label("copy"),
        jset(R7, 1, "copied"),
        jge(R9, _CHAIN, "moved"),
        jge(R8, layout.capacity, "full"),
        mov(R1, R7),
        *_cast(),
        mov(R5, R0),
        *address(R3, layout.keys_at, R8, layout.key_size),
        *copy(R3, R5, layout.key_size, at=where.key),
        *address(R4, layout.values_at, R8, layout.value_size),
        *copy(R4, R5, layout.value_size, at=value),
        *compare(R3, R5, layout.key_size, "moved", at=where.key),
        load(R7, u64(R5 + 0)),
        add(R8, 1),
        add(R9, 1),
        jump("copy"),
        label("copied"),
        rsh(R7, 1),
        jne(R7, R6, "moved"),
    ]


# R9: the next copy to be compared. How many there were is on the stack, for the verifier's sake.
def _second_walk(layout: Layout, where: HashLayout) -> list[Item]:
    return [
        *_head(where, R9),
        store(u64(_SEEN), 0),
        label("compare"),
        jset(R7, 1, "compared"),
        load(R1, u64(_SEEN)),
        jge(R1, _CHAIN, "moved"),
        add(R1, 1),
        store(u64(_SEEN), R1),
        jge(R9, R8, "moved"),
        jge(R9, layout.capacity, "moved"),
        mov(R1, R7),
        *_cast(),
        mov(R5, R0),
        *address(R3, layout.keys_at, R9, layout.key_size),
        *compare(R3, R5, layout.key_size, "moved", at=where.key),
        load(R7, u64(R5 + 0)),
        add(R9, 1),
        jump("compare"),
        label("compared"),
        jne(R9, R8, "moved"),
        rsh(R7, 1),
        jne(R7, R6, "moved"),
    ]


# R7 = the first entry of the bucket; *count* = entries copied so far.
def _head(where: HashLayout, count: Register) -> list[Item]:
    return [
        load_map_value(R2, "area"),
        load(R3, u64(R2 + _BUCKETS)),
        load(count, u32(R2 + COUNT * 4)),
        mov(R1, R6),
        mul(R1, where.bucket_size),
        add(R1, R3),
        *_cast(),
        load(R7, u64(R0 + 0)),
    ]


# R0 = memory at R1, which may be read and no more. R1 to R5 are gone, to the verifier.
def _cast() -> list[Item]:
    return [mov(R2, 0), call_kfunc(CAST)]


def _ending(name: str, state: int) -> list[Item]:
    return [
        label(name),
        load_map_value(R1, "area"),
        store(u32(R1 + STATE * 4), state),
        mov(R0, 1),
        exit_(),
    ]


def _struct(kernel: Btf, name: str) -> int:
    for one in kernel.ids(name):
        if isinstance(kernel.type(one), Composite):
            return one
    raise NotSupportedError(f"struct {name}", None, "this kernel has other hashes")


def _offset(kernel: Btf, struct: str, member: str) -> int:
    found = kernel.type(_struct(kernel, struct))
    assert isinstance(found, Composite)  # _struct has seen to it
    for one in found.members:
        if one.name == member:
            return one.bit_offset // 8
    raise NotSupportedError(f"{struct}.{member}", None, "this kernel has other hashes")
