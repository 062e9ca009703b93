"""The seam to the system: the `Kernel` protocol, the real `LinuxKernel`, and which one is in use.

Everything above asks `current` for a kernel and calls it; a fake one can stand in (`use`). In go
typed attrs whose pointer fields hold Python buffers, out come plain numbers (raw descriptors: the
functions of `pyebpf.sys.bpf` wrap them in `FD`) and errors. What a caller can rely on:

*Attrs.* The whole union is sent, zero where nothing was set. A pointer field may hold ``None``, an
address, any buffer (an empty one goes as null), a list of these (an array of addresses), or another
`CStruct`, such as the info struct of ``BPF_OBJ_GET_INFO_BY_FD``. After the call the plain fields of
attr and nested structs are what the kernel left there, also when it failed: log_true_size, count,
data_size_out. Buffers are written in place. Text needs its own NUL.

*Errors*, translated here and, for map elements, in `pyebpf.sys.elements`; nowhere else:

    EPERM, EACCES                  PrivilegeError that says what is missing; the errno is kept.
                                   But EACCES of PROG_LOAD is the verifier speaking: SyscallError
    EINVAL and the kernel has no   NotSupportedError("BPF_LINK_CREATE", since "5.7"), by probe
      such command; ENOSYS
    E2BIG and a field is set that  SyscallError that names the field and its release
      lies beyond the kernel's attr
    EPERM of what kernels before   tried once more after raising the limit
      5.11 charge to RLIMIT_MEMLOCK
    everything else                SyscallError with that errno: also ENOENT, 524 (ENOTSUPP), and
                                   EINVAL, which may mean a field, flag or type is too new

*Signals.* Nothing is retried here. Python's signal handlers run when a call has returned.
*Threads.* All calls but those of non-waiting elements release the GIL; all may be shared.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import sys
from collections.abc import Collection, Iterator

from pyebpf.errors import EbpfError, NotSupportedError, PrivilegeError, SyscallError
from pyebpf.sys.call import Memory, Result
from pyebpf.sys.elements import ElementCalls, Elements
from pyebpf.sys.failures import failure, told
from pyebpf.sys.libc import error_number, libc
from pyebpf.sys.numbers import Numbers, numbers
from pyebpf.typed import TYPE_CHECKING, Protocol, TypeAlias
from pyebpf.uapi.attrs import CommonAttr, ProgLoad
from pyebpf.uapi.bpf import COMMON_ATTRS, Cmd, ProgType
from pyebpf.uapi.cstruct import CStruct

if TYPE_CHECKING:
    from pyebpf.sys.mapping import Mapping
    from pyebpf.sys.test_run import TestRun

__all__ = ["Attr", "Kernel", "LinuxKernel", "current", "use"]

# A typed attr, or its bytes for what has no type yet; bytes that are written by the kernel.
Attr: TypeAlias = CStruct | bytearray


# What a route socket sends at once never is larger: NLMSG_GOODSIZE, and 32 KiB for lists.
_DATAGRAM = 1 << 16

# The commands that return a descriptor.
_OPENING = frozenset(
    {
        Cmd.MAP_CREATE,
        Cmd.PROG_LOAD,
        Cmd.OBJ_GET,
        Cmd.PROG_GET_FD_BY_ID,
        Cmd.MAP_GET_FD_BY_ID,
        Cmd.RAW_TRACEPOINT_OPEN,
        Cmd.BTF_LOAD,
        Cmd.BTF_GET_FD_BY_ID,
        Cmd.LINK_CREATE,
        Cmd.LINK_GET_FD_BY_ID,
        Cmd.ENABLE_STATS,
        Cmd.ITER_CREATE,
        Cmd.TOKEN_CREATE,
    }
)


class Kernel(Protocol):
    """What the library asks of a kernel."""

    @property
    def root(self) -> str:
        """The directory that stands for ``/`` when ``/proc`` and ``/sys`` are read."""

    def path(self, *parts: str) -> str:
        """Return the path of a file under `root`: ``path("sys/fs/bpf", name)``."""

    def place(self, path: str) -> str:
        """Return where a path on a bpffs really is, for calls on its files and directories."""

    def is_bpffs(self, path: str) -> bool:
        """Return whether *path* exists and is on a bpf file system."""

    def bpf(self, cmd: Cmd, attr: Attr, *, common: CommonAttr | None = None) -> int:
        """Make one ``bpf(2)`` call and return its result, a raw descriptor or a number."""

    def perf_event_open(self, attr: CStruct, pid: int, cpu: int, group_fd: int, flags: int) -> int:
        """Open a perf event and return its raw descriptor."""

    def ioctl(self, fd: int, request: int, argument: int | bytearray = 0) -> int:
        """Make one ``ioctl(2)`` call; a bytearray is written in place."""

    def mmap(self, fd: int, length: int, *, writable: bool, offset: int = 0) -> mmap.mmap:
        """Map *length* bytes of *fd*, shared."""

    def mapping(self, fd: int, length: int, *, address: int = 0) -> Mapping:
        """Map *length* bytes of *fd*, shared and writable, at an address: see `Mapping`."""

    def elements(
        self, fd: int, key_size: int, value_size: int, *, waits: bool, array: bool = False
    ) -> ElementCalls:
        """Return the hot calls of one map: see `Elements`."""

    def open(self, path: str, flags: int) -> int:
        """Open a file, close-on-exec, and return its raw descriptor."""

    def read(self, fd: int, size: int) -> bytes:
        """Read at most *size* bytes from a descriptor."""

    def file_name(self, fd: int) -> str:
        """Return what is open there: ``anon_inode:bpf-map``, or a path."""

    def file_info(self, fd: int) -> str:
        """Return what ``/proc/self/fdinfo`` tells about a descriptor."""

    def settle(self, fds: Collection[int]) -> None:
        """Take back readiness that is only taken back on request, before rings are looked at."""

    def setsockopt(self, fd: int, level: int, name: int, value: bytes) -> None:
        """Set a socket option."""

    def route_socket(self) -> int:
        """Open a socket for `rtnetlink` in the caller's network namespace; its raw descriptor."""

    def rtnetlink(self, fd: int, request: bytes, sequence: int) -> list[bytes]:
        """Send one netlink message and return the datagrams that answer it, up to its end."""

    def interface_index(self, name: str) -> int:
        """Return the index of a network interface."""

    def xdp_socket(self) -> int:
        """Open an AF_XDP socket in the caller's network namespace; its raw descriptor."""


