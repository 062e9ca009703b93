"""An attachment: `Link`, the owner of what keeps a program on its hook.

Closing a link detaches, unless it is pinned. A forgotten link warns (``ResourceWarning``) and
detaches when it is collected: keep it, close it or pin it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from pyebpf.errors import NotSupportedError, SyscallError, naming
from pyebpf.handle import Handle
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.typed import ClassVar
from pyebpf.uapi.attrs import LinkDetach, LinkUpdate

TYPE_CHECKING = False  # the module takes dataclasses along, which loads do without
if TYPE_CHECKING:
    from pyebpf.link.details import LinkDetails

__all__ = ["DescriptorLink", "Link", "loaded_links"]


class Link(Handle):
    """A ``bpf_link``: keeps a program attached while a descriptor or a pin holds it.

    Args:
        fd: Its descriptor; this object owns it from now on.
        target: What it is attached to, for people: ``"tracepoint sched/sched_switch"``.

    Since Linux 5.7.
    """

    KIND = "link"

    def __init__(self, fd: FD, *, target: str = "") -> None:
        super().__init__(fd)
        self.target = target

    @classmethod
    def from_fd(cls, fd: int) -> Link:
        """Open the link behind a descriptor; the caller keeps *fd*.

        Raises:
            ValueError: *fd* is not a link's.
            SyscallError: No such descriptor.

        Since Linux 5.7.
        """
        return cls(cls._fd_of(fd))

    @classmethod
    def from_id(cls, link_id: int) -> Link:
        """Open a link by the kernel's id.

        Raises:
            SyscallError: ``ENOENT`` if there is none.
            PrivilegeError: Without ``CAP_SYS_ADMIN``.

        Since Linux 5.8.
        """
        return cls(bpf.link_get_fd_by_id(link_id))

    @classmethod
    def from_pin(cls, path: str | os.PathLike[str]) -> Link:
        """Open the link pinned at *path*.

        Raises:
            SyscallError: ``ENOENT``, ``EACCES``, …
            ValueError: Something else is pinned there.

        Since Linux 5.7.
        """
        return cls(cls._fd_at(path))

    def _label(self) -> str:
        return f"link to {self.target}" if self.target else "link"

    def info(self) -> LinkDetails:
        """Return what the kernel knows about the link, of the class for its kind.

        Since Linux 5.8.
        """
        from pyebpf.link.info import link_details

        return link_details(self.fileno())

    @property
    def id(self) -> int:
        """The kernel's id for it."""
        return self.info().id

    def update(self, program: Program, *, expected: Program | None = None) -> None:
        """Put another program of the same kind in place, without a gap.

        Args:
            program: The new one; may be closed afterwards.
            expected: Only if this is the attached program.

        Raises:
            SyscallError: ``EINVAL`` if the hook cannot replace programs or the new one does not
                fit, ``ENOLINK`` if what it was attached to is gone, ``EPERM`` if another program
                than the expected one is attached.

        Since Linux 5.7.
        """
        with naming(f'update link to program "{program.name}"'):
            attr = LinkUpdate(link_fd=self.fileno(), new_prog_fd=program.fileno())
            if expected is not None:
                from pyebpf.uapi.per_hook import AttachFlag

                attr.flags, attr.old_prog_fd = AttachFlag.REPLACE, expected.fileno()
            try:
                bpf.link_update(attr)
            except SyscallError as error:
                if error.errno == errno.ENOLINK:
                    error.detail = "what it was attached to is gone, or it was detached"
                raise

    def detach(self) -> None:
        """Detach at once, pinned or not; the link stays open, attached to nothing.

        Raises:
            SyscallError: ``EOPNOTSUPP`` for hooks that only detach by closing.

        Since Linux 5.9.
        """
        with naming(f"detach from {self.target}" if self.target else "detach link"):
            bpf.link_detach(LinkDetach(link_fd=self.fileno()))

    def disown(self) -> None:
        """Leave the program attached and close this object; links only do so when pinned.

        Raises:
            NotSupportedError: It is a ``bpf_link``: pin it.
        """
        raise NotSupportedError("disowning a bpf_link", None, "pin(path) keeps it attached")

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd {self.fileno()}"
        return f"<{type(self).__name__} {self.target or 'link'}, {state}>"


class DescriptorLink(Link):
    """An attachment that is no ``bpf_link``: an open descriptor holds it.

    It cannot be pinned, updated or asked about; closing is detaching.
    """

    # The release since when this kind of attachment is a link, if it ever is.
    LINKS_SINCE: ClassVar[str | None] = None

    def _refuse(self, what: str) -> NotSupportedError:
        return NotSupportedError(f"{what} of {self.target} without a bpf_link", self.LINKS_SINCE)

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Not possible; raises `NotSupportedError`."""
        raise self._refuse("pinning")

    def info(self) -> LinkDetails:
        """Not possible; raises `NotSupportedError`."""
        raise self._refuse("information")

    @property
    def id(self) -> int:
        """There is none; raises `NotSupportedError`."""
        raise self._refuse("an id")

    def update(self, program: Program, *, expected: Program | None = None) -> None:
        """Not possible; raises `NotSupportedError`."""
        raise self._refuse("update")

    def detach(self) -> None:
        """Detach, which here is closing."""
        self.close()

    def disown(self) -> None:
        """Not possible; raises `NotSupportedError`: with the descriptor the program goes."""
        raise self._refuse("disowning")


def loaded_links() -> Iterator[Link]:
    """Open every link the kernel holds, one after another; the caller closes each.

    Raises:
        PrivilegeError: Without ``CAP_SYS_ADMIN``.

    Since Linux 5.8.
    """
    last = 0
    while (link_id := bpf.link_get_next_id(last)) is not None:
        last = link_id
        try:
            opened = Link.from_id(link_id)
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        yield opened
