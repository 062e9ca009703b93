"""Names for the addresses of stacks: `KernelSymbols` and `ProcessSymbols`.

    kernel address ──▶ /proc/kallsyms                                       do_sys_openat2+0x9a
    user address   ──▶ /proc/PID/maps ──▶ file and offset ──▶ ELF symbols   PyEval_EvalCode+0x40
                                    ├──▶ [vdso]: /proc/PID/mem ─▶ the same  clock_gettime+0x2c
                                    └──▶ none: /tmp/perf-PID.map            the JIT's own names
    build id, offset ──▶ the file with that build id

In: addresses, innermost first, as a stack trace map holds them. Out: `Frame` tuples.
"""

from __future__ import annotations

import bisect
import re
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from pyebpf.errors import EbpfError, PrivilegeError, SyscallError
from pyebpf.host.functions import Functions
from pyebpf.sys import kernel
from pyebpf.sys.failures import failure
from pyebpf.typed import NamedTuple

__all__ = ["Frame", "KernelSymbols", "ProcessSymbols"]

_KERNEL_LINE = re.compile(rb"^([0-9a-f]+) [tTwW] (\S+)(?:\t\[([^\]]+)\])?$", re.MULTILINE)
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+ *(.*)")
_JIT_LINE = re.compile(rb"^([0-9a-fA-F]+) ([0-9a-fA-F]+) (.+)$", re.MULTILINE)
# Behind these the kernel's text has ended; what comes next may be a program loaded meanwhile.
_ENDS = frozenset({"_etext", "_einittext", "_end"})
# A JIT that writes more names than this is broken.
_MAX_JIT_MAP = 1 << 28
_DELETED = " (deleted)"
# A library that the kernel puts into every process; there is no file of it.
_VDSO = "[vdso]"
_DEBUG_FILES, _SHORTEST_ID = "/usr/lib/debug/.build-id", 8
# Files whose symbols are kept; a process has some dozens.
_MAX_FILES = 256


class Frame(NamedTuple):
    """One frame of a stack; prints as ``name+0x12 (file)``.

    Attributes:
        address: As it was given; an offset in the file for a frame with a build id.
        name: Of the function, ``""`` if it is not known.
        offset: Bytes from the start of the function; without a name, in the file.
        module: The file, the kernel module, ``"kernel"``, ``"jit"``, or ``""``.
    """

    address: int
    name: str
    offset: int
    module: str

    def __str__(self) -> str:
        if not self.name:
            return f"{self.address:#x} ({self.module})" if self.module else f"{self.address:#x}"
        return f"{self.name}+{self.offset:#x} ({self.module})"


class KernelSymbols:
    """Names of the kernel's functions, those of modules and BPF programs included.

    Reading them takes some tenths of a second, which is done once, and again for addresses that
    are not known yet when `refresh` is called: programs and modules come and go.

    Args:
        root: The directory that stands for ``/``.

    Raises:
        SyscallError: There is no ``/proc/kallsyms``.
        PrivilegeError: Addresses are hidden from this process (``kernel.kptr_restrict``).
    """

    def __init__(self, root: str | None = None) -> None:
        self._path = Path(root or kernel.current().root, "proc/kallsyms")
        self._table: tuple[array[int], list[tuple[bytes, bytes]]] = (array("Q"), [])
        self.refresh()

    def refresh(self) -> None:
        """Read the names again.

        Raises:
            SyscallError: As for the class.
        """
        try:
            text = self._path.read_bytes()
        except OSError as error:
            raise failure("open", error.errno, str(self._path)) from None
        found = {int(address, 16): (name, module) for address, name, module in _lines(text)}
        starts = sorted(found)
        if not any(starts):
            reason = "addresses are hidden: kernel.kptr_restrict, or no CAP_SYSLOG"
            raise PrivilegeError("read", 1, f"{self._path}: {reason}")
        self._table = (array("Q", starts), [found[start] for start in starts])

    def frame(self, address: int) -> Frame:
        """Return what is at a kernel address."""
        starts, names = self._table
        index = bisect.bisect_right(starts, address) - 1
        if index < 0:
            return Frame(address, "", 0, "")
        name, module = (each.decode(errors="replace") for each in names[index])
        if name in _ENDS:
            return Frame(address, "", 0, "")
        return Frame(address, name, address - starts[index], module or "kernel")

    def frames(self, addresses: Iterable[int]) -> list[Frame]:
        """Return the frames of a kernel stack, innermost first."""
        return [self.frame(address) for address in addresses]


# Suffixes that compilers of whole programs add belong to no name in the source.
def _lines(text: bytes) -> Iterable[tuple[bytes, bytes, bytes]]:
    for address, name, module in _KERNEL_LINE.findall(text):
        yield address, name.partition(b".llvm.")[0], module


class _Mapping(NamedTuple):
    start: int
    end: int
    offset: int
    path: str


