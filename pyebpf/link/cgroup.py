"""Programs on a control group: what its processes may do with sockets, devices and sysctls.

BPF_LINK_CREATE (5.7)  ──▶ bpf_link, gone with its last descriptor
└─ BPF_PROG_ATTACH     ──▶ the cgroup keeps it: with BPF_F_ALLOW_MULTI (4.15) beside others, with
                           BPF_F_ALLOW_OVERRIDE (4.11) until a lower cgroup has its own, or alone
"""

from __future__ import annotations

import errno
import os

from pyebpf.errors import (
    AttachError,
    EbpfError,
    NotSupportedError,
    PrivilegeError,
    SyscallError,
    naming,
)
from pyebpf.host import mounts
from pyebpf.link.anchor import Anchor, Anchored, place
from pyebpf.link.attached import query
from pyebpf.link.base import Link
from pyebpf.link.interface import named_program
from pyebpf.link.prog_attach import Hook, attach_to
from pyebpf.programs.program import Program
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.sys.privileges import Capabilities
from pyebpf.uapi.attrs import LinkCreate, LinkCreateCgroup
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.per_hook import AttachFlag

__all__ = ["attach_cgroup"]

# For programs whose section or type leaves one place only; others say it in their section's name.
_BY_TYPE = {
    ProgType.SOCK_OPS: AttachType.CGROUP_SOCK_OPS,
    ProgType.CGROUP_DEVICE: AttachType.CGROUP_DEVICE,
    ProgType.CGROUP_SYSCTL: AttachType.CGROUP_SYSCTL,
}
_KINDS = (
    ProgType.CGROUP_SKB,
    ProgType.CGROUP_SOCK,
    ProgType.CGROUP_SOCK_ADDR,
    ProgType.CGROUP_SOCKOPT,
    ProgType.CGROUP_SYSCTL,
    ProgType.CGROUP_DEVICE,
    ProgType.SOCK_OPS,
    ProgType.LSM,
)


def attach_cgroup(
    program: Program,
    cgroup: str | os.PathLike[str] | int,
    *,
    attach_type: AttachType | None = None,
    flags: AttachFlag | None = None,
    before: Anchor | None = None,
    after: Anchor | None = None,
    revision: int = 0,
    use_link: bool | None = None,
) -> Link:
    """Attach *program* to a control group; it runs for processes there and in all groups below.

    Args:
        program: Of a cgroup type, ``BPF_PROG_TYPE_SOCK_OPS``, or ``BPF_PROG_TYPE_LSM`` for
            ``SEC("lsm_cgroup/…")``; may be closed afterwards.
        cgroup: A directory of a cgroup2 file system, or a descriptor of one, which stays the
            caller's.
        attach_type: Which hook; by default what the section's name says.
        flags: ``BPF_F_ALLOW_OVERRIDE``, ``BPF_F_ALLOW_MULTI``, 0 for neither, maybe with
            ``BPF_F_PREORDER``; implies ``BPF_PROG_ATTACH`` unless it is that last one alone. Links
            are always attached beside others.
        before: Run before this one, or before ``"all"`` (Linux 6.17). Links go beside links, and
            programs attached without one beside such programs.
        after: Run after this one; after ``"all"`` by default (Linux 6.17).
        revision: Refuse if the hook has changed since it had this revision (Linux 6.17); 0: never.
        use_link: True never falls back to ``BPF_PROG_ATTACH``, False uses it at once.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type, or *cgroup* is no cgroup2 directory.
        PrivilegeError: ``EPERM``, also if the group or one above holds a program that forbids
            others; that is named then.
        SyscallError: ``EEXIST``: attached there already, …

    Since Linux 5.7 (links), 4.10.
    """
    if program.type not in _KINDS:
        raise AttachError(
            program.name, f'program "{program.name}" is of type {program.type}, not of a cgroup'
        )
    hook = _hook(program, attach_type)
    target = f"{hook.name.lower()} of cgroup {cgroup}"
    anchored = place(before=before, after=after)
    with naming(f'attach program "{program.name}" to {target}'):
        opened, inode, path = _open(cgroup)
        if use_link is None and flags not in (None, AttachFlag.PREORDER):
            use_link = False
        try:
            if use_link is not False:
                try:
                    with opened.dup() as directory:
                        return _attach_link(
                            program, directory, hook, int(flags or 0), anchored, revision, target
                        )
                except NotSupportedError as error:
                    if use_link or error.since == "6.17":  # which PROG_ATTACH cannot do either
                        raise
            return _attach_program(
                program, opened.dup(), Hook(hook, number=inode, path=path), flags, anchored,
                revision, target,
            )  # fmt: skip
        except SyscallError as error:
            _explain(error, opened, hook, cgroup)
            if error.errno == errno.ENOENT and not anchored.flags:
                error.detail = "the cgroup has been removed"
            elif error.errno == errno.EINVAL and _holds(opened, hook, program):
                error.detail = "this program is attached there already"
            elif error.errno == errno.EINVAL and Capabilities().missing("CAP_NET_ADMIN"):
                # BPF_PROG_ATTACH says so of a missing privilege, too.
                reason = "needs CAP_NET_ADMIN (or CAP_SYS_ADMIN)"
                raise PrivilegeError(error.cmd, errno.EINVAL, reason) from None
            raise
        finally:
            opened.close()


