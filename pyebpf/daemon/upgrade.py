"""Pinned maps over the life of a daemon: opened, created, replaced by ones that fit.

    open_or_create(spec, path)     pin fits ──▶ adopted        entries stay
                                   no pin ──▶ created, pinned
                                   other ──▶ refused, or replaced: programs that use it keep the old

    open_parallel(spec, path)      pin ──▶ path:pending        readers keep the old map
                                   new map ──▶ path            ... while the new one fills
    end_parallel(path)             path:pending goes

Two daemons may race for a pin: whoever comes second uses the first one's map, if it fits.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Callable
from pathlib import Path

from pyebpf import pinning
from pyebpf.abi import MapAbi
from pyebpf.daemon.registry import register
from pyebpf.errors import MapIncompatibleError, SyscallError, naming
from pyebpf.maps.arena import Arena
from pyebpf.maps.map import Map
from pyebpf.maps.user_codec import CodecLike
from pyebpf.spec import MapSpec
from pyebpf.typed import Any, NamedTuple
from pyebpf.uapi.bpf import MapType

__all__ = [
    "Found",
    "Opened",
    "end_parallel",
    "open_if_exists",
    "open_or_create",
    "open_parallel",
    "reopen",
]

# What programs jump through: a fresh one would be empty, and every tail call fall through.
_KEPT = frozenset({MapType.PROG_ARRAY})
_TRIES = 8
# As cilium has it; no name of a map has a colon. (A bpffs takes no dots.)
_PENDING = ":pending"


class Found(enum.Enum):
    """How a map was had."""

    ADOPTED = "adopted"
    CREATED = "created"
    REPLACED = "replaced"


class Opened(NamedTuple):
    """A map, and how it was had.

    Attributes:
        map: Close it like any other.
        found: Whether it is an old one, a new one, or one in the place of another.
    """

    map: Map[Any, Any]
    found: Found


def open_or_create(
    spec: MapSpec,
    path: str | os.PathLike[str] | None,
    *,
    replace: bool = False,
    typed: bool = True,
    validate: Callable[[Map[Any, Any]], bool] | None = None,
    key: CodecLike | None = None,
    value: CodecLike | None = None,
) -> Opened:
    """Open the map pinned at *path* if it fits, else create it and pin it there.

    Args:
        spec: What it must be.
        path: The pin; directories above it are made. ``None`` creates one without a pin.
        replace: A pin of a map that does not fit is given to a new one. The old map lives on in
            the programs that use it. Not of prog arrays, whose programs would be lost.
        typed: Give the kernel the spec's types with a new map.
        validate: Looks at a map that fits; ``False`` says that it does not, for reasons of the
            caller's: old contents, a version in it.
        key: Codec of keys; by its types by default.
        value: Codec of values likewise.

    Raises:
        MapIncompatibleError: What is pinned there does not fit, and *replace* is not given or must
            not be.
        ValueError: Something else than a map is pinned there.
        SyscallError: Anything the kernel says; nothing is changed then.
    """
    if path is None:
        created = Map.from_spec(spec, typed=typed, key=key, value=value)
        register(created, None)
        return Opened(created, Found.CREATED)
    where = Path(path)
    found = Found.CREATED
    for _ in range(_TRIES):
        try:
            existing = _fitting(spec, where, validate, key, value)
        except MapIncompatibleError:
            if not replace or spec.type in _KEPT:
                raise
            found = Found.REPLACED
            existing = None
        if existing is not None:
            register(existing, where)
            return Opened(existing, Found.ADOPTED)
        made = _placed(spec, where, found, typed, key, value)
        if made is not None:
            register(made, where)
            return Opened(made, found)
    raise MapIncompatibleError(spec.name, f"pins come and go at {where}")


def open_if_exists(
    path: str | os.PathLike[str],
    *,
    expect: MapSpec | MapAbi | None = None,
    key: CodecLike | None = None,
    value: CodecLike | None = None,
) -> Map[Any, Any] | None:
    """Open the map pinned at *path*, or return ``None`` if there is no pin.

    Args:
        path: The pin.
        expect: What it must be.
        key: Codec of keys; by its types by default.
        value: Codec of values likewise.

    Raises:
        MapIncompatibleError: It is not as expected.
        ValueError: Something else than a map is pinned there.
        SyscallError: ``EACCES``, …
    """
    try:
        opened = Map.from_pin(path, expect=expect, key=key, value=value)
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    register(opened, Path(path))
    return opened


def reopen(opened: Map[Any, Any], path: str | os.PathLike[str]) -> Map[Any, Any]:
    """Open what is pinned at *path* now, with the types of a map that is closed or out of date.

    The old one is closed if the new one could be opened.

    Args:
        opened: The map as it was.
        path: The pin.

    Raises:
        MapIncompatibleError: What is there now is another kind of map.
        SyscallError: ``ENOENT``, …; the old one stays as it was.
    """
    codecs = opened.key_codec, opened.one_value_codec
    fresh = Map.from_pin(path, expect=opened.spec, key=codecs[0], value=codecs[1])
    opened.close()
    register(fresh, Path(path))
    return fresh


def open_parallel(
    spec: MapSpec,
    path: str | os.PathLike[str],
    *,
    typed: bool = True,
    key: CodecLike | None = None,
    value: CodecLike | None = None,
) -> Map[Any, Any]:
    """Put a fresh map in the place of the one that is pinned, which stays pinned beside it.

    Programs that are loaded from now on use the new map, while those that run go on with the old
    one; `end_parallel` says that all have changed over. An earlier one that was never ended loses
    its pin.

    Args:
        spec: Of the new map; it need not be like the old one.
        path: The pin; the old map's becomes ``path:pending``.
        typed: Give the kernel the spec's types.
        key: Codec of keys; by its types by default.
        value: Codec of values likewise.

    Raises:
        SyscallError: Anything the kernel says; then the pins are as they were.
    """
    where = Path(path)
    pending = _pending(where)
    fresh = Map.from_spec(spec, typed=typed, key=key, value=value)
    try:
        with naming(f'open map "{spec.name}" in parallel'):
            moved = _move_if_there(where, pending)
            try:
                fresh.pin(where)
            except BaseException:
                if moved:
                    pinning.move(pending, where)
                raise
    except BaseException:
        fresh.close()
        raise
    register(fresh, where)
    return fresh


def end_parallel(path: str | os.PathLike[str]) -> bool:
    """Let go of the old map that `open_parallel` has kept.

    Args:
        path: The pin of the new one.

    Returns:
        Whether there was an old one.

    Raises:
        SyscallError: It cannot be unpinned.
    """
    pending = _pending(Path(path))
    there = pending.exists()
    pinning.unpin(pending, missing_ok=True)
    return there


def _pending(path: Path) -> Path:
    return path.with_name(path.name + _PENDING)


def _move_if_there(source: Path, target: Path) -> bool:
    try:
        pinning.move(source, target, replace=True)
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


# The map that is pinned there, ``None`` without a pin; incompatible ones are errors.
def _fitting(
    spec: MapSpec,
    path: Path,
    validate: Callable[[Map[Any, Any]], bool] | None,
    key: CodecLike | None,
    value: CodecLike | None,
) -> Map[Any, Any] | None:
    kind = _class_of(spec)
    try:
        existing = kind.from_pin(path, expect=spec, key=key, value=value)
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    try:
        if validate is not None and not validate(existing):
            raise MapIncompatibleError(spec.name, f"map pinned at {path}: not valid any more")
    except BaseException:
        existing.close()
        raise
    return existing


# A new map with its pin, or ``None`` if somebody else was faster.
def _placed(
    spec: MapSpec,
    path: Path,
    found: Found,
    typed: bool,
    key: CodecLike | None,
    value: CodecLike | None,
) -> Map[Any, Any] | None:
    made = _class_of(spec).from_spec(spec, typed=typed, key=key, value=value)
    try:
        _make_directories(path.parent)
        if found is Found.CREATED:
            made.pin(path)
        else:
            # Beside it first, then over it in one step: at no time is there no pin.
            beside = path.with_name(f"{path.name}:{os.getpid()}:new")
            pinning.unpin(beside, missing_ok=True)
            made.pin(beside)
            try:
                pinning.move(beside, path, replace=True)
            except BaseException:
                pinning.unpin(beside, missing_ok=True)
                raise
    except SyscallError as error:
        made.close()
        if error.errno == errno.EEXIST:
            return None
        raise
    except BaseException:
        made.close()
        raise
    return made


def _make_directories(directory: Path) -> None:
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for each in reversed(missing):
        pinning.make_directory(each)


def _class_of(spec: MapSpec) -> type[Map[Any, Any]]:
    return Arena if spec.type == MapType.ARENA else Map
