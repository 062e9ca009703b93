"""What Map, Program, Link and BtfObject share: one owned descriptor and its life.

Comes in: an `FD`, owned from then on. Goes out: an object that closes with ``with``, ``close()``
or, with a warning, when it is forgotten.
"""

from __future__ import annotations

import os
from types import TracebackType

from pyebpf.errors import ClosedError, naming
from pyebpf.sys.fd import FD, duplicate
from pyebpf.typed import ClassVar, TypeVar

__all__ = ["Handle"]

H = TypeVar("H", bound="Handle")


class Handle:
    """Owner of the descriptor of one kernel object.

    Args:
        fd: The descriptor; this object owns it from now on.
    """

    # What messages call it: map, program, link, btf.
    KIND: ClassVar[str] = "object"

    def __init__(self, fd: FD) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """Return the descriptor's number, still owned by this object.

        Raises:
            ClosedError: It was closed.
        """
        try:
            return self._fd.fileno()
        except ClosedError:
            raise ClosedError(f"{self._label()} used after close") from None

    # What messages call this very one, such as: map "counts".
    def _label(self) -> str:
        return self.KIND

    # A descriptor of our own for what *fd* stands for. Information about a descriptor comes in the
    # form of its own kind, so the wrong kind must be refused before anybody asks.
    @classmethod
    def _fd_of(cls, fd: int) -> FD:
        return cls._checked(FD(duplicate(fd)), f"descriptor {fd} is no {cls.KIND}")

    @classmethod
    def _fd_at(cls, path: str | os.PathLike[str], flags: int = 0) -> FD:
        from pyebpf.pinning import open_pin

        opened = open_pin(path, flags=flags)
        return cls._checked(opened, f"no {cls.KIND} is pinned at {os.fspath(path)}")

    @classmethod
    def _checked(cls, fd: FD, refusal: str) -> FD:
        from pyebpf.pinning import kind_of

        try:
            found = kind_of(fd.fileno())
            if found != cls.KIND:
                raise ValueError(f"{refusal}, but a {found}" if found else refusal)
        except BaseException:
            fd.close()
            raise
        return fd

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd.closed

    def close(self) -> None:
        """Close the descriptor; closing twice is fine.

        The kernel keeps the object as long as something else holds it: a pin, another descriptor,
        an attachment.
        """
        self._fd.close()

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give the object a name on a bpffs, so that it outlives this process.

        Args:
            path: Where; the directory is made (mode 0700) if only its last part is missing.

        Raises:
            SyscallError: ``EEXIST``, ``EPERM`` outside a bpffs, …

        Since Linux 4.4.
        """
        from pyebpf.pinning import pin

        with naming(self._label()):
            pin(self.fileno(), path)

    def __enter__(self: H) -> H:  # noqa: PYI019 - typing.Self is Python 3.11's
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
