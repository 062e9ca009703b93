"""BTF in the kernel: load an object's, read one back by id.

Btf ──load()──▶ FD        id ──btf_by_id()──▶ Btf
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from pyebpf import features
from pyebpf.btf.btf import Btf
from pyebpf.errors import PrivilegeError, SyscallError, naming
from pyebpf.handle import Handle
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import BtfLoad

__all__ = ["BtfObject", "btf_by_id", "load", "loaded_btfs"]

LOG_SIZE = 1 << 20


class BtfObject(Handle):
    """BTF the kernel holds.

    Since Linux 4.18.
    """

    KIND = "btf"

    @classmethod
    def from_id(cls, btf_id: int) -> BtfObject:
        """Open BTF by the kernel's id.

        Raises:
            SyscallError: ``ENOENT`` if there is none.
            PrivilegeError: Without ``CAP_SYS_ADMIN``.

        Since Linux 4.18.
        """
        return cls(bpf.btf_get_fd_by_id(btf_id))

    @property
    def id(self) -> int:
        """The kernel's id for it."""
        from pyebpf.uapi.info import BtfInfo

        raw = BtfInfo()
        bpf.obj_get_info_by_fd(self.fileno(), raw)
        return int(raw.id)

    def read(self, base: Btf | None = None) -> Btf:
        """Read the types back.

        Args:
            base: What split BTF (a module's) builds on.
        """
        from pyebpf.uapi.info import BtfInfo

        fd = self.fileno()
        sizes = BtfInfo()
        bpf.obj_get_info_by_fd(fd, sizes)
        data = bytearray(sizes.btf_size)
        bpf.obj_get_info_by_fd(fd, BtfInfo(btf=data, btf_size=len(data)))
        return Btf.decode(bytes(data), base=base)


def load(btf: Btf) -> FD:
    """Load BTF, rewritten for kernels that lack some of its kinds; ids do not move.

    Raises:
        SyscallError: With the kernel's reason, if it refused.

    Since Linux 4.18.
    """
    raw = bytes(btf.raw)
    with naming("load BTF"):
        try:
            return bpf.btf_load(BtfLoad(btf=raw, btf_size=len(raw)))
        except PrivilegeError:
            raise
        except SyscallError as error:
            first = error
        from pyebpf.btf.sanitize import sanitize

        reduced = sanitize(btf, features.btf_features())
        try:
            return bpf.btf_load(BtfLoad(btf=reduced, btf_size=len(reduced)))
        except SyscallError:
            raise _explained(raw, first) from None


# Once more with a log, whose last line says what the kernel disliked.
def _explained(raw: bytes, error: SyscallError) -> SyscallError:
    log = bytearray(LOG_SIZE)
    attr = BtfLoad(
        btf=raw, btf_size=len(raw), btf_log_buf=log, btf_log_size=len(log), btf_log_level=1
    )
    try:
        bpf.btf_load(attr).close()
    except SyscallError:
        lines = bytes(log).partition(b"\0")[0].decode(errors="replace").strip().splitlines()
        if lines:
            error.detail = lines[-1]
    return error


def btf_by_id(btf_id: int) -> Btf:
    """Read the BTF with this id from the kernel.

    Raises:
        PrivilegeError: Without ``CAP_SYS_ADMIN``.
        SyscallError: ``ENOENT`` if there is none.
    """
    with BtfObject.from_id(btf_id) as handle:
        return handle.read()


def loaded_btfs() -> Iterator[BtfObject]:
    """Open all BTF the kernel holds, one after another; the caller closes each.

    Raises:
        PrivilegeError: Without ``CAP_SYS_ADMIN``.

    Since Linux 5.4.
    """
    last = 0
    while (btf_id := bpf.btf_get_next_id(last)) is not None:
        last = btf_id
        try:
            handle = BtfObject.from_id(btf_id)
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        yield handle
