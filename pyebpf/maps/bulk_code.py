"""The programs of in-kernel bulk access, made of instructions; `pyebpf.maps.bulk` runs them.

They talk with user space through one array of a single large value that both sides have mapped:

    0        4        8         64                 Layout.values_at      Layout.missing_at
    count u32| state u32 | …    | keys, one after  | values, likewise    | u32: numbers of missing
                                | the other        |                     | keys (`many` alone)

Two programs. Where an architecture wants memory aligned, the verifier refuses them for sizes that
are neither 1, 2 or 4 nor multiples of 8.

    many    for i in range(count): copy the value of key i, or note that it is missing;
            state = how many are, and whether entries changed meanwhile
    all     for each entry: copy key and value; count = how many
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

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
    W7,
    Place,
    Register,
    add,
    call,
    call_kfunc,
    exit_,
    function,
    jeq,
    jge,
    jne,
    label,
    load,
    load_function,
    load_map,
    load_map_value,
    mov,
    mul,
    store,
    u8,
    u16,
    u32,
    u64,
)
from pyebpf.plain import plain

__all__ = [
    "CAST",
    "CHANGED",
    "COUNT",
    "DONE",
    "FULL",
    "MOVED",
    "STATE",
    "Layout",
    "address",
    "all_entries",
    "compare",
    "copy",
    "many_keys",
]

# The kernel's function that makes of an address memory to be read.
CAST = "bpf_rdonly_cast"

# Words of the area's head, by 4 bytes.
COUNT, STATE = 0, 1
_AGAIN = 2
_KEYS_AT = 64

# On the stack: where the map has the key, and the first CPU's value.
_KEY, _FIRST = R10 - 8, R10 - 16

# What STATE says after `many`: how many keys are not in the map; or this, and it has ended, if an
# entry was another one after its value had been copied. There is never room for so many keys.
CHANGED = 1 << 20
# What STATE says after `all`: complete; more entries than there is room; the map changed so that
# entries may be missing or wrong.
DONE, FULL, MOVED = 0, 1, 2


@plain(frozen=True, kw_only=True)
class Layout:
    """Where things are in the area.

    Attributes:
        key_size: Bytes of a key.
        value_size: Bytes of a value; of one CPU's for per-CPU kinds.
        capacity: Keys there is room for.
        cpus: Numbers of the CPUs that have values of their own, none for other kinds.
    """

    key_size: int
    value_size: int
    capacity: int
    cpus: tuple[int, ...] = ()

    @property
    def entry_size(self) -> int:
        """Bytes of all values of an entry: each CPU's begins at a multiple of 8."""
        return len(self.cpus) * (self.value_size + 7 & ~7) if self.cpus else self.value_size

    @property
    def keys_at(self) -> int:
        """Where keys begin."""
        return _KEYS_AT

    @property
    def values_at(self) -> int:
        """Where values begin."""
        return _KEYS_AT + (self.key_size * self.capacity + 7 & ~7)

    @property
    def missing_at(self) -> int:
        """Where the numbers of missing keys begin, or the area of `all` ends."""
        return self.values_at + (self.entry_size * self.capacity + 7 & ~7)

    @property
    def size(self) -> int:
        """Bytes of the area of `many`."""
        return self.missing_at + 4 * self.capacity


def many_keys(layout: Layout, *, moves: bool, cast: bool) -> Assembled:
    """Return the program that looks up many keys. Needs ``bpf_loop``: Linux 5.17; per CPU 5.19.

    An entry that is deleted may be another key's at once, while its value is copied; so where
    entries move, it is looked at once more.

    Args:
        layout: Of the area.
        moves: The map's entries come and go (hashes), unlike those of arrays.
        cast: There is ``bpf_rdonly_cast`` (Linux 6.17), to look at the entry's key with. Not for
            per-CPU kinds, whose values are not at their keys.
    """
    again = (_same_key if cast else _same_entry)(layout) if moves else []
    return _assembled(
        function("many"),
        load_map_value(R6, "area"),
        store(u32(R6 + STATE * 4), 0),
        load(R1, u32(R6 + COUNT * 4)),
        load_function(R2, "one"),
        mov(R3, 0),
        mov(R4, 0),
        call("loop"),
        mov(R0, 0),
        exit_(),
        function("one"),  # (index, context)
        mov(R6, R1),
        jge(R6, layout.capacity, "beyond"),
        *_copy_values(layout),
        *again,
        mov(R0, 0),
        exit_(),
        label("missing"),
        load_map_value(R8, "area"),
        load(R7, u32(R8 + STATE * 4)),
        jge(R7, layout.capacity, "beyond"),
        *address(R9, layout.missing_at, R7, 4),
        store(u32(R9), R6),
        add(R7, 1),
        store(u32(R8 + STATE * 4), R7),
        mov(R0, 0),
        exit_(),
        *(_changed() if again else ()),
        label("beyond"),
        mov(R0, 1),
        exit_(),
    )


