"""What Map, Program, Link and BtfObject share: one owned descriptor and its life.

Comes in: an `FD`, owned from then on. Goes out: an object that closes with ``with``, ``close()``
or, with a warning, when it is forgotten.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import ClassVar, TypeVar

from pyebpf import pinning
from pyebpf.sys.fd import FD

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
        return self._fd.fileno()

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
            path: Where; the directory is made if only its last part is missing.

        Raises:
            SyscallError: ``EEXIST``, ``EPERM`` outside a bpffs, …

        Since Linux 4.4.
        """
        pinning.pin(self.fileno(), path)

    def __enter__(self: H) -> H:  # noqa: PYI019 - typing.Self is Python 3.11's
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
