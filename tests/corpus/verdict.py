"""What the two sides say of one object, compared.

category    agree             both open it, or both load the program
            both fail         neither does
            we fail           and libbpf does it: a bug
            libbpf fails      and we do it: to be explained
differences maps, programs or instructions that are not the same
more        maps and programs that libbpf does not know, such as functions without a type, which old
            compilers made
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable

from pyebpf.uapi.bpf import MapFlag, MapType
from tests.corpus.canonical import canonical, first_difference
from tests.corpus.report import Attempt, Report

__all__ = [
    "AGREE",
    "BOTH_FAIL",
    "LIBBPF_FAILS",
    "WE_FAIL",
    "category",
    "differences",
    "more",
    "program",
]

AGREE, BOTH_FAIL, WE_FAIL, LIBBPF_FAILS = "agree", "both fail", "we fail", "libbpf fails"

UNSPEC = "0"
# What the kernel keeps of a name, and so all that can be compared.
NAME_BYTES = 15


def category(*, ours: bool, theirs: bool) -> str:
    """Name the combination of two answers."""
    if ours:
        return AGREE if theirs else LIBBPF_FAILS
    return WE_FAIL if theirs else BOTH_FAIL


def program(ours: Attempt, theirs: Attempt, *, load: bool) -> dict[str, object]:
    """Compare what became of one program; plain values, ready for JSON."""
    done, their_done = (each.loaded if load else each.made for each in (ours, theirs))
    result: dict[str, object] = {
        "category": category(ours=done, theirs=their_done),
        "error": ours.error,
        "seconds": ours.seconds,
        "libbpf": {"error": theirs.error, "errno": theirs.errno, "seconds": theirs.seconds},
        "code": code_difference(ours, theirs),
    }
    if not done and not their_done and ours.errno != theirs.errno:
        result["errno"] = [ours.errno, theirs.errno]
    return result


def code_difference(ours: Attempt, theirs: Attempt) -> str | None:
    """Say how the instructions differ: ``""`` if they do not, ``None`` where a side has none."""
    if not (ours.made and theirs.made and ours.code and theirs.code):
        return None
    forms = (
        canonical(each.code, {fd: _short(name) for fd, name in each.maps.items()})
        for each in (ours, theirs)
    )
    return first_difference(*forms)


def differences(ours: Report, theirs: Report) -> list[str]:
    """List how the specs differ, for an object that both opened."""
    found = [
        *(
            f'map "{name}": only libbpf has it'
            for name in _only(_map_names(ours, theirs), ours.maps)
        ),
        *(
            f'program "{name}": only libbpf has it'
            for name in _only(theirs.programs, ours.programs)
        ),
    ]
    their_maps = {_long(name): _definition(name, each) for name, each in theirs.maps.items()}
    for name, each in ours.maps.items():
        left, right = _definition(name, each), their_maps.get(_long(name))
        if right not in (None, left):
            found.append(f'map "{name}": {left}, and libbpf makes {right}')
    for name, (_, kind, attach_type, _, autoload) in ours.programs.items():
        if name not in theirs.programs:
            continue
        _, their_kind, their_attach, _, their_autoload = theirs.programs[name]
        left = (kind, attach_type, autoload)
        right = (their_kind, their_attach, their_autoload)
        # We know section names that libbpf does not; the other way round would be a difference.
        if left != right and their_kind != UNSPEC:
            found.append(f'program "{name}": {left}, and libbpf makes {right}')
    return found


# Their maps, without those we leave out on purpose: data sections that nothing refers to, and that
# of .kconfig, which the loader makes.
def _map_names(ours: Report, theirs: Report) -> set[str]:
    names = _longs(theirs.maps)
    return {name for name in names if not name.startswith(".") or name in ours.maps}


def more(ours: Report, theirs: Report) -> list[str]:
    """List what we make of an object that both opened, and libbpf does not."""
    return [
        *(f'map "{name}"' for name in _only(ours.maps, _longs(theirs.maps))),
        *(f'program "{name}"' for name in _only(ours.programs, theirs.programs)),
    ]


def _longs(names: Iterable[str]) -> set[str]:
    return {_long(name) for name in names}


def _only(names: Iterable[str], others: Iterable[str]) -> list[str]:
    return sorted(set(names) - set(others))


# That data sections are mapped, and how large a ring buffer has to be for the kernel, is said in
# the spec there, and decided at the load here.
def _definition(name: str, numbers: tuple[int, ...]) -> tuple[int, ...]:
    kind, key, value, capacity, flags = numbers
    if kind in (MapType.RINGBUF, MapType.USER_RINGBUF):
        capacity = 1 << (max(capacity, mmap.PAGESIZE) - 1).bit_length()
    return (kind, key, value, capacity, flags & ~MapFlag.MMAPABLE if "." in name else flags)


# libbpf puts the object's name before a data section's.
def _long(name: str) -> str:
    return name[name.index(".") :] if "." in name else name


def _short(name: str) -> str:
    return _long(name)[:NAME_BYTES]
