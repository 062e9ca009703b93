"""`FakeKernel`: a kernel that is made up, for tests of programs that use this library.

    with FakeKernel() as kernel, pyebpf.load("prog.bpf.o") as bpf:
        bpf.attach()
        kernel.fire("tracepoint/sched/sched_process_exec", kernel.record(...))

It answers the calls of the seam (`pyebpf.sys.kernel.Kernel`) as Linux does, so the whole library
runs on it, without root. What stands behind: `pyebpf.testing.system`, and the tests that ask both
kernels the same questions.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import os
import socket
import traceback
from collections.abc import Collection, Iterator, Mapping
from types import TracebackType

from pyebpf.errors import ENOTSUPP, NotSupportedError, SyscallError
from pyebpf.sys import kernel as seam
from pyebpf.sys.elements import ElementCalls
from pyebpf.sys.mapping import Mapping as MemoryMapping
from pyebpf.testing import firing, perf_calls, route, socket_options, tracepoints
from pyebpf.testing.ages import USUAL, Age
from pyebpf.testing.c_types import Types
from pyebpf.testing.commands import info
from pyebpf.testing.commands.elements import map_of
from pyebpf.testing.commands.table import COMMANDS
from pyebpf.testing.elements import FakeElements
from pyebpf.testing.firing import Outcome
from pyebpf.testing.firing_network import Data
from pyebpf.testing.interpreter import Task, World
from pyebpf.testing.kernel_types import kernel_types
from pyebpf.testing.maps.arenas import Arena
from pyebpf.testing.maps.arrays import Array
from pyebpf.testing.maps.events import RingBuffer
from pyebpf.testing.objects import Map
from pyebpf.testing.perf_events import PerfEvent
from pyebpf.testing.refusal import Refused, typed
from pyebpf.testing.route import RouteSocket
from pyebpf.testing.structs import struct_region
from pyebpf.testing.system import System
from pyebpf.testing.tracepoints import Tracepoint
from pyebpf.testing.tree import Tree
from pyebpf.typed import NamedTuple, Protocol
from pyebpf.uapi.attrs import CommonAttr
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType, OpenFlag
from pyebpf.uapi.cstruct import CStruct
from pyebpf.uapi.perf import PerfEventAttr

__all__ = ["FakeKernel"]

_CONFIGURATION = {
    "CONFIG_BPF": "y",
    "CONFIG_BPF_SYSCALL": "y",
    "CONFIG_BPF_JIT": "y",
    "CONFIG_DEBUG_INFO_BTF": "y",
    "CONFIG_HZ": "250",
    "CONFIG_KALLSYMS": "y",
}


class HasFileno(Protocol):
    """A map, or anything that stands for its descriptor."""

    def fileno(self) -> int:
        """Return the descriptor's number."""
        ...


