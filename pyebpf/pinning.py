"""Names on a bpffs: pin, unpin, open, walk.

A pin is a file of a BPF file system that holds a reference to a map, program or link. Comes in: a
descriptor and a path; goes out: a path, or an owned descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pyebpf.errors import SyscallError, naming
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.sys.mount import is_bpffs
from pyebpf.uapi.attrs import ObjPin
from pyebpf.uapi.bpf import OpenFlag

__all__ = ["kind_of", "open_pin", "pin", "unpin", "walk"]

ANON_INODE = "anon_inode:"
KINDS = {"bpf-map": "map", "bpf-prog": "program", "bpf_link": "link", "bpf-link": "link"}


def pin(fd: int, path: str | os.PathLike[str]) -> None:
    """Pin the object behind *fd* at *path*.

    Args:
        fd: A map, program or link; not taken over.
        path: A name on a bpffs; its directory is made (mode 0700) if only the last part is missing.

    Raises:
        SyscallError: ``EEXIST`` if the name is taken, ``EPERM`` if it is not on a bpffs.

    Since Linux 4.4 (links: 5.7).
    """
    text = os.fspath(path)
    with naming(f'pin at "{text}"'):
        parent = Path(text).parent
        if not parent.is_dir():
            try:
                parent.mkdir(mode=0o700)
            except OSError as error:
                raise SyscallError(
                    "mkdir", error.errno or 0, f"{parent}: {error.strerror}"
                ) from None
        try:
            bpf.obj_pin(ObjPin(pathname=_c_string(text), bpf_fd=fd))
        except SyscallError as error:
            if not is_bpffs(parent):
                error.detail = f"{parent} is not on a bpffs (mount -t bpf bpffs /sys/fs/bpf)"
            raise


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
        Path(text).unlink(missing_ok=missing_ok)
    except OSError as error:
        with naming(f'unpin "{text}"'):
            raise SyscallError("unlink", error.errno or 0) from None


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
    """Return ``"map"``, ``"program"``, ``"link"``, or ``""`` for anything else."""
    # The anonymous inode's name is the only thing that tells the kinds apart before asking for
    # info, which answers by position, not by kind. Some kernels put it in brackets.
    target = str(Path(f"/proc/self/fd/{fd}").readlink()).removeprefix(ANON_INODE).strip("[]\n")
    return KINDS.get(target, "")


def walk(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield every pin below *directory*, in sorted order, directories left out."""
    for parent, subdirectories, files in os.walk(directory):
        subdirectories.sort()
        for name in sorted(files):
            yield Path(parent, name)


def _c_string(text: str) -> bytes:
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("embedded null byte in path")
    return encoded + b"\0"
