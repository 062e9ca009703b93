"""`load_pinned`: a collection that is in the kernel already, opened by its pins.

    directory ─▶ pins by kind and name ─▶ checked against a spec or an ABI ─▶ Collection

Without either, everything that is pinned there is opened under the names of the pins, typed by what
the kernel knows. With a spec, exactly its maps and programs are, under their own names and with its
types, its sections and its variables, as after a load.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pyebpf import pinning
from pyebpf.abi import CollectionAbi, MapAbi, ProgramAbi
from pyebpf.errors import IncompatibleError, naming
from pyebpf.link.base import Link
from pyebpf.loader import maps as loading
from pyebpf.loader.collection import Collection
from pyebpf.loader.pins import DIRECTORIES, exists, file_name, kind_at, listed
from pyebpf.loader.variables import open_variables
from pyebpf.maps.map import Map
from pyebpf.programs.program import Program
from pyebpf.spec import CollectionSpec, MapSpec, ProgramSpec
from pyebpf.uapi.bpf import MapType, ProgType

__all__ = ["load_pinned"]

E = TypeVar("E")
Opened = TypeVar("Opened", Map[Any, Any], Program, Link)


def load_pinned(
    directory: str | os.PathLike[str], spec: CollectionSpec | CollectionAbi | None = None
) -> Collection:
    """Open a collection by its pins: those that `Collection.pin` or a load with ``pin_dir`` made.

    Links are opened, too, if they are pinned: those of the programs and implementations that are
    opened. Closing the collection leaves everything as it is in the kernel.

    Args:
        directory: Where they are, on a bpffs.
        spec: What is expected. Of a spec, all maps and programs that a load would make, and they
            become what they would be after it; leave out those that are not pinned with
            ``autocreate`` and ``autoload``. Of a `CollectionAbi`, at least what it names; whatever
            else is pinned is opened, too.

    Raises:
        IncompatibleError: Something is missing or different; all of it is listed.
        SyscallError: Anything else the system says.
    """
    with contextlib.ExitStack() as owned, naming(f'pinned collection "{os.fspath(directory)}"'):
        pins = _Pins(Path(directory), owned)
        if isinstance(spec, CollectionSpec):
            return _of_spec(pins, spec.copy(), owned)
        abi = spec or CollectionAbi()
        maps = {**dict.fromkeys(pins.names("map")), **abi.maps}
        programs = {**dict.fromkeys(pins.names("program")), **abi.programs}
        opened_maps = pins.open("map", maps, _map)
        opened_programs = pins.open("program", programs, _program)
        pins.raise_wrong()
        links = pins.open("link", dict.fromkeys(pins.names("link")), _link)
        return _collection(owned, pins, opened_maps, opened_programs, links)


def _of_spec(pins: _Pins, spec: CollectionSpec, owned: contextlib.ExitStack) -> Collection:
    maps = pins.open(
        "map", {name: each for name, each in spec.maps.items() if each.autocreate}, _map
    )
    programs = pins.open(
        "program", {name: each for name, each in spec.programs.items() if _wanted(each)}, _program
    )
    pins.raise_wrong()
    links = pins.open("link", dict.fromkeys(pins.present("link", [*maps, *programs])), _link)
    variables = open_variables(spec, maps, owned)
    collection = _collection(owned, pins, maps, programs, links, spec.name)
    collection.variables.update(variables)
    return collection
