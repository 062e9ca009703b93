"""BPF tokens: rights that a bpffs was mounted with, for processes in a user namespace.

    host       mount -t bpf -o delegate_cmds=prog_load:map_create,delegate_progs=xdp …   (root)
    container  with Token.create("/sys/fs/bpf") as token: pyebpf.load(path, token=token)

The mount says what is delegated; the process needs ``CAP_BPF`` and the like in its own user
namespace only, which is that of the mount.
"""

from __future__ import annotations

import os

from pyebpf.errors import naming
from pyebpf.handle import Handle
from pyebpf.plain import plain
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.typed import TypeVar
from pyebpf.uapi.attrs import TokenCreate
from pyebpf.uapi.bpf import AttachType, Cmd, MapType, ProgType
from pyebpf.uapi.cenum import CEnum
from pyebpf.uapi.info import TokenInfo

__all__ = ["Delegated", "Token"]

E = TypeVar("E", bound=CEnum)


@plain(frozen=True, kw_only=True)
class Delegated:
    """What a token allows.

    Attributes:
        commands: Of bpf(2).
        map_types: To be created.
        program_types: To be loaded.
        attach_types: For programs to be loaded for.
    """

    commands: frozenset[Cmd]
    map_types: frozenset[MapType]
    program_types: frozenset[ProgType]
    attach_types: frozenset[AttachType]


class Token(Handle):
    """A BPF token.

    Since Linux 6.9.
    """

    KIND = "token"

    @classmethod
    def create(cls, bpffs: str | os.PathLike[str] = "/sys/fs/bpf") -> Token:
        """Make a token of what a bpffs delegates.

        Args:
            bpffs: Where it is mounted, in the user namespace that mounted it.

        Raises:
            PrivilegeError: This process is in another user namespace (in the first one there are
                no tokens), or lacks ``CAP_BPF`` in its own.
            SyscallError: ``ENOENT`` if the mount delegates nothing, ``EINVAL`` if it is no bpffs.
            NotSupportedError: The kernel is older.

        Since Linux 6.9.
        """
        with naming(f'token of "{os.fspath(bpffs)}"'):
            flags = os.O_RDONLY | os.O_DIRECTORY
            with FD(kernel.current().open(os.fspath(bpffs), flags)) as directory:
                return cls(bpf.token_create(TokenCreate(bpffs_fd=directory.fileno())))

    def info(self) -> Delegated:
        """Return what it allows.

        Raises:
            SyscallError: ``EINVAL``, the kernel is older.

        Since Linux 6.17.
        """
        raw = TokenInfo()
        bpf.obj_get_info_by_fd(self.fileno(), raw)
        return Delegated(
            commands=_members(Cmd, raw.allowed_cmds),
            map_types=_members(MapType, raw.allowed_maps),
            program_types=_members(ProgType, raw.allowed_progs),
            attach_types=_members(AttachType, raw.allowed_attachs),
        )


# A bit for each number; "any" sets them all.
def _members(kind: type[E], bits: int) -> frozenset[E]:
    return frozenset(each for each in kind if bits >> int(each) & 1)