def _hook(program: Program, attach_type: AttachType | None) -> AttachType:
    if attach_type is not None:
        return attach_type
    said = program.spec.attach_type if program.spec is not None else None
    hook = said if said is not None else _BY_TYPE.get(program.type)
    if hook is None:
        raise AttachError(
            program.name, f'program "{program.name}": which hook? attach_type=AttachType.CGROUP_…'
        )
    return hook


def _open(cgroup: str | os.PathLike[str] | int) -> tuple[FD, int, str]:
    path = f"/proc/self/fd/{cgroup}" if isinstance(cgroup, int) else os.fspath(cgroup)
    try:
        opened = FD(kernel.current().open(path, os.O_RDONLY | os.O_DIRECTORY))
    except SyscallError as error:
        if isinstance(error, PermissionError):
            raise
        raise AttachError(path, f"no cgroup {cgroup}: {error}") from None
    try:
        whole = os.readlink(f"/proc/self/fd/{opened.fileno()}")
        return opened, os.fstat(opened.fileno()).st_ino, whole
    except BaseException:
        opened.close()
        raise


def _attach_link(
    program: Program,
    directory: FD,
    hook: AttachType,
    flags: int,
    anchored: Anchored,
    revision: int,
    target: str,
) -> Link:
    attr = LinkCreate(
        prog_fd=program.fileno(), target_fd=directory.fileno(), attach_type=hook, flags=flags
    )
    if anchored.flags or revision:
        # Older kernels refuse the flags, but overlook a revision.
        if revision and not query(directory, hook).revision:
            raise NotSupportedError("order among a cgroup's programs", "6.17")
        attr = LinkCreateCgroup(
            prog_fd=program.fileno(),
            target_fd=directory.fileno(),
            attach_type=hook,
            flags=flags | anchored.flags,
            relative_fd=anchored.descriptor or anchored.id,
            expected_revision=revision,
        )
    try:
        return Link(bpf.link_create(attr), target=target)
    except SyscallError as error:
        _refuse_order(error, directory, hook, anchored, revision)
        raise


def _attach_program(
    program: Program,
    directory: FD,
    hook: Hook,
    flags: AttachFlag | None,
    anchored: Anchored,
    revision: int,
    target: str,
) -> Link:
    wanted = AttachFlag.ALLOW_MULTI if flags is None else flags
    with directory.dup() as asked:
        try:
            return attach_to(
                directory, program, hook, flags=int(wanted), target=target, anchored=anchored,
                revision=revision,
            )  # fmt: skip
        except SyscallError as error:
            _refuse_order(error, asked, hook.attach_type, anchored, revision)
            raise


# Kernels that have an order count revisions, from 1.
def _refuse_order(
    error: SyscallError, directory: FD, hook: AttachType, anchored: Anchored, revision: int
) -> None:
    if error.errno not in (errno.EINVAL, errno.E2BIG) or not (anchored.flags or revision):
        return
    if not query(directory, hook).revision:
        raise NotSupportedError("order among a cgroup's programs", "6.17") from None


def _explain(
    error: SyscallError, opened: FD, hook: AttachType, cgroup: str | os.PathLike[str] | int
) -> None:
    if error.errno == errno.EBADF:
        points = mounts.of_type("cgroup2")
        where = f"one is mounted at {points[0]}" if points else "none is mounted"
        raise AttachError(
            str(cgroup), f"{cgroup} is no directory of a cgroup2 file system ({where})"
        ) from None
    if error.errno == errno.EEXIST:
        error.detail = "this program is attached there already"
    elif error.errno == errno.ENOENT:
        error.detail = "the link or program to go before or after is not attached there"
    elif error.errno == errno.ESTALE:
        error.detail = "the list of programs has another revision by now"
    elif error.errno == errno.EPERM:
        _explain_refusal(error, opened, hook)


def _holds(opened: FD, hook: AttachType, program: Program) -> bool:
    try:
        found = query(opened, hook).programs
        return any(each.program_id == program.id for each in found)
    except EbpfError:
        return False


# EPERM is both a missing privilege and a program, here or above, that was attached to be alone.
def _explain_refusal(error: SyscallError, opened: FD, hook: AttachType) -> None:
    try:
        here = query(opened, hook)
        around = here if here.programs else query(opened, hook, effective=True)
    except EbpfError:
        return
    if here.flags & AttachFlag.ALLOW_MULTI or not around.programs:
        return
    there = ", ".join(named_program(each.program_id) for each in around.programs)
    error.detail = (
        f"{there} of this cgroup or one above does not let others be attached like this"
        " (BPF_F_ALLOW_MULTI, BPF_F_ALLOW_OVERRIDE)"
    )
