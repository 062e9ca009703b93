"""From `MapSpec` to `Map`: create or reuse, fill, freeze, pin.

Data sections are filled and frozen here, before any program is loaded: the verifier reads
``.rodata`` as constants only then. Maps of maps come last, since their slots may hold any other.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping

from pyebpf import features
from pyebpf.errors import (
    LoadError,
    MapIncompatibleError,
    NotSupportedError,
    SyscallError,
    naming,
)
from pyebpf.loader import contents
from pyebpf.maps.create import completed
from pyebpf.maps.map import Map
from pyebpf.spec import MapSpec, Pinning
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.typed import Any
from pyebpf.uapi.attrs import MapElem
from pyebpf.uapi.bpf import MapFlag, MapType

__all__ = ["OF_MAPS", "adopt", "as_loaded", "check", "is_data", "load_map"]

#: Maps whose slots hold other maps.
OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})

# How often the loser of a race for a pin looks again.
PIN_TRIES = 8
_WITH_CONTENTS = frozenset({MapType.ARRAY, MapType.ARENA, MapType.STRUCT_OPS})


def check(spec: MapSpec) -> None:
    """Refuse what cannot be created, before anything is.

    Raises:
        LoadError: Contents that a map of this kind has not, surplus bytes of a legacy definition,
            or a kind of pinning that is another loader's own.
    """
    if spec.contents is not None and spec.type not in _WITH_CONTENTS:
        raise LoadError(spec.name, f'map "{spec.name}": {spec.type} cannot be given contents')
    if any(spec.extra):
        raise LoadError(
            spec.name,
            f'map "{spec.name}": its definition has {len(spec.extra)} bytes more than is known;'
            " clear spec.extra to ignore them",
        )
    if spec.pinning not in (Pinning.NONE, Pinning.BY_NAME):
        raise LoadError(
            spec.name,
            f'map "{spec.name}": pinning {spec.pinning:d} is another loader\'s own;'
            " set spec.pinning to NONE or BY_NAME",
        )


def is_data(spec: MapSpec) -> bool:
    """Whether it is a data section: an array whose only value the object brings."""
    return spec.contents is not None and spec.type == MapType.ARRAY


def load_map(
    spec: MapSpec,
    *,
    btf_fd: int | None,
    loaded: Mapping[str, Map[Any, Any]],
    pin_dir: str | os.PathLike[str] | None,
    owned: contextlib.ExitStack,
    on_failure: contextlib.ExitStack,
) -> Map[Any, Any]:
    """Create a map, or open the pinned one it asks for.

    Args:
        spec: As `check` passed it.
        btf_fd: The object's BTF in the kernel, or ``None``.
        loaded: What a map of maps may hold.
        pin_dir: Where maps that ask for it are pinned and found, or ``None``: they are neither.
        owned: Receives what whoever loads must close in the end.
        on_failure: Receives what must be undone only if the load fails later: a new pin.

    Raises:
        LoadError: Its name cannot be that of a pin.
        MapIncompatibleError: The pinned map is not like the spec.
        SyscallError: Anything the kernel says.
    """
    spec = as_loaded(spec)
    asked = spec.pinning is Pinning.BY_NAME or bool(spec.pin_path)
    if not asked or pin_dir is None:
        return _created(spec, btf_fd, loaded, owned)
    from pyebpf.loader.pins import file_name, pin_or_undo

    # A path of the object's own could lead anywhere; where pins go is the caller's to say.
    last_part = os.path.basename(spec.pin_path.rstrip("/"))
    path = os.path.join(pin_dir, file_name("map", last_part or spec.name))
    for last in (*[False] * (PIN_TRIES - 1), True):
        existing = _pinned(spec, path)
        if existing is not None:
            return owned.enter_context(existing)
        created = _created(spec, btf_fd, loaded, owned)
        try:
            pin_or_undo(created, path, on_failure)
        except SyscallError as error:
            if error.errno != errno.EEXIST or last:
                raise
            created.close()  # somebody else was faster: use theirs
        else:
            break
    return created


def as_loaded(spec: MapSpec) -> MapSpec:
    """Return a copy of *spec* as it is asked of the kernel; data sections can be memory-mapped."""
    spec = completed(spec)
    if is_data(spec):
        assert spec.contents is not None
        spec.value_size = len(spec.contents)
        with naming(f'create map "{spec.name}"'):
            if features.mmapable_arrays.available():
                spec.flags |= MapFlag.MMAPABLE
    return spec


def _created(
    spec: MapSpec,
    btf_fd: int | None,
    loaded: Mapping[str, Map[Any, Any]],
    owned: contextlib.ExitStack,
) -> Map[Any, Any]:
    kind = _class_of(spec)
    created = owned.enter_context(kind.from_spec(spec, btf_fd=btf_fd))
    if is_data(spec):
        _fill(created, spec)
    elif spec.type == MapType.ARENA and spec.contents:
        from pyebpf.loader.arena import place_globals
        from pyebpf.maps.arena import Arena

        assert isinstance(created, Arena)
        place_globals(created, spec.contents)
    elif spec.type in OF_MAPS:
        with naming(f'map "{spec.name}"'):
            contents.fill(created, spec, loaded)
    return created


def _class_of(spec: MapSpec) -> type[Map[Any, Any]]:
    if spec.type != MapType.ARENA:
        return Map
    from pyebpf.maps.arena import Arena

    return Arena


# The map pinned at path, if there is one, with the spec's types.
def _pinned(spec: MapSpec, path: str) -> Map[Any, Any] | None:
    from pyebpf.pinning import open_pin

    try:
        fd = open_pin(path)
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    with naming(f'reuse map "{spec.name}" pinned at {path}'):
        return adopt(fd, spec)


def adopt(fd: FD, spec: MapSpec) -> Map[Any, Any]:
    """Use an existing map in the place of *spec*, typed as the spec says.

    Args:
        fd: Taken over, also on failure.
        spec: Completed; the map's own from now on.

    Raises:
        MapIncompatibleError: It is no map, or not like the spec.
    """
    from pyebpf.abi import check_map
    from pyebpf.maps.info import spec_of
    from pyebpf.pinning import kind_of

    try:
        if kind_of(fd.fileno()) != "map":
            raise MapIncompatibleError(spec.name, "not a map")
        existing = spec_of(fd.fileno())
        check_map(spec, existing)
        spec.flags = existing.flags  # they need not agree in whether it can be memory-mapped
        return _class_of(spec)(fd, spec)
    except BaseException:
        fd.close()
        raise


# Writes a data section's bytes and, for constants, takes away the right to change them.
def _fill(created: Map[Any, Any], spec: MapSpec) -> None:
    assert spec.contents is not None
    if spec.contents.strip(b"\0"):
        with naming(f'update map "{spec.name}"'):
            data = bytes(spec.contents)
            bpf.map_update_elem(MapElem(map_fd=created.fileno(), key=bytes(4), value=data))
    if spec.frozen:
        # Before Linux 5.2 there is no such command, and the verifier has no use for it.
        with contextlib.suppress(NotSupportedError):
            created.freeze()