class FakeKernel:
    """A kernel that is made up. Use it with ``with``, or `close` it and pass it to ``use``.

    It models maps, programs, BTF, pins below ``/sys/fs/bpf``, control groups below
    ``/sys/fs/cgroup``, links and what was before them, perf events, route sockets. What it does not
    model raises ``NotImplementedError`` that names the command; `pyebpf.testing` lists it. A helper
    that is not modelled ends the program with `NotModelledError`: see
    `pyebpf.testing.interpreter.helpers`.

    It checks a program's structure, never its safety: the verifier is not part of it. Programs are
    run by `pyebpf.testing.interpreter`, which ends one that does what the verifier would have
    refused with an `ExecutionError`. So a program that works here may be refused by a kernel; test
    that with a real one.

    Everybody is privileged here. May be shared between threads; a signal handler must not use it
    while it interrupts a call, and a child of ``fork`` has a copy.

    Args:
        version: The release whose abilities it has, such as ``"5.10"``: commands, kinds, flags,
            helpers. What releases do differently with what they all have is as in the default.
        cpus: How many CPUs it has.
        btf: Whether it shows its types (``/sys/kernel/btf/vmlinux``).
        configuration: Values of the kernel's configuration, ``{"CONFIG_HZ": "100"}``, besides a few
            usual ones.
        interfaces: Network interfaces by name, besides those of this machine.
        netkits: Which of them are netkit devices, the primary ones of their pairs.
        declarations: Types and functions of the kernel besides the usual ones, in C: see
            `pyebpf.testing.c_types`.
        tracepoints: Tracepoints besides the usual ones: ``{"app/event": "int pid; u64 value"}``.

    Raises:
        ValueError: A release older than all that are known, declarations that make no sense, …

    Attributes:
        version: As given.
    """

    def __init__(
        self,
        version: str | None = None,
        *,
        cpus: int = 2,
        btf: bool = True,
        configuration: Mapping[str, str] | None = None,
        interfaces: Mapping[str, int] | None = None,
        netkits: Collection[str] = (),
        declarations: str = "",
        tracepoints: Mapping[str, str] | None = None,
    ) -> None:
        self.version = version or USUAL
        age = Age(self.version)
        if not 1 <= cpus <= 1024:
            raise ValueError(f"a kernel has 1 to 1024 CPUs, not {cpus}")
        made = _world(
            self.version,
            cpus,
            btf,
            tuple(sorted({**_CONFIGURATION, **(configuration or {})}.items())),
            declarations,
            tuple((tracepoints or {}).items()),
        )
        known = {name: number for number, name in socket.if_nameindex()}
        self._tree = made.tree
        self._system = System(
            age=age,
            tree=made.tree,
            types=made.types,
            tracepoints={each.id: each for each in made.tracepoints},
            interfaces={**known, **(interfaces or {})},
            netkits=netkits,
            cpus=cpus,
        )
        self._used = contextlib.ExitStack()

    def __enter__(self) -> FakeKernel:  # noqa: PYI034 - typing.Self is Python 3.11's
        self._used.enter_context(seam.use(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._used.close()
        self.close()

    def close(self) -> None:
        """Forget everything; descriptors that are still open hang up. Twice is fine."""
        with self._system.lock:
            self._system.close()

    # --- what tests do with it

    @property
    def world(self) -> World:
        """Clock, CPU, current task and limits, as programs see them; change them freely."""
        return self._system.machine.world

    @property
    def tasks(self) -> list[Task]:
        """Tasks that iterators walk, besides the current one; add to them freely."""
        return self._system.tasks

    def add_interface(self, name: str, index: int) -> None:
        """Make up one more network interface.

        Raises:
            ValueError: There is one of this name or index.
        """
        with self._system.lock:
            there = self._system.interfaces
            if name in there or index in there.values():
                raise ValueError(f"there is an interface {name!r} or of index {index}")
            there[name] = index

    def remove_interface(self, name: str) -> None:
        """Let a network interface go, and with it what is attached to it.

        Raises:
            ValueError: There is none.
        """
        with self._system.lock:
            if name not in self._system.interfaces:
                raise ValueError(f"there is no interface {name!r}")
            self._system.remove_interface(name)

    def fire(
        self,
        hook: str,
        data: Data = b"",
        *,
        cpu: int = 0,
        pid: int | None = None,
        tgid: int | None = None,
        uid: int | None = None,
        comm: str | None = None,
        ppid: int | None = None,
        cgroup: str | None = None,
    ) -> list[Outcome]:
        """Let something happen: run the programs attached to a hook.

        Args:
            hook: As section names have it: ``"tracepoint/sched/sched_switch"``,
                ``"raw_tp/sys_enter"``, ``"tp_btf/sched_switch"``, ``"fentry/do_unlinkat"``,
                ``"fexit/…"``, ``"lsm/file_open"``, ``"kprobe/do_unlinkat"``, ``"kretprobe/…"``,
                ``"uprobe/PATH:OFFSET"``, ``"xdp/INTERFACE"``, ``"tc/INTERFACE/ingress"``,
                ``"perf_event/cpu_clock"``, ``"netkit/INTERFACE/primary"``,
                ``"netfilter/ipv4/local_in"``, ``"sk_lookup"``, ``"flow_dissector"``, and those of
                control groups: ``"cgroup/connect4"``, ``"cgroup_skb/egress"``, ``"sockops"``, …
            data: A tracepoint's record (see `record`); a packet; the struct that programs of
                sockets and control groups are given, or its members as a dict; for the others the
                arguments as numbers: of the function, of the tracepoint, or, for return probes, the
                value returned.
            cpu: The CPU it happens on.
            pid: The thread on whose behalf, for this event only; likewise the next ones. By default
                what ``world.task`` says.
            tgid: The process; by default *pid*.
            uid: Its user.
            comm: Its name.
            ppid: The process that started it.
            cgroup: The control group it is in, below ``/sys/fs/cgroup``; by default the root.

        Returns:
            What each program returned, in the order they ran; none if nothing is attached. On a
            hook where one program decides, the last one did.

        Raises:
            ValueError: No such hook.
            ExecutionError: A program did what the verifier would have refused.
        """
        who = firing.Who(pid=pid, tgid=tgid, uid=uid, comm=comm, ppid=ppid, cgroup=cgroup)
        with self._system.lock:
            return firing.fire(self._system, hook, data, cpu=cpu, who=who)

    def record(self, tracepoint: str, **values: object) -> bytes:
        """Return a tracepoint's record, to be fired.

        Args:
            tracepoint: ``"sched/sched_process_exec"``.
            values: Its fields; those left out are zero. Text may be ``str`` or bytes.

        Raises:
            ValueError: No such tracepoint or field, or a value that does not fit.
        """
        found = firing.tracepoint(self._system, tracepoint)
        return tracepoints.record(found, self.world.task.pid, values)

    def struct(self, name: str, **members: int | bytes | str) -> int:
        """Put a struct into memory that programs can read, until the kernel is closed.

        Args:
            name: One of the kernel's, without ``struct``: ``"task_struct"``.
            members: Numbers, text, or addresses of other structs; what is left out is zero.

        Returns:
            Its address, to be an argument of `fire` or a member of another struct.

        Raises:
            ValueError: No such struct or member, or a value that does not fit.
        """
        with self._system.lock:
            region = struct_region(self._system.types, name, members)
            return self._system.machine.memory.place(region)

    def emit(self, map: HasFileno, data: bytes, *, cpu: int = 0) -> bool:  # noqa: A002
        """Put a record into a ring buffer or perf event array, as a program would.

        Args:
            map: The map.
            data: The record.
            cpu: Of a perf event array: whose ring.

        Returns:
            Whether there was room; if not, it counts as lost where the kernel counts that.

        Raises:
            TypeError: Another kind of map.
            ValueError: Nobody reads that CPU's ring.
        """
        system = self._system
        with system.lock:
            system.sweep()
            found = map_of(system, map.fileno())[0]
            if isinstance(found.contents, RingBuffer):
                return found.for_programs.ring_output(bytes(data), 0) == 0
            if found.definition.type != MapType.PERF_EVENT_ARRAY:
                raise TypeError(f"{found.definition.type} holds no events")
            result = found.for_programs.perf_output(bytes(data), cpu)
        if result == -errno.ENOSPC:
            return False
        if result:
            raise ValueError(f"nobody reads the ring of CPU {cpu}: {os.strerror(-result)}")
        return True

    def fail(self, call: Cmd | str, number: int, *, after: int = 0, times: int | None = 1) -> None:
        """Let a call fail.

        Args:
            call: A command of bpf(2), or ``"perf_event_open"``, ``"ioctl"``, ``"mmap"``,
                ``"open"``, ``"read"`` or ``"setsockopt"``.
            number: The errno.
            after: How many such calls succeed before.
            times: How many fail then; ``None``: all.
        """
        with self._system.lock:
            self._system.faults.add(call, number, after=after, times=times)

    @property
    def printed(self) -> list[str]:
        """What programs have printed with ``bpf_printk``."""
        return list(self.world.printed)

    # --- the seam

    @property
    def root(self) -> str:
        """The directory of its small tree; nobody must write to it."""
        return str(self._tree.root)

    def path(self, *parts: str) -> str:
        """Return where a file of the tree is.

        Those below ``/sys/fs/bpf``, ``/sys/fs/cgroup`` and ``/run`` are elsewhere, since each
        kernel has its own.
        """
        whole = "/" + "/".join(part.strip("/") for part in parts)
        placed = self.place(self._system.run.place(whole))
        return placed if placed != whole else self.root + whole

    def place(self, path: str) -> str:
        """Return where a path below ``/sys/fs/bpf`` or ``/sys/fs/cgroup`` is; others stay."""
        return self._system.pins.mount.place(self._system.cgroups.mount.place(path))

    def is_bpffs(self, path: str) -> bool:
        """Return whether *path* exists and is below the virtual bpffs."""
        return self._system.pins.mount.contains(path)

    def bpf(self, cmd: Cmd, attr: seam.Attr, *, common: CommonAttr | None = None) -> int:
        """Answer one ``bpf(2)`` call; see `pyebpf.sys.kernel` for attrs and errors."""
        system = self._system
        if cmd.name.startswith("UNKNOWN_"):
            raise SyscallError(str(cmd), errno.EINVAL)
        if not system.age.has_command(cmd):
            raise NotSupportedError(cmd.c_name, cmd.since)
        if common is not None:
            if not system.age.reached("7.2"):
                raise NotSupportedError("bpf(2) with common attributes", "7.2")
            raise NotImplementedError(f"{cmd} with common attributes")
        if cmd not in COMMANDS:
            raise NotImplementedError(str(cmd))
        kind, answer = COMMANDS[cmd]
        typed_attr = kind.unpack(attr) if isinstance(attr, bytearray) else attr
        if not isinstance(typed_attr, kind):
            raise TypeError(f"{cmd} takes {kind.__name__}, not {type(typed_attr).__name__}")
        typed_attr.pack(lambda _: 0)  # what does not fit its field is the caller's mistake
        with self._answering(cmd):
            system.sweep()
            unknown = system.age.unknown_field(typed_attr)
            if unknown:
                raise Refused(unknown)
            result = answer(system, typed_attr)
            if isinstance(attr, bytearray):
                attr[:] = typed_attr.pack(lambda _: 0)[: len(attr)].ljust(len(attr), b"\0")
            return int(result)

    def perf_event_open(self, attr: CStruct, pid: int, cpu: int, group_fd: int, flags: int) -> int:
        """Open a perf event."""
        if not isinstance(attr, PerfEventAttr):
            raise NotImplementedError("perf_event_open with raw bytes")
        if not attr.size:
            attr.size = type(attr).SIZE
        attr.pack(lambda _: 0)
        with self._answering("perf_event_open"):
            return perf_calls.open_event(self._system, attr, pid, cpu, group_fd, flags)

    def ioctl(self, fd: int, request: int, argument: int | bytearray = 0) -> int:
        """Answer an ``ioctl(2)`` of a perf event."""
        with self._answering("ioctl"):
            self._system.sweep()
            what = self._system.holding(fd)
            if not isinstance(what, PerfEvent):
                raise Refused(errno.ENOTTY)
            return perf_calls.ioctl(self._system, what, request, argument)

    def mmap(self, fd: int, length: int, *, writable: bool, offset: int = 0) -> mmap.mmap:
        """Map an array, a ring buffer or a perf event's ring."""
        with self._answering("mmap"):
            file = self._system.find(fd)
            if file is None:
                raise Refused(errno.ENODEV)
            if isinstance(file.what, PerfEvent):
                return file.what.map(length, writable=writable, offset=offset)
            if not isinstance(file.what, Map):
                raise Refused(errno.ENODEV)
            return _map_memory(file.what, file.flags, length, writable=writable, offset=offset)

    def mapping(self, fd: int, length: int, *, address: int = 0) -> MemoryMapping:
        """Map an arena."""
        with self._answering("mmap"):
            what = self._system.holding(fd)
            if not isinstance(what, Map) or not isinstance(what.contents, Arena):
                raise Refused(errno.ENODEV)
            return what.contents.map(length, address)

    def elements(
        self, fd: int, key_size: int, value_size: int, *, waits: bool, array: bool = False
    ) -> ElementCalls:
        """Return the hot calls of one map."""
        with self._answering("mmap", counted=False):
            found, file = map_of(self._system, fd)
            return FakeElements(self._system, file, found, (key_size, value_size), array=array)

    def open(self, path: str, flags: int) -> int:
        """Open a file of this machine, such as a network namespace, or a control group of ours."""
        with self._answering("open"):
            try:
                return os.open(self.place(path), flags | os.O_CLOEXEC)
            except OSError as error:
                raise Refused(error.errno or errno.EIO, str(path)) from None

    def read(self, fd: int, size: int) -> bytes:
        """Read a perf event's counts, or from a descriptor of this machine."""
        with self._answering("read"):
            what = self._system.holding(fd)
            if isinstance(what, PerfEvent):
                return what.read(size)
            if what is not None:
                raise Refused(errno.EINVAL)
            try:
                return os.read(fd, size)
            except OSError as error:
                raise Refused(error.errno or errno.EIO) from None

    def file_name(self, fd: int) -> str:
        """Return what is open there, as ``/proc/self/fd`` shows it."""
        with self._answering("readlink", counted=False):
            what = self._system.holding(fd)
            if what is not None:
                return what.FILE_NAME
        return seam.LinuxKernel().file_name(fd)

    def file_info(self, fd: int) -> str:
        """Return what ``/proc/self/fdinfo`` tells about a descriptor."""
        with self._answering("open", counted=False):
            file = self._system.find(fd)
            if file is not None:
                return info.file_info(file)
        return seam.LinuxKernel().file_info(fd)

    def settle(self, fds: Collection[int]) -> None:
        """Take the readiness of rings back: pipes do not know when a ring was read."""
        # Without the lock: whoever fills the rings may hold it for long.
        self._system.files.calm(fds)

    def setsockopt(self, fd: int, level: int, name: int, value: bytes) -> None:
        """Attach a program to a socket of this machine, and take it off."""
        with self._answering("setsockopt"):
            socket_options.set_option(self._system, fd, level, name, value)

    def interface_index(self, name: str) -> int:
        """Return the index of an interface of this kernel."""
        try:
            return self._system.interfaces[name]
        except KeyError:
            raise SyscallError("if_nametoindex", errno.ENODEV, repr(name)) from None

    def xdp_socket(self) -> int:
        """Not modelled."""
        raise NotImplementedError("AF_XDP")

    def route_socket(self) -> int:
        """Open a socket for `rtnetlink`; it is not bound to a network namespace."""
        with self._answering("socket"):
            return self._system.files.open(RouteSocket())

    def rtnetlink(self, fd: int, request: bytes, sequence: int) -> list[bytes]:
        """Answer a netlink request about XDP programs or the clsact qdisc."""
        with self._answering("rtnetlink"):
            self._system.sweep()
            if not isinstance(self._system.holding(fd), RouteSocket):
                raise Refused(errno.ENOTSOCK)
            return route.answer(self._system, request)

    @contextlib.contextmanager
    def _answering(self, call: Cmd | str, *, counted: bool = True) -> Iterator[None]:
        with self._system.lock:
            try:
                if counted:
                    self._system.faults.check(call)
                yield
            except Refused as refused:
                # They would keep objects of this kernel for as long as anybody has the error.
                traceback.clear_frames(refused.__traceback__)
                raise typed(refused, call, self.root) from None

    def __repr__(self) -> str:
        return f"<FakeKernel {self.version}>"


# bpf_map_mmap
def _map_memory(found: Map, access: int, length: int, *, writable: bool, offset: int) -> mmap.mmap:
    contents = found.contents
    if isinstance(contents, RingBuffer):
        return contents.ring.map(length, writable=writable, offset=offset)
    if not isinstance(contents, Array):
        raise Refused(ENOTSUPP)
    if writable:
        if found.frozen or access & OpenFlag.RDONLY:
            raise Refused(errno.EPERM)
        if found.definition.flags & MapFlag.RDONLY_PROG:
            raise Refused(errno.EACCES)
    if contents.shared is None:
        raise Refused(errno.EINVAL)
    return contents.shared.map(length, writable=writable, offset=offset)


class _World(NamedTuple):
    types: Types
    tracepoints: list[Tracepoint]
    tree: Tree


# Kernels that are alike share their files, which take a while to write.
@functools.lru_cache(maxsize=8)
def _world(
    release: str,
    cpus: int,
    btf: bool,
    configuration: tuple[tuple[str, str], ...],
    declarations: str,
    more: tuple[tuple[str, str], ...],
) -> _World:
    points = tracepoints.usual()
    for place, fields in more:
        category, slash, name = place.partition("/")
        if not slash or not name:
            raise ValueError(f"a tracepoint is called category/name, not {place!r}")
        points.append(tracepoints.parse(category, name, fields, 1000 + len(points)))
    types = kernel_types(points, declarations)
    tree = Tree(
        release=f"{release}.0" if release.count(".") == 1 else release,
        cpus=cpus,
        configuration=dict(configuration),
        types=types,
        tracepoints=points,
        btf=btf,
    )
    return _World(types, points, tree)
