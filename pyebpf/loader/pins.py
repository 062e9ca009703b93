"""Where the parts of a collection are pinned, and how: all of them, or none.

directory/maps/counts          what `Collection.pin` makes; dots of names become underscores
directory/programs/count
directory/links/count
directory/counts               what a load with ``pin_dir`` and libbpf make: any kind
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping

from pyebpf import pinning
from pyebpf.errors import EbpfError, IncompatibleError, LoadError, naming
from pyebpf.link.base import Link
from pyebpf.maps.map import Map
from pyebpf.programs.program import Program
from pyebpf.sys.failures import failure
from pyebpf.typed import Any

__all__ = ["Pins", "file_name", "pin_all", "pin_or_undo"]

Pinnable = Map[Any, Any] | Program | Link

#: By what `pinning.kind_of` says.
DIRECTORIES = {"map": "maps", "program": "programs", "link": "links"}


def file_name(kind: str, name: str) -> str:
    """Return the name of the pin of an object.

    Raises:
        LoadError: It would lead elsewhere: names come from objects, which may be anybody's.
    """
    if not name or "/" in name or "\0" in name:
        raise LoadError(name, f'{kind} "{name}" cannot be pinned by this name')
    # Dots mean something else on a bpffs; libbpf replaces them, too.
    return name.replace(".", "_")


def pin_all(
    directory: str | os.PathLike[str],
    maps: Mapping[str, Map[Any, Any]],
    programs: Mapping[str, Program],
    links: Mapping[str, Link],
) -> None:
    """Pin everything below a directory, which is made if only its last part is missing.

    Raises:
        LoadError: A name cannot be that of a pin.
        SyscallError: What the kernel says; then nothing is pinned.
    """
    groups: dict[str, Mapping[str, Pinnable]] = {"map": maps, "program": programs, "link": links}
    with contextlib.ExitStack() as undo:
        _make(os.fspath(directory), undo)
        for kind, group in groups.items():
            for name, each in group.items():
                path = os.path.join(directory, DIRECTORIES[kind], file_name(kind, name))
                with naming(f'{kind} "{name}"'):
                    pin_or_undo(each, path, undo)
        undo.pop_all()


def pin_or_undo(what: Pinnable, path: str, undo: contextlib.ExitStack) -> None:
    """Pin one object; *undo* receives what takes the pin and a directory made for it away again.

    Raises:
        SyscallError: What the kernel says.
    """
    _make(os.path.dirname(path) or ".", undo)
    # What is to be undone is known before it is done: Ctrl-C may come right after. But a pin that
    # is there already, perhaps of this very object, is not ours to remove.
    if not os.path.lexists(pinning.place(path)):
        undo.callback(_unpin, what, path)
    what.pin(path)


def _make(directory: str, undo: contextlib.ExitStack) -> None:
    if pinning.make_directory(directory):
        undo.callback(_remove_directory, directory)


# Takes away the pin of an object of ours, never one that somebody else has put there.
def _unpin(what: Pinnable, path: str) -> None:
    if what.closed:
        return
    with contextlib.suppress(EbpfError, ValueError), type(what).from_pin(path) as pinned:
        if pinned.id == what.id:
            pinning.unpin(path, missing_ok=True)


def _remove_directory(path: str) -> None:
    with contextlib.suppress(OSError):  # somebody else uses it meanwhile
        os.rmdir(pinning.place(path))


class Pins:
    """The pins of one directory.

    Args:
        directory: Where they are.

    Raises:
        SyscallError: It cannot be read.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = os.fspath(directory)
        self._flat = _files(self._directory)
        self._nested = {
            kind: _files(os.path.join(self._directory, name), missing_ok=True)
            for kind, name in DIRECTORIES.items()
        }
        self._kinds: dict[str, str] = {}

    def names(self, kind: str) -> list[str]:
        """Return the names of all pins of a kind."""
        flat = [name for name in self._flat if self._flat_kind(name) == kind]
        return sorted({*self._nested[kind], *flat})

    def find(self, kind: str, name: str) -> str | None:
        """Return the pin of an object, or ``None``.

        Raises:
            IncompatibleError: Something of another kind is pinned there.
        """
        file = file_name(kind, name)
        path = os.path.join(self._directory, DIRECTORIES[kind], file)
        if file in self._nested[kind]:
            found = pinning.kind_at(path)
        elif file in self._flat:
            path, found = os.path.join(self._directory, file), self._flat_kind(file)
        else:
            return None
        if found != kind:
            what = f"a {found}" if found else "no such object"
            raise IncompatibleError(name, f"what is pinned at {path} is {what}")
        return path

    def _flat_kind(self, name: str) -> str:
        if name not in self._kinds:
            self._kinds[name] = pinning.kind_at(os.path.join(self._directory, name))
        return self._kinds[name]


# The names of files right in a directory. With dots they are the kernel's own, no pins of anybody.
def _files(directory: str, *, missing_ok: bool = False) -> list[str]:
    try:
        with os.scandir(pinning.place(directory)) as entries:
            return [each.name for each in entries if "." not in each.name and not each.is_dir()]
    except OSError as error:
        if missing_ok and error.errno == errno.ENOENT:
            return []
        raise failure("opendir", error.errno, directory) from None
