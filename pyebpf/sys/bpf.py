"""The commands of bpf(2), one function each, and the raw call for what has none.

In: the typed attr of the command (`pyebpf.uapi.attrs`). Out: an owned `FD`, a number, or nothing;
out fields of the attr are filled in, also when the call fails. Errors are those the text of
`pyebpf.sys.kernel` lists: `SyscallError` with its errno, `PrivilegeError`, `NotSupportedError` for
a command this kernel lacks. The hot map calls are in `pyebpf.sys.elements`; the ones here serve
everything else.

The last line of each text says since when the kernel has the command.
"""

from __future__ import annotations

import errno

from pyebpf.errors import SyscallError
from pyebpf.sys import delegation, kernel
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import (
    BtfLoad,
    CommonAttr,
    EnableStats,
    IterCreate,
    LinkCreate,
    LinkDetach,
    LinkUpdate,
    MapBatch,
    MapCreate,
    MapElem,
    MapNextKey,
    ObjId,
    ObjInfo,
    ObjPin,
    ProgAssocStructOps,
    ProgAttach,
    ProgBindMap,
    ProgLoad,
    ProgQuery,
    ProgStreamRead,
    ProgTestRun,
    RawTracepointOpen,
    TaskFdQuery,
    TokenCreate,
)
from pyebpf.uapi.bpf import Cmd, MapFlag, OpenFlag, ProgFlag
from pyebpf.uapi.cstruct import CStruct

__all__ = [
    "bpf",
    "btf_get_fd_by_id",
    "btf_get_next_id",
    "btf_load",
    "enable_stats",
    "iter_create",
    "link_create",
    "link_detach",
    "link_get_fd_by_id",
    "link_get_next_id",
    "link_update",
    "map_create",
    "map_delete_batch",
    "map_delete_elem",
    "map_freeze",
    "map_get_fd_by_id",
    "map_get_next_id",
    "map_get_next_key",
    "map_lookup_and_delete_batch",
    "map_lookup_and_delete_elem",
    "map_lookup_batch",
    "map_lookup_elem",
    "map_update_batch",
    "map_update_elem",
    "obj_get",
    "obj_get_info_by_fd",
    "obj_pin",
    "prog_assoc_struct_ops",
    "prog_attach",
    "prog_bind_map",
    "prog_detach",
    "prog_get_fd_by_id",
    "prog_get_next_id",
    "prog_load",
    "prog_query",
    "prog_stream_read_by_fd",
    "prog_test_run",
    "raw_tracepoint_open",
    "task_fd_query",
    "token_create",
]

# The verifier gives up with EAGAIN when a signal is pending; libbpf tries 5 times, Go's loader 30.
_LOAD_TRIES = 30
# Signals that come again and again: a timer faster than the verifier would never let it finish.
# The ones people stop programs with are not among them.
_RECURRING = ("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGCHLD", "SIGIO", "SIGURG", "SIGWINCH")


def bpf(cmd: Cmd | int, attr: CStruct | bytes | bytearray, size: int | None = None) -> int:
    """Make a ``bpf(2)`` call that has no function of its own.

    Args:
        cmd: The command, also one we do not know yet.
        attr: A typed attr, or its bytes; what the kernel writes shows in a typed attr and in a
            ``bytearray``.
        size: Bytes of *attr* to send, by default all; for bytes only.

    Returns:
        What the kernel returned. A descriptor belongs to the caller: wrap it in `FD`.

    Raises:
        ValueError: *size* is more than there are bytes, or given with a typed attr.
        PrivilegeError: ``EPERM``, ``EACCES``.
        NotSupportedError: The kernel has no such command.
        SyscallError: Anything else. Never retried.

    Since Linux 3.18.
    """
    if isinstance(attr, CStruct):
        if size is not None:
            raise ValueError("size goes with bytes only")
        return kernel.current().bpf(Cmd(cmd), attr)
    if size is not None and not 0 <= size <= len(attr):
        raise ValueError(f"size {size} of {len(attr)} bytes")
    buffer = bytearray(attr[:size])
    try:
        return kernel.current().bpf(Cmd(cmd), buffer)
    finally:
        if isinstance(attr, bytearray):
            attr[: len(buffer)] = buffer


def map_create(attr: MapCreate, *, common: CommonAttr | None = None) -> FD:
    """Create a map.

    Args:
        attr: What to create.
        common: A log that explains a refusal, since Linux 7.2.

    Since Linux 3.18.
    """
    token = delegation.current()
    if token is not None and not attr.map_flags & MapFlag.TOKEN_FD:
        attr.map_flags |= MapFlag.TOKEN_FD
        attr.map_token_fd = token.fileno()
    return FD(kernel.current().bpf(Cmd.MAP_CREATE, attr, common=common))


