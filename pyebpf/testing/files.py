"""Descriptors of the made-up kernel: read ends of pipes, for which close, dup and epoll are real.

    user's fd, its dups ──▶ read end ═══ write end ◀── OpenFile ──▶ object
                             │ fstat().st_ino                │ readable: a byte is in the pipe
                             ▼                               │ POLLERR: nobody has it open any more
                          Files.find                         ▼

An object lives as long as something of this kernel refers to it, and open files do. Who closes a
descriptor tells the operating system, not us, so `Files.sweep` looks which files nobody has open
any more; the kernel calls it before it answers anything that could depend on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
from collections.abc import Callable, Collection, Iterable

from pyebpf.testing.refusal import Refused
from pyebpf.typed import ClassVar, Protocol

__all__ = ["Files", "KernelObject", "OpenFile"]

_BYTE = b"\1"
_PIPE_SIZE = 1 << 16


class KernelObject(Protocol):
    """What a descriptor may stand for."""

    FILE_NAME: ClassVar[str]
    """As ``/proc/self/fd`` shows it."""


class OpenFile:
    """One open file; descriptors that are dups of each other share it.

    Args:
        what: What it is of.
        flags: ``BPF_F_RDONLY`` or ``BPF_F_WRONLY``, with which maps are opened.
        writer: The pipe's write end, which this object owns.
        inode: The pipe's.
    """

    __slots__ = ("__weakref__", "_readable", "flags", "inode", "what", "writer")

    def __init__(self, what: KernelObject, flags: int, writer: int, inode: int) -> None:
        self.what = what
        self.flags = flags
        self.writer = writer
        self.inode = inode
        self._readable = False

    def signal(self) -> None:
        """Make its descriptors readable."""
        if self._readable:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(self.writer, _BYTE)
        # Now, not before: or `calm` might take back what is yet to come, and not what has come.
        self._readable = True

    def calm(self) -> None:
        """Make them unreadable; look at what they are of after this, not before."""
        if not self._readable:
            return
        # A second read end for a moment: one that stayed would hide that nobody has the file open.
        with contextlib.suppress(OSError):
            reader = os.open(
                f"/proc/self/fd/{self.writer}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
            try:
                while os.read(reader, _PIPE_SIZE):
                    pass
            finally:
                os.close(reader)
        # Last: who signals before this does not write, but has put in what is looked at next.
        self._readable = False


class Files:
    """All open files of one kernel.

    Args:
        released: Called with each file that nobody has open any more.
    """

    def __init__(self, released: Callable[[OpenFile], None]) -> None:
        self._released = released
        self._files: dict[int, OpenFile] = {}
        self._poll = select.poll()
        self._by_writer: dict[int, OpenFile] = {}

    def open(self, what: KernelObject, flags: int = 0) -> int:
        """Open a file; the caller owns the descriptor.

        Raises:
            Refused: ``EMFILE``.
        """
        try:
            reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise Refused(error.errno or errno.EMFILE) from None
        file = OpenFile(what, flags, writer, os.fstat(reader).st_ino)
        self._files[file.inode] = self._by_writer[writer] = file
        self._poll.register(writer, 0)  # errors are always reported
        return reader

    def find(self, fd: int) -> OpenFile | None:
        """Return the file behind a descriptor, or ``None`` for one of the real kernel.

        Raises:
            Refused: ``EBADF``: it is closed.
        """
        try:
            inode = os.fstat(fd).st_ino
        except (OSError, OverflowError):
            raise Refused(errno.EBADF) from None
        return self._files.get(inode)

    def sweep(self) -> None:
        """Let go of the files that nobody has open any more."""
        # What is let go of may have kept others open: they are seen the next time around.
        while gone := [fd for fd, event in self._poll.poll(0) if event & select.POLLERR]:
            self._let_go(self._by_writer[fd] for fd in gone)

    def holders(self, what: KernelObject) -> int:
        """Return how many files of an object are open."""
        return sum(1 for file in self._files.values() if file.what is what)

    def calm(self, fds: Collection[int]) -> None:
        """Take the readiness of descriptors back."""
        for fd in fds:
            with contextlib.suppress(Refused):
                file = self.find(fd)
                if file is not None:
                    file.calm()

    def signal(self, what: KernelObject) -> None:
        """Make the descriptors of an object readable."""
        for file in list(self._files.values()):
            if file.what is what:
                file.signal()

    def close(self) -> None:
        """Let go of everything; descriptors that are still open hang up."""
        self._let_go(list(self._files.values()))

    def _let_go(self, files: Iterable[OpenFile]) -> None:
        for file in files:
            del self._files[file.inode], self._by_writer[file.writer]
            self._poll.unregister(file.writer)
            os.close(file.writer)
            self._released(file)
