"""Network interfaces by name, and what messages say about programs that are in the way.

In: a name or an index in the caller's network namespace. Out: the index.
"""

from __future__ import annotations

import os

from pyebpf.errors import AttachError, EbpfError, SyscallError
from pyebpf.programs.program import Program
from pyebpf.sys import kernel
from pyebpf.uapi.bpf import ProgType

__all__ = ["check_type", "interface_index", "interface_name", "named_program", "netns_inode"]


def interface_index(interface: str | int) -> int:
    """Return the index of a network interface of the caller's network namespace.

    Raises:
        AttachError: There is no such interface; near names are given.
    """
    if isinstance(interface, int):
        return interface
    try:
        return kernel.current().interface_index(interface)
    except (SyscallError, ValueError):
        import difflib
        import socket

        names = [name for _, name in socket.if_nameindex()]
        near = difflib.get_close_matches(interface, names)
        hint = f" (near: {', '.join(near)})" if near else f" (there are: {', '.join(names)})"
        text = f"no network interface {interface!r} in this network namespace{hint}"
        raise AttachError(interface, text) from None


def interface_name(index: int) -> str:
    """Return an interface's name, or its index as text if it has gone."""
    import socket  # 3 ms, and most hooks are no interfaces

    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


def netns_inode() -> int:
    """Return the inode number that tells the caller's network namespace from others."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def check_type(program: Program, *kinds: ProgType) -> None:
    """Refuse a program of another type than the hook takes.

    Raises:
        AttachError: It names both.
    """
    if program.type not in kinds:
        wanted = " or ".join(str(kind).removeprefix(ProgType.PREFIX) for kind in kinds)
        raise AttachError(
            program.name, f'program "{program.name}" is of type {program.type}, not {wanted}'
        )


def named_program(program_id: int) -> str:
    """Return a program in words: ``program 12 "xdp_drop"``; only its id if it cannot be asked."""
    try:
        with Program.from_id(program_id) as program:
            return f'program {program_id} "{program.name}"'
    except EbpfError:
        return f"program {program_id}"
