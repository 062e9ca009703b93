"""The one exception tree.

Everything the library raises about the kernel, an object file or a reader descends from
`EbpfError`; programming mistakes stay ``TypeError`` and ``ValueError``.

    EbpfError
    ├── SyscallError(OSError)        .cmd .errno       any failed system call; errno is never lost
    │   ├── KeyNotFoundError(KeyError)                 ENOENT on a map key
    │   ├── KeyExistsError                             EEXIST with BPF_NOEXIST
    │   ├── MapFullError                               E2BIG of a hash, ENOSPC of an LPM trie
    │   ├── KeyOutOfRangeError(KeyError)               E2BIG on an array index
    │   ├── PrivilegeError(PermissionError)            names the capability, sysctl or lockdown
    │   ├── VerifierError            .log .source      the verifier refused; says which line of C
    │   └── NetlinkError             .extack
    ├── NotSupportedError            .feature .since   the kernel lacks it
    ├── FormatError                  .where            malformed ELF, BTF or assembler text
    │   └── ElfError · BtfError · AsmError
    ├── LoadError                    .name             this spec cannot be loaded here
    │   ├── CoreRelocationError · ExternError · UnreferencedSymbolError
    │   ├── AttachError(ValueError)                    a program cannot be attached there
    │   └── IncompatibleError                          what exists is not as expected
    │       └── MapIncompatibleError
    ├── ExecutionError               .slot             the interpreter ended a program
    │   ├── MemoryAccessError        .address .size    outside of memory that may be used
    │   ├── InstructionLimitError                      it ran too long
    │   └── NotModelledError(NotImplementedError)      the interpreter has no such helper
    ├── IterationAborted
    ├── ReaderTimeout(TimeoutError)
    └── ClosedError(ValueError)                        used after close

A message is a chain of short phrases, outermost first, with the object named:
``load program "count": BPF_PROG_LOAD: EACCES: R2 !read_ok``. Each layer that knows more puts its
phrase in front with `naming`; the type of the error and its errno never change on the way.
"""

from __future__ import annotations

import contextlib
import errno as errno_module
import os
from collections.abc import Iterator, Mapping

from pyebpf.typed import NamedTuple

__all__ = [
    "ENOTSUPP",
    "AsmError",
    "AttachError",
    "BtfError",
    "ClosedError",
    "CoreRelocationError",
    "EbpfError",
    "ElfError",
    "ExecutionError",
    "ExternError",
    "FormatError",
    "IncompatibleError",
    "InstructionLimitError",
    "IterationAborted",
    "KeyExistsError",
    "KeyNotFoundError",
    "KeyOutOfRangeError",
    "LoadError",
    "MapFullError",
    "MapIncompatibleError",
    "MemoryAccessError",
    "NetlinkError",
    "NotModelledError",
    "NotSupportedError",
    "PrivilegeError",
    "ReaderTimeout",
    "SourceLine",
    "SyscallError",
    "UnreferencedSymbolError",
    "VerifierError",
    "errno_name",
    "naming",
]

# Kernel-internal errno (include/linux/errno.h) that leaks from bpf(2): map operations, trampolines
# kfuncs. Neither libc nor Python knows it.
ENOTSUPP = 524
# Of a log that is not understood.
EXPLAINED_LOG_LINES = 12
EXPLAINED_LOG_SIZE = 12 << 10
# Registers and stack slots that the refused instruction does not use.
EXPLAINED_OTHERS = 16
EXPLAINED_WIDTH = 100
# Of every function, and never news.
FRAME_POINTER = ("R10", "fp0")


def errno_name(number: int) -> str:
    """Return the constant's name for an errno, ``"ENOTSUPP"`` for the kernel's 524 included."""
    if number == ENOTSUPP:
        return "ENOTSUPP"
    if number == errno_module.EOPNOTSUPP:  # libc's ENOTSUP has the same number
        return "EOPNOTSUPP"
    return errno_module.errorcode.get(number, f"errno {number}")


def errno_text(number: int) -> str:
    """Return the text for an errno in lower case, ``"operation not supported"`` for 524."""
    if number == ENOTSUPP:
        return "operation not supported"
    text = os.strerror(number)
    return text[:1].lower() + text[1:]


class EbpfError(Exception):
    """Superclass of every error this library raises; never raised itself.

    Attributes:
        context: Phrases put in front of the message by outer layers, outermost first.
        completed: Of many elements, how many were done before it failed; ``None`` else.
    """

    completed: int | None = None

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.context: list[str] = []

    def __reduce__(self) -> tuple[object, ...]:
        return (_revived, (type(self), self.args, self.__dict__))

    def __str__(self) -> str:
        return ": ".join([*self.context, self.message])