def map_lookup_elem(attr: MapElem) -> None:
    """Copy the value of ``attr.key`` into the buffer ``attr.value``.

    Raises:
        SyscallError: ``ENOENT``, no such key.

    Since Linux 3.18.
    """
    kernel.current().bpf(Cmd.MAP_LOOKUP_ELEM, attr)


def map_update_elem(attr: MapElem) -> None:
    """Set the value of a key.

    Since Linux 3.18.
    """
    kernel.current().bpf(Cmd.MAP_UPDATE_ELEM, attr)


def map_delete_elem(attr: MapElem) -> None:
    """Remove a key; ``attr.value`` and ``attr.flags`` must not be set.

    Raises:
        SyscallError: ``ENOENT``, no such key.

    Since Linux 3.18.
    """
    kernel.current().bpf(Cmd.MAP_DELETE_ELEM, attr)


def map_get_next_key(attr: MapNextKey) -> bool:
    """Copy the key after ``attr.key`` into the buffer ``attr.next_key``.

    Returns:
        ``False`` if ``attr.key`` is the last one or the map is empty.

    Since Linux 3.18.
    """
    return _unless_absent(Cmd.MAP_GET_NEXT_KEY, attr)


def prog_load(attr: ProgLoad, *, common: CommonAttr | None = None) -> FD:
    """Verify and load a program.

    Tried again, at most 30 times, when a signal made the verifier give up (``EAGAIN``). Python's
    signal handlers run between the tries, so that Ctrl-C ends it; from the second try on, timers
    and the like wait until it is done.

    Args:
        attr: The program; the log, if wanted, goes into ``attr.log_buf``.
        common: A log that also explains refusals before verification, since Linux 7.2.

    Raises:
        SyscallError: ``EACCES`` and most others: the verifier refused, the log says why.
        PrivilegeError: ``EPERM``.

    Since Linux 3.18.
    """
    token = delegation.current()
    if token is not None and not attr.prog_flags & ProgFlag.TOKEN_FD:
        attr.prog_flags |= ProgFlag.TOKEN_FD
        attr.prog_token_fd = token.fileno()
    try:
        return FD(kernel.current().bpf(Cmd.PROG_LOAD, attr, common=common))
    except SyscallError as error:
        if error.errno != errno.EAGAIN:
            raise
    for _ in range(_LOAD_TRIES - 2):
        try:
            return _load_undisturbed(attr, common)
        except SyscallError as error:
            if error.errno != errno.EAGAIN:
                raise
    return _load_undisturbed(attr, common)


def obj_pin(attr: ObjPin) -> None:
    """Give a map, program or link a name on a bpf file system.

    Raises:
        SyscallError: ``EEXIST``.
        PrivilegeError: ``EPERM``: not a bpf file system.

    Since Linux 4.4.
    """
    kernel.current().bpf(Cmd.OBJ_PIN, attr)


def obj_get(attr: ObjPin) -> FD:
    """Open a pin.

    Since Linux 4.4.
    """
    return FD(kernel.current().bpf(Cmd.OBJ_GET, attr))


def prog_attach(attr: ProgAttach) -> None:
    """Attach a program to a cgroup, sockmap, network namespace or device, without a link.

    Since Linux 4.10.
    """
    kernel.current().bpf(Cmd.PROG_ATTACH, attr)


def prog_detach(attr: ProgAttach) -> None:
    """Undo `prog_attach`.

    Since Linux 4.10.
    """
    kernel.current().bpf(Cmd.PROG_DETACH, attr)


def prog_test_run(attr: ProgTestRun) -> None:
    """Run a program on given data; ``retval``, ``duration`` and sizes are in *attr* afterwards.

    Never retried: a run that was interrupted had its effects already.

    Raises:
        SyscallError: ``ENOSPC``: ``attr.data_out`` was too small, ``attr.data_size_out`` says what
            it takes; ``EINTR``: a signal ended it; 524: not for this program type.

    Since Linux 4.12.
    """
    kernel.current().bpf(Cmd.PROG_TEST_RUN, attr)


def prog_get_next_id(start: int = 0) -> int | None:
    """Return the lowest id of a program above *start*, ``None`` after the last.

    Since Linux 4.13.
    """
    return _next_id(Cmd.PROG_GET_NEXT_ID, start)


def map_get_next_id(start: int = 0) -> int | None:
    """Return the lowest id of a map above *start*, ``None`` after the last.

    Since Linux 4.13.
    """
    return _next_id(Cmd.MAP_GET_NEXT_ID, start)


def btf_get_next_id(start: int = 0) -> int | None:
    """Return the lowest id of a BTF object above *start*, ``None`` after the last.

    Since Linux 5.4.
    """
    return _next_id(Cmd.BTF_GET_NEXT_ID, start)