class LinuxKernel:
    """The kernel this process runs on; making one costs nothing."""

    __slots__ = ("__weakref__", "_missing", "_numbers")

    def __init__(self) -> None:
        self._numbers: Numbers | None = None
        self._missing: dict[int, bool] = {}

    @property
    def root(self) -> str:
        """Always ``"/"``."""
        return "/"

    def path(self, *parts: str) -> str:
        """Return ``/`` and *parts* joined by ``/``."""
        return "/" + "/".join(part.strip("/") for part in parts)

    def place(self, path: str) -> str:
        """Return *path* as it is."""
        return path

    def is_bpffs(self, path: str) -> bool:
        """Return whether *path* exists and is on a bpf file system."""
        from pyebpf.sys import mount

        return mount.is_bpffs(path)

    def bpf(self, cmd: Cmd, attr: Attr, *, common: CommonAttr | None = None) -> int:
        """Make one ``bpf(2)`` call; the module's text says what happens to attrs and errors.

        Args:
            cmd: The command.
            attr: Its arguments; out fields are there afterwards.
            common: A log for commands that have none of their own; the 5-argument form.

        Returns:
            A descriptor the caller owns, or a number.

        Raises:
            PrivilegeError: ``EPERM``, ``EACCES``.
            NotSupportedError: The kernel has no such command, or no 5-argument form.
            SyscallError: Anything else.

        Since Linux 3.18.
        """
        memory = Memory()
        buffer = memory.pack(attr)
        words = [int(cmd), memory.address(buffer), len(buffer)]
        if common is not None:
            second = memory.pack(common)
            words[0] |= COMMON_ATTRS
            words += [memory.address(second), len(second)]
        with Result(closes=cmd in _OPENING) as result:
            result.call(self._known().bpf, *words)
            if result.number == errno.EPERM and _more_to_charge(cmd):
                result.call(self._known().bpf, *words)
            memory.refresh()
            if result.number:
                raise self._failure(cmd, result.number, attr, buffer, common)
            return result.value

    def perf_event_open(self, attr: CStruct, pid: int, cpu: int, group_fd: int, flags: int) -> int:
        """Open a perf event.

        Args:
            attr: A ``PerfEventAttr``; a zero ``size`` is filled in.
            pid: A thread, -1 for all, 0 for this one.
            cpu: A CPU, -1 for all.
            group_fd: -1, or a group leader.
            flags: ``PERF_FLAG_*``; ``PERF_FLAG_FD_CLOEXEC`` is not added.

        Raises:
            PrivilegeError: ``EPERM``, ``EACCES``.
            SyscallError: Anything else; ``ENODEV`` for a CPU that is offline.

        Since Linux 2.6.31.
        """
        memory = Memory()
        if not getattr(attr, "size", 1):
            attr.size = type(attr).SIZE
        where = memory.address(memory.pack(attr))
        with Result(closes=True) as result:
            result.call(self._known().perf_event_open, where, pid, cpu, group_fd, flags)
            if result.number in (errno.EPERM, errno.EACCES):
                raise PrivilegeError("perf_event_open", result.number, told(_explain_perf))
            if result.number:
                raise SyscallError("perf_event_open", result.number)
            return result.value

    def ioctl(self, fd: int, request: int, argument: int | bytearray = 0) -> int:
        """Make one ``ioctl(2)`` call.

        Args:
            fd: Of the device or perf event.
            request: ``PERF_EVENT_IOC_*``.
            argument: A number, or memory the kernel may read and write.

        Raises:
            SyscallError: Any failure.
        """
        try:
            return fcntl.ioctl(fd, request, argument)
        except OSError as error:
            raise failure("ioctl", error.errno, f"request {request:#x}") from None

    def mmap(self, fd: int, length: int, *, writable: bool, offset: int = 0) -> mmap.mmap:
        """Map a ring or an array of the kernel into this process.

        Args:
            fd: A map or perf event; may be closed afterwards.
            length: Bytes.
            writable: Or read-only.
            offset: Bytes, a multiple of the page size.

        Raises:
            PrivilegeError: ``EPERM``: the kernel refuses write access, or the memory is more than
                ``RLIMIT_MEMLOCK`` and ``kernel.perf_event_mlock_kb`` allow.
            SyscallError: Anything else.
        """
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            if sys.version_info >= (3, 13):
                return mmap.mmap(
                    fd, length, mmap.MAP_SHARED, protection, offset=offset, trackfd=False
                )
            return mmap.mmap(fd, length, mmap.MAP_SHARED, protection, offset=offset)
        except OSError as error:
            raise failure("mmap", error.errno, f"{length} bytes at {offset:#x}") from None

    def mapping(self, fd: int, length: int, *, address: int = 0) -> Mapping:
        """Map memory at an address that matters; arguments and errors as for `Mapping`."""
        from pyebpf.sys.mapping import Mapping

        return Mapping(fd, length, address=address)

    def elements(
        self, fd: int, key_size: int, value_size: int, *, waits: bool, array: bool = False
    ) -> Elements:
        """Return the hot calls of one map; arguments as for `Elements`."""
        return Elements(fd, key_size, value_size, waits=waits, array=array)

    def test_run(self, fd: int) -> TestRun:
        """Return the run of one program that takes no input; arguments as for `TestRun`.

        For speed alone, so other kernels need not have it.
        """
        from pyebpf.sys.test_run import TestRun

        return TestRun(fd)

    def open(self, path: str, flags: int) -> int:
        """Open a file: a cgroup, a network namespace, a directory.

        Args:
            path: As given, not under `root`.
            flags: ``os.O_*``; ``O_CLOEXEC`` is added.

        Raises:
            PrivilegeError: ``EPERM``, ``EACCES``.
            SyscallError: Anything else.
        """
        try:
            return os.open(path, flags | os.O_CLOEXEC)
        except OSError as error:
            raise failure("open", error.errno, str(path)) from None

    def read(self, fd: int, size: int) -> bytes:
        """Read at most *size* bytes from a descriptor.

        Raises:
            PrivilegeError: ``EPERM``, ``EACCES``.
            SyscallError: Anything else.
        """
        try:
            return os.read(fd, size)
        except OSError as error:
            raise failure("read", error.errno, f"descriptor {fd}") from None

    def file_name(self, fd: int) -> str:
        """Return what is open there, as ``/proc/self/fd`` shows it.

        Raises:
            SyscallError: No such descriptor, or no ``/proc``.
        """
        path = f"/proc/self/fd/{fd}"
        try:
            return os.readlink(path)
        except OSError as error:
            raise failure("readlink", error.errno, path) from None

    def file_info(self, fd: int) -> str:
        """Return what ``/proc/self/fdinfo`` tells about a descriptor.

        Raises:
            SyscallError: No such descriptor, or no ``/proc``.
        """
        path = f"/proc/self/fdinfo/{fd}"
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError as error:
            raise failure("open", error.errno, path) from None

    def settle(self, fds: Collection[int]) -> None:
        """Do nothing: descriptors of this kernel are ready as long as there is a reason."""

    def setsockopt(self, fd: int, level: int, name: int, value: bytes) -> None:
        """Set a socket option.

        Raises:
            PrivilegeError: ``EPERM``, ``EACCES``.
            SyscallError: Anything else.
        """
        if libc.setsockopt(fd, level, name, value, len(value)):
            raise failure("setsockopt", error_number(), f"level {level}, option {name}")

    def route_socket(self) -> int:
        """Open a route socket that explains its refusals (extended acks, Linux 4.12).

        Raises:
            SyscallError: The kernel has no netlink, or too many files are open.
        """
        import socket  # 3 ms, and few need it

        from pyebpf.uapi.rtnetlink import (
            NETLINK_CAP_ACK,
            NETLINK_EXT_ACK,
            NETLINK_ROUTE,
            SOL_NETLINK,
        )

        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        try:
            with socket.socket(socket.AF_NETLINK, kind, NETLINK_ROUTE) as opened:
                for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK):
                    with contextlib.suppress(OSError):  # older kernels explain nothing
                        opened.setsockopt(SOL_NETLINK, option, 1)
                opened.bind((0, 0))
                return opened.detach()
        except OSError as error:
            raise failure("socket", error.errno, "AF_NETLINK, NETLINK_ROUTE") from None

    def rtnetlink(self, fd: int, request: bytes, sequence: int) -> list[bytes]:
        """Send one request; wait for its end: an acknowledgement, an error or the end of a list.

        Args:
            fd: Of `route_socket`; nobody else uses it meanwhile.
            request: One whole message that asks for an acknowledgement.
            sequence: Its number.

        Returns:
            Datagrams, among them possibly answers to an earlier request that was interrupted.

        Raises:
            SyscallError: Sending or receiving failed.
            FormatError: An answer that is no netlink message.
        """
        import socket

        from pyebpf.sys import netlink

        answers: list[bytes] = []
        opened = socket.socket(fileno=fd)
        try:
            opened.sendto(request, (0, 0))
            while not answers or not netlink.complete(answers[-1], sequence):
                answers.append(opened.recv(_DATAGRAM))
        except OSError as error:
            raise failure("netlink", error.errno, f"request {sequence}") from None
        finally:
            opened.detach()
        return answers

    def interface_index(self, name: str) -> int:
        """Return the index of a network interface of the caller's network namespace.

        Raises:
            SyscallError: ``ENODEV``: there is no such interface.
        """
        import socket  # 3 ms, and few need it

        try:
            return socket.if_nametoindex(name)
        except OSError as error:
            raise failure("if_nametoindex", error.errno or errno.ENODEV, repr(name)) from None

    def xdp_socket(self) -> int:
        """Open an AF_XDP socket in the caller's network namespace.

        Raises:
            PrivilegeError: ``EPERM``.
            NotSupportedError: The kernel has no such sockets.
            SyscallError: Anything else.

        Since Linux 4.18.
        """
        import socket

        from pyebpf.uapi.if_xdp import AF_XDP

        try:
            return socket.socket(AF_XDP, socket.SOCK_RAW | socket.SOCK_CLOEXEC).detach()
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                config = "CONFIG_XDP_SOCKETS is not set"
                raise NotSupportedError("AF_XDP", "4.18", config) from None
            if error.errno == errno.EPERM:
                reason = "needs CAP_NET_RAW in the network namespace"
                raise PrivilegeError("socket", errno.EPERM, reason) from None
            raise failure("socket", error.errno, "AF_XDP, SOCK_RAW") from None

    # For probes. Out: result and errno. *common* is an address and a size.
    def _call(self, cmd: int, buffer: bytearray, common: tuple[int, int]) -> tuple[int, int]:
        memory = Memory()
        result = Result(closes=False)
        result.call(self._known().bpf, cmd, memory.address(buffer), len(buffer), *common)
        return result.value, result.number

    def _known(self) -> Numbers:
        if self._numbers is None:
            self._numbers = numbers()
        return self._numbers

    def _failure(
        self, cmd: Cmd, number: int, attr: Attr, buffer: bytearray, common: CommonAttr | None
    ) -> EbpfError:
        name = cmd.c_name
        if number == errno.EPERM or (number == errno.EACCES and cmd is not Cmd.PROG_LOAD):
            reason = told(lambda: self._privilege(cmd, number, attr))
            return PrivilegeError(name, number, reason)
        if number == errno.ENOSYS:
            return NotSupportedError("bpf(2)", "3.18", "CONFIG_BPF_SYSCALL is not set")
        if number == errno.EINVAL:
            if common is not None and self._lacks(COMMON_ATTRS):
                return NotSupportedError("bpf(2) with common attributes", "7.2")
            if self._lacks(cmd):
                return NotSupportedError(name, cmd.since)
        if number == errno.E2BIG:
            return SyscallError(name, number, told(lambda: self._unknown_fields(attr, buffer)))
        return SyscallError(name, number)

    def _unknown_fields(self, attr: Attr, buffer: bytearray) -> str:
        from pyebpf.sys import absence

        return absence.unknown_fields(self._call, attr, buffer)

    def _lacks(self, cmd: int) -> bool:
        if cmd not in self._missing:
            try:
                from pyebpf.sys import absence
            except ImportError:  # see `told`
                return False
            self._missing[cmd] = absence.lacks(self._call, cmd)
        return self._missing[cmd]

    def _privilege(self, cmd: Cmd, number: int, attr: Attr) -> str:
        if number == errno.EACCES and cmd in (Cmd.OBJ_PIN, Cmd.OBJ_GET):
            return "the permissions of the pin or of a directory above it"
        loading = cmd is Cmd.PROG_LOAD
        place = {Cmd.PROG_LOAD: "expected_attach_type", Cmd.LINK_CREATE: "attach_type"}.get(cmd, "")
        from pyebpf.sys import privileges

        return privileges.explain(
            cmd,
            program_type=getattr(attr, "prog_type", None) if loading else None,
            attach_type=getattr(attr, place, None),
            map_type=getattr(attr, "map_type", None) if cmd is Cmd.MAP_CREATE else None,
            charged=self._charges,
            root=self.root,
        )

    # Whether maps and programs are charged to RLIMIT_MEMLOCK. Asked by a program that only the
    # kernels which do not can load: its helper, bpf_ktime_get_coarse_ns, is as old as that change.
    def _charges(self) -> bool | None:
        from pyebpf.uapi.helpers import FuncId

        code = bytes([0x85, 0, 0, 0]) + struct.pack("=i", FuncId.ktime_get_coarse_ns)
        code += bytes([0x95, 0, 0, 0, 0, 0, 0, 0])
        attr = ProgLoad(prog_type=ProgType.SOCKET_FILTER, insns=code, insn_cnt=2, license=b"GPL\0")
        memory = Memory()
        buffer = memory.pack(attr)
        value, number = self._call(Cmd.PROG_LOAD, buffer, (0, 0))
        if value >= 0:
            os.close(value)
            return False
        return True if number == errno.EINVAL else None


def _explain_perf() -> str:
    from pyebpf.sys import privileges

    return privileges.explain_perf()


# Whether a refused command may be tried again. Whether this kernel charges what it makes cannot be
# asked, but a higher limit harms nobody.
def _more_to_charge(cmd: Cmd) -> bool:
    try:
        from pyebpf.sys import memlock, privileges
    except ImportError:  # see `told`
        return False
    return cmd in privileges.CHARGED and memlock.raise_limit()


_current: Kernel = LinuxKernel()


def current() -> Kernel:
    """Return the kernel in use: the real one outside of `use`."""
    return _current


@contextlib.contextmanager
def use(kernel: Kernel) -> Iterator[Kernel]:
    """Let the whole process, all threads, use *kernel* inside the ``with`` block."""
    # Not a ContextVar: that does not reach threads which were started before.
    global _current
    before, _current = _current, kernel
    try:
        yield kernel
    finally:
        _current = before
