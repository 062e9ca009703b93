"""`KeptLink`: an attachment that is no ``bpf_link`` and that the kernel keeps by itself.

Closing it detaches, as with every link; `KeptLink.disown` leaves it attached. A forgotten one warns
and stays attached, and so do those of a process that was killed: `pyebpf.link.clean_up` finds them.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from pyebpf.errors import ClosedError, EbpfError, SyscallError, naming
from pyebpf.link.base import DescriptorLink
from pyebpf.link.journal import Entry, Value, record_again
from pyebpf.programs.program import Program
from pyebpf.sys.fd import FD, duplicate

__all__ = ["GONE", "KeptLink", "own_program"]

# The place, or what was attached there, is not there any more: there is nothing left to detach.
GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO)


class KeptLink(DescriptorLink):
    """A program that stays where it was put until somebody takes it off.

    Args:
        place: Descriptor of the hook: a route socket, a cgroup, a map; owned from now on.
        program: The attached program's descriptor; owned from now on.
        program_id: Its id.
        target: What it is attached to, for people.
        entry: What was written down about it.
    """

    def __init__(
        self, place: FD, program: FD, *, program_id: int, target: str, entry: Entry
    ) -> None:
        super().__init__(place, target=target)
        self._program = program
        self._program_id = program_id
        self._entry = entry

    # Takes the program off, using a descriptor of the place; raises an errno of GONE where there is
    # nothing to take off.
    def _take_off(self, place: FD) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Detach the program; nothing happens if somebody has detached or replaced it already.

        Raises:
            PrivilegeError: The process may not any more; the program stays.
            SyscallError: Anything else.
        """
        try:
            place = FD(self._fd.take())
        except ClosedError:
            return
        with place, self._program, naming(f"detach from {self.target}"):
            try:
                self._take_off(place)
            except SyscallError as error:
                if error.errno not in GONE:
                    raise
            self._entry.remove()

    def disown(self) -> None:
        """Close this object and leave the program attached, whatever becomes of this process."""
        self.leave()
        self._entry.remove()

    def leave(self) -> None:
        """Close this object alone: the program stays attached, and its process answers for it."""
        self._fd.close()
        self._program.close()

    # Another program takes the place inside the block. Both are written down until that is done: a
    # process that is killed then has left one of the two.
    @contextlib.contextmanager
    def _replacing(self, program: Program, **fields: Value) -> Iterator[None]:
        owned = own_program(program)
        try:
            entry = record_again(self._entry, program, **fields)
            try:
                yield
            except EbpfError:  # refused; after Ctrl-C it may have been done
                entry.remove()
                raise
        except BaseException:
            owned.close()
            raise
        self._program.close()
        self._entry.remove()
        self._program, self._entry = owned, entry
        self._program_id = entry.number("program_id")


def own_program(program: Program) -> FD:
    """Return a descriptor of our own for *program*, which its owner may close."""
    return FD(duplicate(program.fileno()))