def link_get_next_id(start: int = 0) -> int | None:
    """Return the lowest id of a link above *start*, ``None`` after the last.

    Since Linux 5.8.
    """
    return _next_id(Cmd.LINK_GET_NEXT_ID, start)


def prog_get_fd_by_id(id: int, *, token_fd: int = 0) -> FD:  # noqa: A002
    """Open a program by its id.

    Raises:
        SyscallError: ``ENOENT``, it is gone.

    Since Linux 4.13.
    """
    return _by_id(Cmd.PROG_GET_FD_BY_ID, id, 0, token_fd)


def map_get_fd_by_id(id: int, *, open_flags: int = 0, token_fd: int = 0) -> FD:  # noqa: A002
    """Open a map by its id, with ``BPF_F_RDONLY`` or ``BPF_F_WRONLY`` for one way only.

    Raises:
        SyscallError: ``ENOENT``, it is gone.

    Since Linux 4.13.
    """
    return _by_id(Cmd.MAP_GET_FD_BY_ID, id, open_flags, token_fd)


def btf_get_fd_by_id(id: int, *, token_fd: int = 0) -> FD:  # noqa: A002
    """Open a BTF object by its id.

    Raises:
        SyscallError: ``ENOENT``, it is gone.

    Since Linux 4.18.
    """
    token = delegation.current()
    return _by_id(Cmd.BTF_GET_FD_BY_ID, id, 0, token_fd or (token.fileno() if token else 0))


def link_get_fd_by_id(id: int, *, token_fd: int = 0) -> FD:  # noqa: A002
    """Open a link by its id.

    Raises:
        SyscallError: ``ENOENT``, it is gone.

    Since Linux 5.8.
    """
    return _by_id(Cmd.LINK_GET_FD_BY_ID, id, 0, token_fd)


def obj_get_info_by_fd(fd: int, info: CStruct) -> None:
    """Fill *info* with what the kernel knows about a map, program, link or BTF object.

    Args:
        fd: The object.
        info: A ``MapInfo``, ``ProgInfo``, ``BtfInfo`` or ``LinkInfo``. Its pointer fields may hold
            buffers for arrays the kernel is to fill; the counts beside them say how much, and
            afterwards how much there is. Fields the kernel does not know yet stay zero.

    Since Linux 4.13.
    """
    attr = ObjInfo(bpf_fd=fd, info_len=type(info).SIZE, info=info)
    kernel.current().bpf(Cmd.OBJ_GET_INFO_BY_FD, attr)


def prog_query(attr: ProgQuery) -> None:
    """Ask which programs are attached somewhere.

    Raises:
        SyscallError: ``ENOSPC``: the arrays are too small, ``attr.count`` says how many there are.

    Since Linux 4.15.
    """
    kernel.current().bpf(Cmd.PROG_QUERY, attr)


def raw_tracepoint_open(attr: RawTracepointOpen) -> FD:
    """Attach a program to a raw tracepoint, or one that names its target itself (tracing, LSM).

    Returns:
        A descriptor whose closing detaches; a link since Linux 5.6.

    Since Linux 4.17.
    """
    return FD(kernel.current().bpf(Cmd.RAW_TRACEPOINT_OPEN, attr))


def btf_load(attr: BtfLoad, *, common: CommonAttr | None = None) -> FD:
    """Load type information.

    Since Linux 4.18.
    """
    token = delegation.current()
    if token is not None and not attr.btf_flags & OpenFlag.TOKEN_FD:
        attr.btf_flags |= OpenFlag.TOKEN_FD
        attr.btf_token_fd = token.fileno()
    return FD(kernel.current().bpf(Cmd.BTF_LOAD, attr, common=common))


def task_fd_query(attr: TaskFdQuery) -> None:
    """Ask what a perf event or raw tracepoint descriptor of some process is attached to.

    Since Linux 4.18.
    """
    kernel.current().bpf(Cmd.TASK_FD_QUERY, attr)


def map_lookup_and_delete_elem(attr: MapElem) -> None:
    """Take a key's value out of a map; queues and stacks have no key.

    Since Linux 4.20 (queue, stack), 5.14 (hashes).
    """
    kernel.current().bpf(Cmd.MAP_LOOKUP_AND_DELETE_ELEM, attr)


def map_freeze(attr: MapElem) -> None:
    """Refuse writes to ``attr.map_fd`` by system calls from now on, for good.

    Raises:
        SyscallError: ``EBUSY``: frozen already, or mapped writable.

    Since Linux 5.2.
    """
    kernel.current().bpf(Cmd.MAP_FREEZE, attr)