# Pickling and copying: without __init__, whose arguments are not what the error keeps.
def _revived(
    kind: type[EbpfError], arguments: tuple[object, ...], state: dict[str, object]
) -> EbpfError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class SyscallError(EbpfError, OSError):
    """A system call failed.

    Args:
        cmd: The call, as the kernel names it: ``"BPF_MAP_CREATE"``, ``"perf_event_open"``.
        errno: The positive error number; 524 (``ENOTSUPP``) included.
        detail: What it means here, if more is known than the errno's own text.

    Attributes:
        cmd: As given.
        errno: As given; ``strerror`` carries the text.
        detail: As given.
    """

    def __init__(self, cmd: str, errno: int, detail: str = "") -> None:
        # OSError fills .errno and .strerror from two arguments.
        OSError.__init__(self, errno, errno_text(errno))
        self.cmd = cmd
        self.detail = detail
        self.context = []

    # OSError keeps the errno outside of __dict__, so __init__ has to run.
    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.cmd, self.errno or 0, self.detail), self.__dict__)

    # OSError declares these as int | None; ours are always set.
    @property
    def message(self) -> str:  # type: ignore[override]
        """The call, the errno's name and what it means, without the context in front."""
        number = self.errno or 0
        return f"{self.cmd}: {errno_name(number)}: {self.detail or errno_text(number)}"

    def __str__(self) -> str:
        return ": ".join([*self.context, self.message])


class KeyNotFoundError(SyscallError, KeyError):
    """No such key in the map (``ENOENT``)."""


class KeyExistsError(SyscallError):
    """The key exists and ``BPF_NOEXIST`` was given (``EEXIST``)."""


class MapFullError(SyscallError):
    """The map holds ``max_entries`` already (``E2BIG`` of a hash, ``ENOSPC`` of an LPM trie)."""


class KeyOutOfRangeError(SyscallError, KeyError):
    """An array index is not below ``max_entries`` (``E2BIG``)."""


class PrivilegeError(SyscallError, PermissionError):
    """A capability, sysctl or lockdown stands in the way; the message names it."""


class SourceLine(NamedTuple):
    """A line of C, from the object's line information; prints as ``file.c:31``."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class VerifierError(SyscallError):
    """The verifier refused a program.

    Attributes:
        log: The verifier's log, whole as far as the kernel kept it, one string.
        source: The C line of the refused instruction, or ``None`` without line information.
        truncated: The kernel had more log than it could hand over.
        nearby: Lines of the same function around *source*, in order, as far as they are known.
        slot: The refused instruction's index in the program, in 8-byte units, or ``None`` if it is
            not about one.
        instruction: That instruction as the kernel writes it, or ``""``.
        registers: What the verifier knew before it: ``{"R1": "ctx()", "fp-8": "mmmmmmmm"}``, as far
            as the log says it; before Linux 5.18 it seldom does.
        cause: What is wrong, in words, if it is one of the known causes, or ``""``.
        notes: More that is known about it, such as where an unreleased reference was acquired.
        help: What to do about the cause, or ``""``.
    """

    def __init__(
        self,
        cmd: str,
        errno: int,
        detail: str = "",
        *,
        log: str = "",
        source: SourceLine | None = None,
        truncated: bool = False,
        nearby: tuple[SourceLine, ...] = (),
        slot: int | None = None,
        instruction: str = "",
        registers: Mapping[str, str] | None = None,
        cause: str = "",
        notes: tuple[str, ...] = (),
        help: str = "",  # noqa: A002 - what compilers call it
    ) -> None:
        super().__init__(cmd, errno, detail)
        self.log = log
        self.source = source
        self.truncated = truncated
        self.nearby = nearby
        self.slot = slot
        self.instruction = instruction
        self.registers = dict(registers or {})
        self.cause = cause
        self.notes = notes
        self.help = help

    def explain(self) -> str:
        """Show the refused line, its instruction and what was known there, as compilers do.

        Returns:
            Several lines of text, without a newline at the end. The form may change; what programs
            want to know is in the attributes.
        """
        lines = [str(self), *self._source_lines(), *self._state_lines()]
        if self.cause:
            lines.append(f"note: {self.cause}")
        lines += [f"note: {note}" for note in self.notes]
        if self.truncated:
            lines.append("note: the kernel had more log than it could hand over")
        if self.help:
            lines.append(f"help: {self.help}")
        if not self.instruction and not self.cause:
            tail = self.log.rstrip()[-EXPLAINED_LOG_SIZE:].splitlines()
            lines += [f"  {line}" for line in tail[-EXPLAINED_LOG_LINES:]]
        return "\n".join(lines)

    def _source_lines(self) -> list[str]:
        if self.source is None:
            return []
        file, number, column, text = self.source
        place = f"{file}:{number}:{column}" if column else f"{file}:{number}"
        lines = [f"--> {place}"]
        for each in sorted([*self.nearby, self.source], key=lambda line: line.line):
            lines.append(f"{each.line:6} | {each.text.expandtabs(8).rstrip()}")
            if each is self.source and column:
                # Tabs before the column widen what is printed, not what the compiler counted.
                caret = " " * len(text[: column - 1].expandtabs(8)) + "^"
                lines.append(f"{'':6} | {caret}")
        return lines

    # First what the instruction reads and the reason is about, then the rest on few lines.
    def _state_lines(self) -> list[str]:
        if not self.instruction:
            return []
        import re

        read = re.sub(r"^[rw]\d+ = ", "", self.instruction)
        used = {f"R{number}" for number in re.findall(r"\b[Rrw](\d+)\b", f"{read} {self.detail}")}
        if read.startswith("call "):
            used |= {"R1", "R2", "R3", "R4", "R5"}
        elif read == "exit":
            used.add("R0")
        known = [each for each in self.registers.items() if each != FRAME_POINTER]
        first = [f"{name:>6} = {value}" for name, value in known if name in used]
        others = [f"{name}={value}" for name, value in known if name not in used]
        if len(others) > EXPLAINED_OTHERS:
            others[EXPLAINED_OTHERS:] = [f"and {len(others) - EXPLAINED_OTHERS} more"]
        return [
            f"instruction {self.slot}: {self.instruction}",
            *first,
            *_wrapped("others:", others),
        ]


def _wrapped(title: str, words: list[str]) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) < EXPLAINED_WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{'' if lines else title:{len(title)}} {word}")
    return lines


class NetlinkError(SyscallError):
    """A netlink request was refused.

    Attributes:
        extack: The kernel's own explanation, or ``""``.
    """

    def __init__(self, cmd: str, errno: int, extack: str = "") -> None:
        super().__init__(cmd, errno, extack)
        self.extack = extack


class NotSupportedError(EbpfError):
    """The running kernel lacks a feature.

    Attributes:
        feature: What is missing, as a short noun phrase.
        since: The first kernel release that has it, such as ``"5.8"``, or ``None`` where it
            depends on the kernel's configuration or architecture.
    """

    def __init__(self, feature: str, since: str | None = None, detail: str = "") -> None:
        text = f"{feature} not supported by this kernel"
        if since is not None:
            text += f" (since Linux {since})"
        if detail:
            text += f": {detail}"
        super().__init__(text)
        self.feature = feature
        self.since = since


class FormatError(EbpfError):
    """Malformed input.

    Attributes:
        where: The place, such as ``"section .maps, offset 0x18"``, or ``""``.
    """

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class ElfError(FormatError):
    """Not an eBPF object file, or a malformed one."""


class BtfError(FormatError):
    """Malformed BTF, or a type that cannot be used as asked."""


class AsmError(FormatError):
    """Malformed instructions or assembler text."""


class LoadError(EbpfError):
    """A spec cannot be loaded here.

    Attributes:
        name: The map, program, variable or symbol it is about.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class CoreRelocationError(LoadError):
    """A CO-RE relocation cannot be resolved against the kernel's types."""


