"""Taking over a pinned link: how a daemon is replaced by a newer one while its hooks go on working.

pin there, hook can update   BPF_LINK_UPDATE: no packet sees neither program
pin there, hook cannot       attach anew, then rename the new pin over the old one: for a
moment both programs run
pin there, hook gone         attach anew, replace the pin
no pin                       attach, pin
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from pyebpf import pinning
from pyebpf.errors import AttachError, SyscallError, naming
from pyebpf.link.base import Link
from pyebpf.link.interface import named_program
from pyebpf.programs.program import Program

__all__ = ["adopt"]


def adopt(
    path: str | os.PathLike[str],
    program: Program,
    *,
    attach: Callable[[], Link] | None = None,
    expected: Program | None = None,
) -> Link:
    """Open the link that is pinned at *path*, and put *program* in place of the one it holds.

    Args:
        path: The pin.
        program: The new program; may be closed afterwards.
        attach: Attaches *program* where there is no such pin, or its link cannot be updated:
            ``lambda: link.attach_xdp(program, "eth0")``. What it returns is pinned at *path*.
        expected: Only if this program is attached.

    Returns:
        The link, pinned: closing it leaves the program attached.

    Raises:
        SyscallError: ``ENOENT``: nothing is pinned there, and *attach* is not given; ``ENOLINK``:
            what it was attached to is gone, likewise; ``EINVAL``: the hook cannot update, likewise;
            ``EPERM``: another program than the expected one is attached.
        AttachError: The link's program is of another type.
        ValueError: Something else is pinned there.

    Since Linux 5.7.
    """
    with naming(f'adopt link at "{os.fspath(path)}" for program "{program.name}"'):
        try:
            link = Link.from_pin(path)
        except SyscallError as error:
            if error.errno != errno.ENOENT or attach is None:
                raise
            return _attach_and_pin(attach, path)
        try:
            _check_type(link, program)
            link.update(program, expected=expected)
        except SyscallError as error:
            link.close()
            if attach is None or error.errno not in (errno.ENOLINK, errno.EINVAL):
                if error.errno == errno.ENOLINK:
                    error.detail = "what it was attached to is gone: attach=… attaches anew"
                elif error.errno == errno.EINVAL:
                    error.detail = "this kind of link takes no other program: attach=… replaces it"
                raise
            return _attach_and_pin(attach, path, replace=True)
        except BaseException:
            link.close()
            raise
        return link


def _check_type(link: Link, program: Program) -> None:
    number = link.info().program_id
    try:
        with Program.from_id(number) as before:
            same = before.type == program.type
    except SyscallError as error:
        if error.errno != errno.ENOENT:  # it went with what it was attached to
            raise
        return
    if not same:
        text = f"its {named_program(number)} is of another type than {program.type}"
        raise AttachError(program.name, text)


# A pin of its own first: renaming over the old one is one step, and until then nothing is lost.
def _attach_and_pin(
    attach: Callable[[], Link], path: str | os.PathLike[str], *, replace: bool = False
) -> Link:
    link = attach()
    try:
        if not replace:
            link.pin(path)
            return link
        unfinished = Path(f"{os.fspath(path)}_adopting")
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
        link.pin(unfinished)
        pinning.move(unfinished, path, replace=True)
    except BaseException:
        link.close()
        raise
    return link