# R6: the key's number. R9: the (first CPU's) value in the map.
def _copy_values(layout: Layout) -> list[Item]:
    items: list[Item] = []
    for cpu, start in _values(layout):
        items += [
            *address(R2, layout.keys_at, R6, layout.key_size),
            *_look_up(cpu),
            jeq(R0, 0, "missing"),
            *([] if items else [mov(R9, R0)]),
            *address(R8, start, R6, layout.entry_size),
            *copy(R8, R0, layout.value_size),
        ]
    return items


# Each CPU with where its values are, or no CPU.
def _values(layout: Layout) -> list[tuple[int | None, int]]:
    stride = layout.value_size + 7 & ~7
    return [
        (cpu, layout.values_at + place * stride) for place, cpu in enumerate(layout.cpus or (None,))
    ]


# R0 = the value, on a CPU, of the key that R2 points to.
def _look_up(cpu: int | None) -> list[Item]:
    if cpu is None:
        return [load_map(R1, "map"), call("map_lookup_elem")]
    return [load_map(R1, "map"), mov(R3, cpu), call("map_lookup_percpu_elem")]


# In a hash the key stands before the value, to 8 bytes.
def _same_key(layout: Layout) -> list[Item]:
    return [
        mov(R1, R9),
        add(R1, -(layout.key_size + 7 & ~7)),
        mov(R2, 0),
        call_kfunc(CAST),
        mov(R5, R0),
        *address(R2, layout.keys_at, R6, layout.key_size),
        *compare(R2, R5, layout.key_size, "changed"),
    ]


def _same_entry(layout: Layout) -> list[Item]:
    return [
        *address(R2, layout.keys_at, R6, layout.key_size),
        *_look_up(_values(layout)[0][0]),
        jne(R0, R9, "changed"),
    ]


def _changed() -> list[Item]:
    return [
        label("changed"),
        load_map_value(R8, "area"),
        store(u32(R8 + STATE * 4), CHANGED),
        mov(R0, 1),
        exit_(),
    ]


def all_entries(layout: Layout, *, moves: bool) -> Assembled:
    """Return the program that copies all entries.

    Needs ``bpf_for_each_map_elem``: Linux 5.13; of per-CPU kinds 5.19.

    The walk takes no lock. Where entries move, an entry that is deleted and used again for another
    key while it is being copied, or while the walk stands on it, would give a key with another
    one's value or lead the walk into another bucket, away from entries that were there all the
    time. So each key is compared after its value was copied, and a second walk compares the keys
    with those of the first: what two walks in a row have met in the same order was there.

    Args:
        layout: Of the area.
        moves: The map's entries come and go (hashes), unlike those of arrays.
    """
    again = _second_walk(layout) if moves else []
    return _assembled(
        function("all"),
        load_map_value(R6, "area"),
        store(u32(R6 + COUNT * 4), 0),
        store(u32(R6 + STATE * 4), DONE),
        *_for_each("each"),
        *(_check_second_walk() if moves else ()),
        mov(R0, 0),
        exit_(),
        function("each"),  # (map, key, value, context)
        load_map_value(R6, "area"),
        load(W7, u32(R6 + COUNT * 4)),
        jge(R7, layout.capacity, "full"),
        *address(R8, layout.keys_at, R7, layout.key_size),
        *copy(R8, R2, layout.key_size),
        *(_copy_each_cpus(layout, moves=moves) if layout.cpus else _copy_value(layout)),
        *(compare(R8, R2, layout.key_size, "each moved") if moves else ()),
        add(R7, 1),
        store(u32(R6 + COUNT * 4), W7),
        mov(R0, 0),
        exit_(),
        label("full"),
        store(u32(R6 + STATE * 4), FULL),
        mov(R0, 1),
        exit_(),
        *(_moved("each moved") if moves else ()),
        *again,
    )