class ProcessSymbols:
    """Names of the functions of one process: of its program, its libraries, its JIT.

    What the process has mapped is read when it is made and by `refresh`; symbols of files when they
    are first needed. Addresses go on being named after the process has ended if `frames` has seen
    the files before.

    Args:
        pid: The process.
        root: The directory that stands for ``/``.

    Raises:
        SyscallError: No such process, or somebody else's.
    """

    def __init__(self, pid: int, root: str | None = None) -> None:
        self.pid = pid
        self._directory = Path(root or kernel.current().root, "proc", str(pid))
        self._mappings: list[_Mapping] = []
        self._starts: list[int] = []
        self._files: dict[str, Functions | None] = {}
        self._jit: _Jit | None = None
        self.refresh()

    def refresh(self) -> None:
        """Look again at what the process has mapped and what its JIT has made.

        Raises:
            SyscallError: It has ended.
        """
        path = self._directory / "maps"
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise failure("open", error.errno, str(path)) from None
        self._mappings = [
            _Mapping(int(start, 16), int(end, 16), int(offset, 16), name)
            for start, end, offset, name in _MAPPING.findall(text)
        ]
        self._starts = [mapping.start for mapping in self._mappings]
        self._jit = None

    def frame(self, where: int | tuple[bytes, int]) -> Frame:
        """Return what is at an address, or at an offset in the file with a build id."""
        if not isinstance(where, int):
            build_id, offset = where
            return self._with_build_id(build_id, offset) if build_id else self.frame(offset)
        index = bisect.bisect_right(self._starts, where) - 1
        mapping = self._mappings[index] if index >= 0 else None
        if mapping is None or where >= mapping.end:
            return Frame(where, "", 0, "")
        frame = Frame(where, "", 0, mapping.path)
        if mapping.path.startswith("/") or mapping.path == _VDSO:
            frame = self._in_file(where, where - mapping.start + mapping.offset, mapping.path)
        if not frame.name:  # some JITs keep their code in files without a name
            found = self._jitted(where)
            if found is not None:
                return Frame(where, *found, "jit")
        return frame

    def frames(self, stack: Sequence[int] | Sequence[tuple[bytes, int]]) -> list[Frame]:
        """Return the frames of a user stack, innermost first: addresses, or build ids."""
        return [self.frame(where) for where in stack]

    def _in_file(self, address: int, offset: int, path: str) -> Frame:
        functions = self._functions(path)
        if functions is None:
            return Frame(address, "", offset, path)
        found = functions.at(offset)
        if found is None:
            found = self._in_debug_file(functions, offset)
        return Frame(address, *(found or ("", offset)), path)

    # What distributions strip from a file they keep in another, by its build id. That has the same
    # addresses, but holds no code: offsets are those of the file itself.
    def _in_debug_file(self, functions: Functions, offset: int) -> tuple[str, int] | None:
        at = functions.address(offset)
        identity = functions.build_id.hex()
        if at is None or len(identity) < _SHORTEST_ID:
            return None
        symbols = self._functions(f"{_DEBUG_FILES}/{identity[:2]}/{identity[2:]}.debug")
        return symbols.at_address(at) if symbols is not None else None

    def _with_build_id(self, build_id: bytes, offset: int) -> Frame:
        for path in dict.fromkeys(each.path for each in self._mappings):
            functions = self._functions(path) if path.startswith("/") else None
            # The kernel pads build ids to 20 bytes.
            if functions is not None and functions.build_id.ljust(20, b"\0") == build_id:
                return self._in_file(offset, offset, path)
        return Frame(offset, "", offset, build_id.hex())

    # Seen through the process's own root directory, since it may be in a container.
    def _functions(self, path: str) -> Functions | None:
        if path not in self._files:
            if len(self._files) >= _MAX_FILES:
                self._files.clear()
            seen = self._directory / "root" / path.lstrip("/")
            if path.endswith(_DELETED):
                seen = self._mapped_file(path)
            try:
                if path == _VDSO:
                    self._files[path] = Functions.decode(self._memory_of(path), path)
                else:
                    self._files[path] = Functions.read(seen)
            except EbpfError:
                self._files[path] = None  # no ELF file, a device, or gone
        return self._files[path]

    # A file that was replaced while the process runs, by an upgrade of a package: its mapping is
    # the only way to it.
    def _mapped_file(self, path: str) -> Path:
        start, end = self._place(path)
        return self._directory / "map_files" / f"{start:x}-{end:x}"

    def _memory_of(self, path: str) -> bytes:
        start, end = self._place(path)
        memory = self._directory / "mem"
        try:
            with memory.open("rb") as file:
                file.seek(start)
                return file.read(end - start)
        except OSError as error:
            raise failure("read", error.errno, str(memory)) from None

    def _place(self, path: str) -> tuple[int, int]:
        return next((each.start, each.end) for each in self._mappings if each.path == path)

    def _jitted(self, address: int) -> tuple[str, int] | None:
        if self._jit is None:
            try:
                self._jit = _Jit.read(self._directory)
            except SyscallError:
                return None
        return self._jit.at(address)


# perf's map of a JIT: lines of start, size and name, in the process's own /tmp, by the number that
# it has in its own namespace. Later lines win: code is replaced.
class _Jit:
    def __init__(self, text: bytes) -> None:
        self._found = {
            int(start, 16): (int(size, 16), name) for start, size, name in _JIT_LINE.findall(text)
        }
        self._starts = sorted(self._found)

    @classmethod
    def read(cls, directory: Path) -> _Jit:
        try:
            status = (directory / "status").read_text(encoding="utf-8", errors="replace")
            numbers = re.search(r"^NSpid:.*\s(\d+)$", status, re.MULTILINE)
            owner = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
            number = numbers[1] if numbers else directory.name
            path = directory / "root" / "tmp" / f"perf-{number}.map"
            with path.open("rb") as file:
                about = path.stat()
                # Anybody may put a file into /tmp; only the process itself knows its code.
                if about.st_uid not in {0, int(owner[1]) if owner else 0}:
                    return cls(b"")
                return cls(file.read(min(about.st_size, _MAX_JIT_MAP)))
        except FileNotFoundError:
            return cls(b"")
        except OSError as error:
            raise failure("open", error.errno, str(directory)) from None

    def at(self, address: int) -> tuple[str, int] | None:
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start = self._starts[index]
        size, name = self._found[start]
        if address >= start + size:
            return None
        return name.decode(errors="replace").strip(), address - start
