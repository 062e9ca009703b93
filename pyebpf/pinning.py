"""Names on a bpffs: pin, unpin, move, open, walk.

A pin is a file of a BPF file system that holds a reference to a map, program or link. Comes in: a
descriptor and a path; goes out: a path, or an owned descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from pyebpf.errors import SyscallError, naming
from pyebpf.sys import bpf, kernel
from pyebpf.sys.failures import failure
from pyebpf.sys.fd import FD
from pyebpf.typed import TYPE_CHECKING
from pyebpf.uapi.attrs import ObjPin
from pyebpf.uapi.bpf import OpenFlag

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "kind_at",
    "kind_of",
    "make_directory",
    "move",
    "open_pin",
    "pin",
    "place",
    "unpin",
    "walk",
]

ANON_INODE = "anon_inode:"
KINDS = {"bpf-map": "map", "bpf-prog": "program", "bpf_link": "link", "bpf-link": "link"}


def pin(fd: int, path: str | os.PathLike[str]) -> None:
    """Pin the object behind *fd* at *path*.

    Args:
        fd: A map, program or link; not taken over.
        path: A name on a bpffs, without dots; its directory is made if only that is missing.

    Raises:
        SyscallError: ``EEXIST`` if the name is taken, ``EPERM`` if it is not on a bpffs.

    Since Linux 4.4 (links: 5.7).
    """
    text = os.fspath(path)
    with naming(f'pin at "{text}"'):
        attr = ObjPin(pathname=_c_string(text), bpf_fd=fd)
        parent = os.path.dirname(text.rstrip("/")) or "."
        with contextlib.ExitStack() as undo:
            if make_directory(parent):
                undo.callback(_remove_empty, parent)
            try:
                bpf.obj_pin(attr)
            except SyscallError as error:
                if not kernel.current().is_bpffs(parent):
                    error.detail = f"{parent} is not on a bpffs (mount -t bpf bpffs /sys/fs/bpf)"
                elif "." in os.path.basename(text):
                    error.detail = "a bpffs takes no names with dots"
                raise
            undo.pop_all()


def place(path: str | os.PathLike[str]) -> str:
    """Return where the files of a bpffs really are; a made-up kernel keeps them elsewhere."""
    return kernel.current().place(os.fspath(path))


def make_directory(path: str | os.PathLike[str]) -> bool:
    """Make a directory for pins (mode 0700) if it is missing; return whether it was.

    Raises:
        PrivilegeError: ``EACCES``, and ``EPERM`` for a name with a dot on a bpffs.
        SyscallError: What mkdir(2) says.
    """
    try:
        os.mkdir(place(path), 0o700)
    except FileExistsError:
        return False
    except OSError as error:
        raise failure("mkdir", error.errno, os.fspath(path)) from None
    return True


# Somebody else may have put a pin there meanwhile.
def _remove_empty(directory: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(place(directory))


def unpin(path: str | os.PathLike[str], *, missing_ok: bool = False) -> None:
    """Remove the pin at *path*; the object lives on while something else holds it.

    Args:
        path: The pin.
        missing_ok: A missing file is no error.

    Raises:
        SyscallError: ``ENOENT``, or what unlink(2) says.
    """
    text = os.fspath(path)
    try:
        os.unlink(place(text))
    except OSError as error:
        if missing_ok and isinstance(error, FileNotFoundError):
            return
        with naming(f'unpin "{text}"'):
            raise failure("unlink", error.errno, text) from None


def move(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, replace: bool = False
) -> None:
    """Give the pin at *source* the name *target*, on the same bpffs.

    At no time is there no pin. Without *replace* there may be both names for a moment.

    Args:
        source: The pin.
        target: Its new name; its directory must be there.
        replace: Take the place of a pin that has the name, in one step.

    Raises:
        SyscallError: ``EEXIST`` if the name is taken, ``ENOENT``, ``EXDEV`` on another file
            system, …
    """
    old, new = os.fspath(source), os.fspath(target)
    with naming(f'move pin "{old}" to "{new}"'):
        try:
            if replace:
                os.replace(place(old), place(new))
            else:
                # A second name never takes the place of another file, as rename(2) would.
                os.link(place(old), place(new), follow_symlinks=False)
                os.unlink(place(old))
        except OSError as error:
            call = "rename" if replace else "link"
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise SyscallError(call, errno.EEXIST, new) from None
            raise failure(call, error.errno, old) from None


def open_pin(path: str | os.PathLike[str], *, flags: int = 0) -> FD:
    """Open the object pinned at *path*.

    Args:
        path: The pin.
        flags: ``BPF_F_RDONLY`` or ``BPF_F_WRONLY`` for maps (Linux 4.15), else 0.

    Returns:
        The descriptor; `kind_of` tells what it is.

    Raises:
        SyscallError: ``ENOENT``, ``EACCES``, …

    Since Linux 4.4.
    """
    text = os.fspath(path)
    with naming(f'open pin "{text}"'):
        return bpf.obj_get(ObjPin(pathname=_c_string(text), file_flags=OpenFlag(flags)))


def kind_of(fd: int) -> str:
    """Return ``"map"``, ``"program"``, ``"link"``, or ``""`` for anything else.

    Raises:
        SyscallError: No such descriptor, or no ``/proc``.
    """
    # The anonymous inode's name is the only thing that tells the kinds apart before asking for
    # info, which answers by position, not by kind. Some kernels put it in brackets.
    target = kernel.current().file_name(fd)
    return KINDS.get(target.removeprefix(ANON_INODE).strip("[]\n"), "")


def kind_at(path: str | os.PathLike[str]) -> str:
    """Return what is pinned at *path*: ``"map"``, ``"program"``, ``"link"``, or ``""``.

    Raises:
        SyscallError: ``ENOENT``, ``EACCES``, …
    """
    with open_pin(path) as fd:
        return kind_of(fd.fileno())


def walk(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield every pin below *directory*, in sorted order, directories left out.

    `kind_at` tells what each is. The kernel's own files, such as ``maps.debug``, are among them.
    """
    from pathlib import Path

    top = place(directory)
    for parent, subdirectories, files in os.walk(top):
        subdirectories.sort()
        for name in sorted(files):
            yield Path(directory, os.path.relpath(parent, top), name)


def _c_string(text: str) -> bytes:
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("embedded null byte in path")
    return encoded + b"\0"