class ExternError(LoadError):
    """An extern symbol cannot be resolved."""


class IncompatibleError(LoadError):
    """A map, program or collection is not as expected; the message lists every difference."""


class MapIncompatibleError(IncompatibleError):
    """An existing map does not fit the spec that is to use it, or is not as expected."""


class AttachError(LoadError, ValueError):
    """A program cannot be attached there: of the wrong kind, or no such interface, file, cgroup.

    Found out before the kernel was asked to attach; nothing has changed.
    """


class UnreferencedSymbolError(LoadError):
    """A symbol that was to be rewritten is not used by the program."""


class ExecutionError(EbpfError):
    """The interpreter ended a program that did what the verifier never lets a program do.

    Attributes:
        slot: The instruction's index in its program, in 8-byte units, or -1 if it is about none.
        program: The name of the program that was running, which a tail call may have changed.
    """

    slot: int = -1
    program: str = ""


class MemoryAccessError(ExecutionError):
    """A program, or a helper on its behalf, reached outside of memory that it may use.

    Attributes:
        address: The first byte that was asked for.
        size: How many bytes were.
        write: Whether they were to be written.
        region: What memory lies there or just before, such as ``"packet"``, or ``""``.
        register: The register that held the address, such as ``"r2"``, or ``""`` if unknown.
    """

    register: str = ""

    def __init__(
        self, message: str, *, address: int, size: int, write: bool, region: str = ""
    ) -> None:
        super().__init__(message)
        self.address = address
        self.size = size
        self.write = write
        self.region = region


class InstructionLimitError(ExecutionError):
    """A program executed more instructions than the interpreter was told to allow."""


class NotModelledError(ExecutionError, NotImplementedError):
    """A program used what the interpreter does not have; the message names it.

    Attributes:
        what: The helper, kfunc or instruction.
    """

    def __init__(self, what: str, detail: str = "") -> None:
        super().__init__(f"{what}: {detail or 'not modelled by the interpreter'}")
        self.what = what


class IterationAborted(EbpfError):
    """A map changed so fast while it was iterated that iteration gave up."""


class ReaderTimeout(EbpfError, TimeoutError):
    """No record came within the time given."""


class ClosedError(EbpfError, ValueError):
    """An object was used after it was closed."""


@contextlib.contextmanager
def naming(phrase: str) -> Iterator[None]:
    """Put *phrase* in front of the message of any `EbpfError` that leaves the block.

    Args:
        phrase: What was being done and to which object, such as ``'load program "count"'``.
    """
    try:
        yield
    except EbpfError as error:
        error.context.insert(0, phrase)
        raise
