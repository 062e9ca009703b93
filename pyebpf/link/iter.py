"""Iterators: a program walks the kernel's tasks, maps, sockets, … and what it prints is read.

BPF_LINK_CREATE ──▶ link ──BPF_ITER_CREATE──▶ a file: each one is a walk of its own
                    └─pin──▶ a path on a bpffs: each open(2) of it is, too
"""

from __future__ import annotations

import errno
import io
import os

from pyebpf.errors import AttachError, NotSupportedError, SyscallError, naming
from pyebpf.link.base import Link
from pyebpf.maps.map import Map
from pyebpf.programs.program import Program
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.typed import Any
from pyebpf.uapi.attrs import (
    IterCreate,
    IterLinkInfoCgroup,
    IterLinkInfoMap,
    IterLinkInfoTask,
    LinkCreateIter,
)
from pyebpf.uapi.bpf import AttachType, CgroupIterOrder, ProgType
from pyebpf.uapi.cstruct import CStruct

__all__ = ["IterLink", "attach_iter"]


class IterLink(Link):
    """An iterator, ready to be walked.

    Since Linux 5.8.
    """

    def open(self) -> io.BufferedReader:
        """Start a walk; return a file to read what the program prints, which the caller closes.

        Raises:
            SyscallError: The kernel refused.
        """
        with naming(f"read {self.target}"):
            opened = bpf.iter_create(IterCreate(link_fd=self.fileno()))
            # The kernel hands out a few pages at a time, and short reads on the way.
            return io.BufferedReader(io.FileIO(opened.take()), 1 << 16)

    def read(self) -> bytes:
        """Walk once; return all that the program printed.

        Raises:
            SyscallError: The kernel refused, or the program failed (``EAGAIN``, ``EINVAL``).
        """
        with self.open() as file:
            try:
                return file.read()
            except OSError as error:
                raise SyscallError("read", error.errno or 0, self.target) from None


def attach_iter(
    program: Program,
    *,
    map: Map[Any, Any] | None = None,  # noqa: A002 - the kernel's word
    cgroup: str | os.PathLike[str] | None = None,
    order: CgroupIterOrder = CgroupIterOrder.DESCENDANTS_PRE,
    pid: int = 0,
    tid: int = 0,
    pidfd: int = 0,
) -> IterLink:
    """Make an iterator of *program*.

    Args:
        program: Of type ``BPF_PROG_TYPE_TRACING`` with ``SEC("iter/…")``; may be closed afterwards.
        map: The map whose elements ``iter/bpf_map_elem`` and the like walk.
        cgroup: Where ``iter/cgroup`` starts, a directory (Linux 6.1); by default at the root.
        order: Of ``iter/cgroup``.
        pid: The only process whose threads ``iter/task`` and the like walk (Linux 6.1).
        tid: The only thread (Linux 6.1).
        pidfd: The process by a descriptor, instead of *pid* (Linux 6.1).

    Returns:
        A link whose `IterLink.open` starts a walk; it detaches when closed.

    Raises:
        AttachError: *program* is none for an iterator, or needs a map; no such cgroup.
        NotSupportedError: The kernel cannot choose tasks or cgroups.
        SyscallError: ``EINVAL``: the map is of a kind that cannot be walked, …; ``EACCES``: its
            keys or values are smaller than what the program reads.

    Since Linux 5.8.
    """
    said = program.spec.attach_type if program.spec is not None else AttachType.TRACE_ITER
    if program.type != ProgType.TRACING or said != AttachType.TRACE_ITER:
        raise AttachError(program.name, f'program "{program.name}" is no iterator (SEC("iter/…"))')
    walked = program.spec.attach_to if program.spec is not None else program.name
    with naming(f'attach program "{program.name}" to iterator {walked}'):
        if walked in _OVER_MAPS and map is None:
            raise AttachError(program.name, f"iter/{walked} walks a map: map=…")
        given: CStruct | None = None
        held: FD | None = None
        if map is not None:
            given = IterLinkInfoMap(map_fd=map.fileno())
        elif cgroup is not None or walked == "cgroup":
            held = _open_cgroup(cgroup) if cgroup is not None else None
            given = IterLinkInfoCgroup(order=order, cgroup_fd=held.fileno() if held else 0)
        elif pid or tid or pidfd:
            given = IterLinkInfoTask(tid=tid, pid=pid, pid_fd=pidfd)
        attr = LinkCreateIter(prog_fd=program.fileno(), attach_type=AttachType.TRACE_ITER)
        if given is not None:
            attr.iter_info, attr.iter_info_len = given, type(given).SIZE
        try:
            return IterLink(bpf.link_create(attr), target=f"iterator {walked}")
        except SyscallError as error:
            if error.errno == errno.EACCES and map is not None:
                error.detail = f'the program reads larger keys or values than "{map.name}" has'
            elif error.errno == errno.E2BIG:
                raise NotSupportedError("iterators over chosen tasks or cgroups", "6.1") from None
            elif error.errno == errno.ESRCH:
                error.detail = f"no process {pid or tid}"
            raise
        finally:
            if held is not None:
                held.close()


_OVER_MAPS = ("bpf_map_elem", "bpf_sk_storage_map", "sockmap")


def _open_cgroup(path: str | os.PathLike[str]) -> FD:
    try:
        return FD(kernel.current().open(os.fspath(path), os.O_RDONLY | os.O_DIRECTORY))
    except SyscallError as error:
        if isinstance(error, PermissionError):
            raise
        raise AttachError(os.fspath(path), f"no cgroup {path}: {error}") from None
