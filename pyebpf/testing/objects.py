"""What the made-up kernel holds: maps, programs, BTF; links are in `pyebpf.testing.attachments`.

    ids ──▶ Table ┄┄weak┄┄▶ object ◀── open files, pins, programs, links, maps that hold it

An object is there while something refers to it: Python's own counting of references stands for the
kernel's. So no object may refer to itself by a detour, unless something breaks the ring (a program
array is emptied when nobody has it open any more).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass

from pyebpf.testing.interpreter import Program
from pyebpf.testing.maps.arenas import ProgramArena
from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.program_maps import ProgramMap
from pyebpf.typed import ClassVar, Generic, Protocol, TypeVar
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["Btf", "Map", "ProgramObject", "Table"]


class Numbered(Protocol):
    """What has an id."""

    id: int


T = TypeVar("T", bound=Numbered)


@dataclass(eq=False, kw_only=True)
class Btf:
    """A BTF blob; *name* is ``"vmlinux"`` or a module's, ``""`` for what programs brought."""

    FILE_NAME: ClassVar[str] = "anon_inode:btf"

    data: bytes
    name: str = ""
    id: int = 0


@dataclass(eq=False, kw_only=True)
class Map:
    """A map: what it is made of, what is in it, and how programs see it."""

    FILE_NAME: ClassVar[str] = "anon_inode:bpf-map"

    definition: Definition
    contents: Contents
    for_programs: ProgramMap | ProgramArena
    btf: Btf | None = None
    key_type_id: int = 0
    value_type_id: int = 0
    has_lock: bool = False
    frozen: bool = False
    id: int = 0


@dataclass(eq=False, kw_only=True)
class ProgramObject:
    """A program, checked and ready to run.

    Attributes:
        executable: What the interpreter runs.
        attach_name: The kernel function or tracepoint it was loaded for, or ``""``.
        target: The program whose function it was loaded for.
    """

    FILE_NAME: ClassVar[str] = "anon_inode:bpf-prog"

    type: ProgType
    name: bytes
    code: bytes
    tag: bytes
    gpl_compatible: bool
    executable: Program
    maps: list[Map]
    expected_attach_type: AttachType
    btf: Btf | None = None
    attach_btf_id: int = 0
    attach_name: str = ""
    target: ProgramObject | None = None
    func_info: bytes = b""
    line_info: bytes = b""
    load_time: int = 0
    uid: int = 0
    run_count: int = 0
    id: int = 0


class Table(Generic[T]):
    """Objects of one kind by their ids, which are never used again."""

    def __init__(self) -> None:
        self._last = 0
        self._objects: weakref.WeakValueDictionary[int, T] = weakref.WeakValueDictionary()

    def add(self, what: T) -> T:
        """Give an object its id."""
        self._last += 1
        what.id = self._last
        self._objects[self._last] = what
        return what

    def get(self, number: int) -> T | None:
        """Return the object with this id."""
        return self._objects.get(number)

    def after(self, number: int) -> int | None:
        """Return the lowest id above *number*."""
        return min((each for each in self._objects if each > number), default=None)

    def __iter__(self) -> Iterator[T]:
        return iter(sorted(self._objects.values(), key=lambda each: each.id))
