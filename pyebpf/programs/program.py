"""A loaded program: `Program`, and what its test run returns.

Owns one descriptor. The kernel keeps the program as long as a descriptor, a pin, an attachment or a
prog array holds it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from pyebpf.errors import ENOTSUPP, SyscallError, naming
from pyebpf.handle import Handle
from pyebpf.plain import plain
from pyebpf.spec import ProgramSpec
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.typed import TYPE_CHECKING
from pyebpf.uapi.attrs import ProgBindMap, ProgTestRun
from pyebpf.uapi.bpf import ProgType

if TYPE_CHECKING:
    from pyebpf.abi import ProgramAbi
    from pyebpf.asm.instruction import Instruction
    from pyebpf.programs.benchmark import BenchmarkResult
    from pyebpf.programs.info import ProgramInfo
    from pyebpf.programs.jited import JitedCode
    from pyebpf.programs.stats import ProgramStats
    from pyebpf.programs.xlated import Xlated

__all__ = ["Program", "RunResult", "loaded_programs"]

# Room behind the input for a program that grows the packet: on older kernels an skb may become as
# long as loopback's MTU, an XDP frame gains its headroom and a page. The kernel says ENOSPC only
# when the effects of the run are real already.
OUTPUT_ROOM = 256 + (1 << 16)
# The kernel writes back the whole of its own structure: the longest one, of an skb, has 192 bytes.
CONTEXT_ROOM = 256
# Kinds whose test run refuses data_in/data_out: they take a context only.
CONTEXT_ONLY = frozenset({ProgType.RAW_TRACEPOINT, ProgType.SYSCALL, ProgType.STRUCT_OPS})
# The header of Ethernet, which the kernel wants in front of every packet.
SHORTEST_PACKET = 14
# Kinds that the kernel neither repeats nor times.
UNTIMED = CONTEXT_ONLY | {ProgType.TRACING}


@plain(frozen=True, kw_only=True)
class RunResult:
    """What ``BPF_PROG_TEST_RUN`` returned.

    Attributes:
        retval: The program's return value, as an unsigned 32-bit number.
        data: The packet afterwards, or ``b""`` for kinds without one.
        ctx: The context afterwards, or ``b""`` if none was given.
        duration_ns: Mean nanoseconds of one run.
    """

    retval: int
    data: bytes
    ctx: bytes
    duration_ns: int


class Program(Handle):
    """A program in the kernel.

    Args:
        fd: Its descriptor; this object owns it from now on.
        name: Its name in the object file, or the kernel's copy, cut to 15 bytes.
        type: ``enum bpf_prog_type``.
        spec: What it was loaded from, or ``None`` if it was opened.
        verifier_log: The log of its load, ``""`` unless one was asked for.

    Since Linux 3.18.
    """

    KIND = "program"

    def __init__(
        self,
        fd: FD,
        *,
        name: str,
        type: ProgType,  # noqa: A002 - the kernel's word
        spec: ProgramSpec | None = None,
        verifier_log: str = "",
    ) -> None:
        super().__init__(fd)
        self.name = name
        self.type = type
        self.spec = spec
        self.verifier_log = verifier_log

    @classmethod
    def from_fd(cls, fd: int) -> Program:
        """Open the program behind a descriptor; the caller keeps *fd*.

        Raises:
            ValueError: *fd* is not a program's.
            SyscallError: No such descriptor.

        Since Linux 4.13.
        """
        return cls._adopt(cls._fd_of(fd))

    @classmethod
    def from_id(cls, program_id: int) -> Program:
        """Open a program by the kernel's id.

        Raises:
            SyscallError: ``ENOENT`` if there is none.
            PrivilegeError: Without ``CAP_SYS_ADMIN``.

        Since Linux 4.13.
        """
        return cls._adopt(bpf.prog_get_fd_by_id(program_id))

    @classmethod
    def from_pin(
        cls, path: str | os.PathLike[str], *, expect: ProgramSpec | ProgramAbi | None = None
    ) -> Program:
        """Open the program pinned at *path*.

        Args:
            path: The pin.
            expect: What it must be, as far as the kernel tells: its type. A spec becomes its own,
                so that it attaches by its section's name.

        Raises:
            SyscallError: ``ENOENT``, ``EACCES``, …
            ValueError: Something else is pinned there.
            IncompatibleError: It is not as expected.

        Since Linux 4.4.
        """
        from pyebpf.abi import check_program

        program = cls._adopt(cls._fd_at(path))
        try:
            if expect is not None:
                with naming(f'program pinned at "{os.fspath(path)}"'):
                    check_program(expect, program)
        except BaseException:
            program.close()
            raise
        if isinstance(expect, ProgramSpec):
            program.name, program.spec = expect.name, expect
        return program

    @classmethod
    def _adopt(cls, fd: FD) -> Program:
        from pyebpf.programs.info import program_info

        try:
            info = program_info(fd.fileno())
        except BaseException:
            fd.close()
            raise
        return cls(fd, name=info.name, type=info.type)

    def _label(self) -> str:
        return f'program "{self.name}"'

    def info(self) -> ProgramInfo:
        """Return what the kernel knows about the program. Since Linux 4.13."""
        from pyebpf.programs.info import program_details

        return program_details(self.fileno())

    @property
    def id(self) -> int:
        """The kernel's id for it."""
        from pyebpf.programs.info import program_info

        return program_info(self.fileno()).id

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions of the object file, or none for a program that was only opened."""
        return self.spec.instructions if self.spec is not None else ()

    @property
    def section(self) -> str:
        """Its section in the object file, ``""`` for a program that was only opened."""
        return self.spec.section if self.spec is not None else ""

    @property
    def license(self) -> str:
        """Its licence; of one that was only opened the kernel tells just whether it is GPL's.

        `ProgramInfo.gpl_compatible` is that answer.
        """
        return self.spec.license if self.spec is not None else ""

    @property
    def size(self) -> int:
        """Bytes of its code in the kernel, as the verifier left it."""
        from pyebpf.programs.info import program_info

        return program_info(self.fileno()).xlated_size

    def disassemble(
        self, *, names: bool = True, sources: bool = False, raw_bytes: bool = False
    ) -> str:
        """Return the code that the kernel runs, or compiled, as assembler text.

        It is what the verifier made of the program: ``spec.disassemble()`` is what was loaded.

        Args:
            names: Print names of maps, functions and helpers, as far as they can be known.
            sources: Print the lines of source.
            raw_bytes: Print the bytes of instructions too.

        Raises:
            PrivilegeError: The kernel shows no code to this process.

        Since Linux 4.13; functions and lines since 5.0.
        """
        from pyebpf.programs.xlated import xlated, xlated_text

        found = xlated(self.fileno())
        return xlated_text(found, names=names, sources=sources, raw_bytes=raw_bytes)

    def xlated(self) -> Xlated:
        """Return the code that the kernel runs, or compiled, with its functions and lines.

        Raises:
            PrivilegeError: The kernel shows no code to this process.

        Since Linux 4.13; functions and lines since 5.0.
        """
        from pyebpf.programs.xlated import xlated

        return xlated(self.fileno())

    def jited(self) -> JitedCode:
        """Return the machine code of each of its functions, with addresses, tags and lines.

        Returns:
            The code; without functions where the kernel interprets it or shows nothing.

        Since Linux 4.13; several functions 4.18, names, tags and lines 5.0.
        """
        from pyebpf.programs.jited import jited

        return jited(self.fileno())

    def stats(self) -> ProgramStats:
        """Return how often it ran and how long that took, while `enable_stats` was on.

        Since Linux 5.1.
        """
        from pyebpf.programs.stats import stats

        return stats(self.fileno())

    def bind_map(self, map: Handle) -> None:  # noqa: A002 - the kernel's word
        """Keep a map alive as long as the program is, though its code does not use it.

        Args:
            map: It shows among the program's maps from now on; twice is once.

        Since Linux 5.10.
        """
        with naming(f"{self._label()}: bind {map._label()}"):
            bpf.prog_bind_map(ProgBindMap(prog_fd=self.fileno(), map_fd=map.fileno()))

    def benchmark(
        self,
        data: bytes | bytearray | memoryview = b"",
        *,
        ctx: bytes | bytearray | memoryview | None = None,
        repeat: int = 10_000,
        rounds: int = 11,
    ) -> BenchmarkResult:
        """Measure how long the program takes, by test runs; their effects are real.

        Kinds that the kernel does not repeat by itself (raw tracepoints, tracing and syscall
        programs) are measured by the kernel's statistics, which add some nanoseconds.

        Args:
            data: The packet, as for `run`.
            ctx: The context, as for `run`.
            repeat: Runs in one round.
            rounds: How many; their spread is what the machine adds.

        Returns:
            The median of the rounds (``.ns``) and their spread.

        Raises:
            SyscallError: As for `run`.
            ValueError: It did not run: a tracing program does where it is attached.

        Since Linux 4.12, kinds without repeat 5.10.
        """
        from pyebpf.programs.benchmark import by_statistics, measure

        def once() -> int:
            return self.run(data, ctx=ctx).retval

        def one_round() -> tuple[int, float]:
            if self.type in UNTIMED:
                return by_statistics(once, self.stats, repeat)
            result = self.run(data, ctx=ctx, repeat=repeat)
            return result.retval, float(result.duration_ns)

        return measure(one_round, repeat=repeat, rounds=rounds)

    def run(
        self,
        data: bytes | bytearray | memoryview = b"",
        *,
        ctx: bytes | bytearray | memoryview | None = None,
        repeat: int = 1,
        flags: int = 0,
        cpu: int = 0,
        batch_size: int = 0,
    ) -> RunResult:
        """Run the program on made-up input, without attaching it.

        Never repeated by the library, not even when a signal interrupts it: its effects are real.

        Args:
            data: The packet; network kinds need at least 14 bytes.
            ctx: The context structure, where the kind takes one, or as much of it as matters.
            repeat: Number of runs.
            flags: ``BPF_F_TEST_*`` (Linux 5.10).
            cpu: CPU to run on, with ``BPF_F_TEST_RUN_ON_CPU``.
            batch_size: Frames at a time, with ``BPF_F_TEST_XDP_LIVE_FRAMES`` (Linux 5.18).

        Returns:
            The return value, the packet and the context afterwards, and the mean duration.

        Raises:
            SyscallError: ``ENOTSUPP`` if the kind cannot be run this way, ``EINTR`` after a signal,
                ``ENOSPC`` if the program made a packet more than 64 KiB longer.

        Since Linux 4.12 (networking), 5.10 (raw tracepoints), 5.14 (syscall programs).
        """
        attr = ProgTestRun(prog_fd=self.fileno(), flags=flags, cpu=cpu, batch_size=batch_size)
        # Kinds that run just once refuse a 1, too.
        attr.repeat = 0 if repeat == 1 and self.type in CONTEXT_ONLY else repeat
        packet = memoryview(data).tobytes()
        # Frames that really travel do not come back.
        from pyebpf.uapi.per_hook import TestRunFlag

        returned = self.type not in CONTEXT_ONLY and not flags & TestRunFlag.XDP_LIVE_FRAMES
        data_out = bytearray(len(packet) + OUTPUT_ROOM if packet and returned else 0)
        if packet:
            attr.data_in, attr.data_size_in = packet, len(packet)
            attr.data_out, attr.data_size_out = data_out, len(data_out)
        # A syscall program's context is written back to where it came from: into a copy.
        context = bytearray(memoryview(ctx if ctx is not None else b"").tobytes())
        ctx_out = context
        if context:
            attr.ctx_in, attr.ctx_size_in = context, len(context)
            if self.type not in CONTEXT_ONLY:
                ctx_out = bytearray(max(len(context), CONTEXT_ROOM))
                attr.ctx_out, attr.ctx_size_out = ctx_out, len(ctx_out)
        try:
            with naming(f'run program "{self.name}"'):
                bpf.prog_test_run(attr)
        except SyscallError as error:
            error.detail = error.detail or _why_not(self.type, error.errno, len(packet), repeat)
            raise
        if self.type not in CONTEXT_ONLY:
            del ctx_out[min(attr.ctx_size_out, len(context)) :]
        return RunResult(
            retval=attr.retval,
            data=bytes(data_out[: attr.data_size_out]),
            ctx=bytes(ctx_out),
            duration_ns=attr.duration,
        )

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd {self.fileno()}"
        return f'<Program "{self.name}" {self.type} {state}>'


# What a refusal of a test run means, "" if that is not known.
def _why_not(kind: ProgType, number: int | None, size: int, repeat: int) -> str:
    if number == ENOTSUPP:
        return f"the kernel has no test runs of {kind}"
    if number == errno.EFAULT and kind == ProgType.TRACING:
        return "of tracing programs only those of functions have test runs"
    if number != errno.EINVAL:
        return ""
    if kind in CONTEXT_ONLY and size:
        return f"{kind} takes a context and no packet"
    if kind in CONTEXT_ONLY and repeat > 1:
        return f"{kind} is run once, not {repeat} times"
    if kind not in UNTIMED and kind != ProgType.SK_LOOKUP and size < SHORTEST_PACKET:
        return f"a packet has {SHORTEST_PACKET} bytes at least, not {size}"
    return ""


def loaded_programs() -> Iterator[Program]:
    """Open every program the kernel holds, one after another; the caller closes each.

    Programs that vanish meanwhile are left out.

    Raises:
        PrivilegeError: Without ``CAP_SYS_ADMIN``.

    Since Linux 4.13.
    """
    last = 0
    while (program_id := bpf.prog_get_next_id(last)) is not None:
        last = program_id
        try:
            program = Program.from_id(program_id)
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        yield program
