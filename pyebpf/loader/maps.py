"""From `MapSpec` to `Map`: create or reuse, fill, freeze, pin.

Data sections are filled and frozen here, before any program is loaded: the verifier reads
``.rodata`` as constants only then.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

from pyebpf import features, pinning
from pyebpf.errors import (
    LoadError,
    MapIncompatibleError,
    NotSupportedError,
    SyscallError,
    naming,
)
from pyebpf.maps.create import completed
from pyebpf.maps.map import Map
from pyebpf.spec import MapSpec, Pinning
from pyebpf.sys.fd import FD
from pyebpf.uapi.bpf import MapFlag, MapType

__all__ = ["check", "check_compatible", "load_map"]


def check(spec: MapSpec) -> None:
    """Refuse what this version does not load, before anything is.

    Raises:
        LoadError: struct_ops, static contents, or surplus bytes of a legacy definition.
    """
    if spec.type == MapType.STRUCT_OPS:
        raise LoadError(spec.name, f'map "{spec.name}": struct_ops are not loaded by this version')
    if spec.entries:
        raise LoadError(
            spec.name, f'map "{spec.name}": static contents are not loaded by this version'
        )
    if any(spec.extra):
        raise LoadError(
            spec.name,
            f'map "{spec.name}": its definition has {len(spec.extra)} bytes more than is known;'
            " clear spec.extra to ignore them",
        )


def load_map(
    spec: MapSpec,
    *,
    btf_fd: int | None,
    pin_dir: str | os.PathLike[str] | None,
    owned: contextlib.ExitStack,
    on_failure: contextlib.ExitStack,
) -> Map[Any, Any]:
    """Create a map, or open the pinned one it asks for.

    Args:
        spec: As `check` passed it.
        btf_fd: The object's BTF in the kernel, or ``None``.
        pin_dir: Where maps that ask for it are pinned and found, or ``None``: they are neither.
        owned: Receives what whoever loads must close in the end.
        on_failure: Receives what must be undone only if the load fails later: a new pin.

    Raises:
        MapIncompatibleError: The pinned map is not like the spec.
        SyscallError: Anything the kernel says.
    """
    spec = completed(spec)
    if spec.contents is not None:
        spec.value_size = len(spec.contents)
        if features.mmapable_arrays.available():
            spec.flags |= MapFlag.MMAPABLE
    path = None
    if spec.pinning is Pinning.BY_NAME and pin_dir is not None:
        path = Path(pin_dir, spec.name)
    while True:
        existing = _pinned(spec, path)
        if existing is not None:
            return owned.enter_context(existing)
        created = Map.from_spec(spec, btf_fd=btf_fd)
        owned.enter_context(created)
        _fill(created, spec)
        if path is None:
            return created
        try:
            created.pin(path)
        except SyscallError as error:
            if error.errno != errno.EEXIST:
                raise
            created.close()  # somebody else was faster: use theirs
            continue
        on_failure.callback(pinning.unpin, path, missing_ok=True)
        return created


# The map pinned at path, if there is one, with the spec's types.
def _pinned(spec: MapSpec, path: Path | None) -> Map[Any, Any] | None:
    if path is None:
        return None
    try:
        fd = pinning.open_pin(path)
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
        spec: Completed.

    Raises:
        MapIncompatibleError: It is no map, or not like the spec.
    """
    try:
        if pinning.kind_of(fd.fileno()) != "map":
            raise MapIncompatibleError(spec.name, "not a map")
        with Map.from_fd(fd.fileno()) as existing:
            check_compatible(spec, existing.spec)
        return Map(fd, spec)
    except BaseException:
        fd.close()
        raise


def check_compatible(spec: MapSpec, existing: MapSpec) -> None:
    """Raise `MapIncompatibleError` unless a map like *existing* can stand in for *spec*.

    Type, sizes, capacity and flags must agree; types are not compared.
    """
    # The kernel adds RDONLY_PROG to devmaps by itself: dev_map_init_map().
    added = MapFlag.RDONLY_PROG if spec.type in (MapType.DEVMAP, MapType.DEVMAP_HASH) else 0
    pairs = [
        ("type", spec.type, existing.type),
        ("key size", spec.key_size, existing.key_size),
        ("value size", spec.value_size, existing.value_size),
        ("max_entries", spec.max_entries, existing.max_entries),
        ("flags", MapFlag(spec.flags | added), MapFlag(existing.flags | added)),
    ]
    different = [
        f"{what} is {found!s}, not {wanted!s}" for what, wanted, found in pairs if wanted != found
    ]
    if different:
        raise MapIncompatibleError(spec.name, "; ".join(different))


# Writes a data section's bytes and, for constants, takes away the right to change them.
def _fill(created: Map[Any, Any], spec: MapSpec) -> None:
    if spec.contents is None:
        return
    if any(spec.contents):
        with created.raw as raw:
            raw[bytes(4)] = bytes(spec.contents)
    if spec.frozen:
        try:
            created.freeze()
        except SyscallError as error:
            # Before Linux 5.2 there is no such command, and the verifier has no use for it.
            if error.errno != errno.EINVAL:
                raise
        except NotSupportedError:
            pass