def map_lookup_batch(attr: MapBatch) -> bool:
    """Copy the next ``attr.count`` entries or fewer into ``attr.keys`` and ``attr.values``.

    ``attr.count`` says afterwards how many there are, ``attr.out_batch`` holds where to go on.

    Returns:
        ``False`` at the end of the map; the entries of that call count too.

    Raises:
        SyscallError: ``ENOSPC``: one bucket holds more than ``attr.count`` entries.

    Since Linux 5.6.
    """
    return _unless_absent(Cmd.MAP_LOOKUP_BATCH, attr)


def map_lookup_and_delete_batch(attr: MapBatch) -> bool:
    """As `map_lookup_batch`, and remove the entries.

    Since Linux 5.6.
    """
    return _unless_absent(Cmd.MAP_LOOKUP_AND_DELETE_BATCH, attr)


def map_update_batch(attr: MapBatch) -> None:
    """Set ``attr.count`` entries; when it fails ``attr.count`` says how many were set.

    Since Linux 5.6.
    """
    kernel.current().bpf(Cmd.MAP_UPDATE_BATCH, attr)


def map_delete_batch(attr: MapBatch) -> None:
    """Remove ``attr.count`` keys; when it fails ``attr.count`` says how many were removed.

    Since Linux 5.6.
    """
    kernel.current().bpf(Cmd.MAP_DELETE_BATCH, attr)


def link_create(attr: LinkCreate) -> FD:
    """Attach a program with a link: *attr* is of the class for its kind.

    Since Linux 5.7.
    """
    return FD(kernel.current().bpf(Cmd.LINK_CREATE, attr))


def link_update(attr: LinkUpdate) -> None:
    """Put another program, or struct_ops map, into a link.

    Since Linux 5.7.
    """
    kernel.current().bpf(Cmd.LINK_UPDATE, attr)


def enable_stats(attr: EnableStats) -> FD:
    """Count runs and run time of all programs as long as the descriptor is open.

    Since Linux 5.8.
    """
    return FD(kernel.current().bpf(Cmd.ENABLE_STATS, attr))


def iter_create(attr: IterCreate) -> FD:
    """Open one run of an iterator link, to be read like a file.

    Since Linux 5.8.
    """
    return FD(kernel.current().bpf(Cmd.ITER_CREATE, attr))


def link_detach(attr: LinkDetach) -> None:
    """Detach a link's program at once, though the link stays open.

    Since Linux 5.9.
    """
    kernel.current().bpf(Cmd.LINK_DETACH, attr)


def prog_bind_map(attr: ProgBindMap) -> None:
    """Let a program keep a map alive that its code does not use.

    Since Linux 5.10.
    """
    kernel.current().bpf(Cmd.PROG_BIND_MAP, attr)


def token_create(attr: TokenCreate) -> FD:
    """Make a token of the rights that a bpf file system delegates.

    Since Linux 6.9.
    """
    return FD(kernel.current().bpf(Cmd.TOKEN_CREATE, attr))


def prog_stream_read_by_fd(attr: ProgStreamRead) -> int:
    """Read what a program printed to one of its streams; return the number of bytes.

    Since Linux 6.17.
    """
    return kernel.current().bpf(Cmd.PROG_STREAM_READ_BY_FD, attr)


def prog_assoc_struct_ops(attr: ProgAssocStructOps) -> None:
    """Say with which struct_ops map a program belongs together.

    Since Linux 7.0.
    """
    kernel.current().bpf(Cmd.PROG_ASSOC_STRUCT_OPS, attr)


# The mask is this thread's: the verifier looks only at the signals pending for its own. Leaving
# the block delivers what has come meanwhile.
def _load_undisturbed(attr: ProgLoad, common: CommonAttr | None) -> FD:
    import signal

    recurring = [signal.Signals[name] for name in _RECURRING]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, recurring)
    try:
        fd = FD(kernel.current().bpf(Cmd.PROG_LOAD, attr, common=common))
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    except BaseException:  # the handler of one of them raised
        fd.close()
        raise
    return fd


def _unless_absent(cmd: Cmd, attr: CStruct) -> bool:
    try:
        kernel.current().bpf(cmd, attr)
    except SyscallError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True


def _next_id(cmd: Cmd, start: int) -> int | None:
    attr = ObjId(start_id=start)
    return attr.next_id if _unless_absent(cmd, attr) else None


def _by_id(cmd: Cmd, number: int, open_flags: int, token_fd: int) -> FD:
    attr = ObjId(start_id=number, open_flags=open_flags, fd_by_id_token_fd=token_fd)
    if token_fd:
        attr.open_flags |= OpenFlag.TOKEN_FD
    return FD(kernel.current().bpf(cmd, attr))