# R2: the key in the map. R3: the value there. R7: the entry's number. R8: the copy of the key.
def _copy_value(layout: Layout) -> list[Item]:
    return [
        *address(R9, layout.values_at, R7, layout.value_size),
        *copy(R9, R3, layout.value_size),
    ]


# The walk has this CPU's value alone; those of all are looked up, which spoils R2 if nothing moves.
def _copy_each_cpus(layout: Layout, *, moves: bool) -> list[Item]:
    items: list[Item] = [store(u64(_KEY), R2)]
    for place, (cpu, start) in enumerate(_values(layout)):
        items += [
            mov(R2, R8),
            *_look_up(cpu),
            jeq(R0, 0, "each moved" if moves else "full"),  # elements of arrays are always there
            *([] if place else [store(u64(_FIRST), R0)]),
            *address(R9, start, R7, layout.entry_size),
            *copy(R9, R0, layout.value_size),
        ]
    if moves:
        items += [
            mov(R2, R8),
            *_look_up(layout.cpus[0]),
            load(R1, u64(_FIRST)),
            jne(R0, R1, "each moved"),
            load(R2, u64(_KEY)),
        ]
    return items


def _check_second_walk() -> list[Item]:
    return [
        load(R1, u32(R6 + STATE * 4)),
        jne(R1, DONE, "out"),
        store(u32(R6 + _AGAIN * 4), 0),
        *_for_each("again"),
        load(R1, u32(R6 + COUNT * 4)),
        load(R2, u32(R6 + _AGAIN * 4)),
        jeq(R1, R2, "out"),
        store(u32(R6 + STATE * 4), MOVED),
        label("out"),
    ]


def _second_walk(layout: Layout) -> list[Item]:
    return [
        function("again"),  # (map, key, value, context)
        load_map_value(R6, "area"),
        load(W7, u32(R6 + _AGAIN * 4)),
        jge(R7, layout.capacity, "again moved"),
        *address(R8, layout.keys_at, R7, layout.key_size),
        *compare(R8, R2, layout.key_size, "again moved"),
        add(R7, 1),
        store(u32(R6 + _AGAIN * 4), W7),
        mov(R0, 0),
        exit_(),
        *_moved("again moved"),
    ]


def _moved(name: str) -> list[Item]:
    return [label(name), store(u32(R6 + STATE * 4), MOVED), mov(R0, 1), exit_()]


def _for_each(name: str) -> list[Item]:
    return [
        load_map(R1, "map"),
        load_function(R2, name),
        mov(R3, 0),
        mov(R4, 0),
        call("for_each_map_elem"),
    ]


def address(dst: Register, start: int, index: Register, size: int) -> list[Item]:
    """``dst = &area[start + index * size]``; spoils R1."""
    return [mov(dst, index), mul(dst, size), load_map_value(R1, "area", start), add(dst, R1)]


def copy(dst: Register, src: Register, size: int, *, at: int = 0) -> list[Item]:
    """Copy *size* bytes, from *at* behind *src*; spoils R1."""
    items: list[Item] = []
    for offset, place in _parts(size):
        items += [load(R1, place(src + (at + offset))), store(place(dst + offset), R1)]
    return items


def compare(first: Register, second: Register, size: int, other: str, *, at: int = 0) -> list[Item]:
    """Go to *other* if *size* bytes differ, the second ones from *at* on; spoils R0 and R1."""
    items: list[Item] = []
    for offset, place in _parts(size):
        items += [load(R0, place(first + offset)), load(R1, place(second + (at + offset)))]
        items += [jne(R0, R1, other)]
    return items


# The pieces of *size* bytes that are aligned where the start is.
def _parts(size: int) -> Iterator[tuple[int, Callable[[Place], Place]]]:
    offset = 0
    for step, place in ((8, u64), (4, u32), (2, u16), (1, u8)):
        while size - offset >= step:
            yield offset, place
            offset += step


def _assembled(*items: Item) -> Assembled:
    return assemble(items, sys.byteorder)
