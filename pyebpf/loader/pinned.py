"""`load_pinned`: a collection that is in the kernel already, opened by its pins.

    directory ─▶ pins by kind and name ─▶ checked against a spec or an ABI ─▶ Collection

Without either, everything that is pinned there is opened under the names of the pins, typed by what
the kernel knows. With a spec, exactly its maps and programs are, under their own names and with its
types, its section names and its variables, as after a load.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pyebpf import pinning
from pyebpf.abi import CollectionAbi, MapAbi, ProgramAbi
from pyebpf.errors import IncompatibleError, naming
from pyebpf.link.base import Link
from pyebpf.loader import arena
from pyebpf.loader.collection import Collection
from pyebpf.loader.maps import adopt, as_loaded
from pyebpf.loader.pins import Pins
from pyebpf.loader.variables import open_variables
from pyebpf.maps.map import Map
from pyebpf.programs.program import Program
from pyebpf.spec import CollectionSpec, MapSpec, ProgramSpec
from pyebpf.typed import Any, TypeVar
from pyebpf.uapi.bpf import MapType, ProgType

__all__ = ["load_pinned"]

Wanted = TypeVar("Wanted")
Opened = TypeVar("Opened", Map[Any, Any], Program, Link)


def load_pinned(
    directory: str | os.PathLike[str], spec: CollectionSpec | CollectionAbi | None = None
) -> Collection:
    """Open a collection by its pins: those of `Collection.pin`, and of a load with ``pin_dir``.

    Links that are pinned are opened with the programs and implementations of their names. Closing
    the collection leaves everything in the kernel as it is.

    Args:
        directory: Where they are, on a bpffs.
        spec: What is expected. Of a spec, the maps and programs that a load would make, and they
            are opened as what they would be after it; leave out what is not pinned by
            ``autocreate`` and ``autoload``. Of a `CollectionAbi`, at least what it names; whatever
            else is pinned there is opened, too.

    Returns:
        The collection; use it with ``with``, or close it. It has variables if *spec* says where;
        those of an arena need the arena's address in ``map_extra``.

    Raises:
        IncompatibleError: Something is missing or different; all of it is listed.
        SyscallError: Anything the system says.

    Since Linux 4.13 (links: 5.7).
    """
    with contextlib.ExitStack() as owned, naming(f'collection pinned at "{os.fspath(directory)}"'):
        opener = _Opener(Pins(directory), owned)
        if isinstance(spec, CollectionSpec):
            spec = spec.copy()
            maps = opener.open("map", _maps_of(spec), _open_map)
            programs = opener.open("program", _programs_of(spec), _open_program)
        else:
            abi = spec or CollectionAbi()
            maps = opener.open("map", opener.all("map") | dict(abi.maps), _open_map)
            programs = opener.open(
                "program", opener.all("program") | dict(abi.programs), _open_program
            )
        opener.raise_wrong()
        expected = {*maps, *programs} if isinstance(spec, CollectionSpec) else None
        links = opener.open("link", opener.all("link", expected), _open_link)
        opener.raise_wrong()
        name, variables = Path(directory).name, {}
        if isinstance(spec, CollectionSpec):
            name = spec.name
            variables = open_variables(spec, maps, arena.starts(spec, maps), owned)
        collection = Collection(
            owned.pop_all(), name=name, maps=maps, programs=programs, variables=variables
        )
        collection.links.update(links)
        return collection


def _maps_of(spec: CollectionSpec) -> dict[str, MapSpec]:
    return {name: each for name, each in spec.maps.items() if each.autocreate}


# As a load chooses them: implementations bring their programs, whatever autoload says.
def _programs_of(spec: CollectionSpec) -> dict[str, ProgramSpec]:
    implementing = {
        program
        for each in _maps_of(spec).values()
        if each.type == MapType.STRUCT_OPS
        for _, program in each.entries
    }
    return {
        name: each
        for name, each in spec.programs.items()
        if (name in implementing if each.type == ProgType.STRUCT_OPS else each.autoload)
    }


class _Opener:
    # Opens what is wanted; what is wrong is collected, so that one error says all of it.

    def __init__(self, pins: Pins, owned: contextlib.ExitStack) -> None:
        self._pins = pins
        self._owned = owned
        self._wrong: list[IncompatibleError] = []

    def all(self, kind: str, expected: set[str] | None = None) -> dict[str, Any]:
        if expected is None:
            return dict.fromkeys(self._pins.names(kind))
        return {name: None for name in expected if self._pins.find(kind, name) is not None}

    def open(
        self,
        kind: str,
        wanted: Mapping[str, Wanted],
        opener: Callable[[str, Wanted], Opened],
    ) -> dict[str, Opened]:
        opened: dict[str, Opened] = {}
        for name, expect in wanted.items():
            try:
                with naming(f'{kind} "{name}"'):
                    path = self._pins.find(kind, name)
                    if path is None:
                        raise IncompatibleError(name, "not pinned")
                    opened[name] = self._owned.enter_context(opener(path, expect))
            except IncompatibleError as error:
                self._wrong.append(error)
        return opened

    def raise_wrong(self) -> None:
        if len(self._wrong) == 1:
            raise self._wrong[0]
        if self._wrong:
            raise IncompatibleError("", "; ".join(map(str, self._wrong)))


def _open_map(path: str, expect: MapSpec | MapAbi | None) -> Map[Any, Any]:
    if not isinstance(expect, MapSpec):
        return Map.from_pin(path, expect=expect)
    if expect.type == MapType.STRUCT_OPS:
        # The kernel's struct, not the object's: its sizes are other ones.
        return Map.from_pin(path, expect=MapAbi(type=expect.type))
    wanted = as_loaded(expect)
    return adopt(pinning.open_pin(path), wanted)


def _open_program(path: str, expect: ProgramSpec | ProgramAbi | None) -> Program:
    return Program.from_pin(path, expect=expect)


def _open_link(path: str, _: object) -> Link:
    return Link.from_pin(path)
