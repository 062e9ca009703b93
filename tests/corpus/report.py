"""What one side makes of one object: the lines of `oracle.c` and `ours.py` read into a `Report`.

A child that dies or is killed has said everything up to then; its last words are in `trouble`.
"""

from __future__ import annotations

import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pyebpf.uapi.bpf import ProgType

__all__ = ["Attempt", "Report", "read_report", "run", "run_forked", "types_of"]


@dataclass(slots=True)
class Attempt:
    """What became of one program.

    Attributes:
        error: Why it was not made or not loaded, or ``""``.
        errno: With it; -1 if the kernel was not asked.
        made: Its code got so far that it could be offered to the kernel.
        loaded: The kernel took it.
        seconds: From the file (libbpf) or spec (ours) to the last verdict.
        code: Instructions as offered.
        maps: Names of maps by descriptor.
    """

    error: str = ""
    errno: int = 0
    made: bool = False
    loaded: bool = False
    seconds: float = 0.0
    code: bytes = field(default=b"", repr=False)
    maps: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """What became of one object.

    Attributes:
        opened: It gave a spec.
        error: Why not, or ``""``.
        maps: Type, key size, value size, capacity and flags by name.
        programs: Section, type, attach type, flags, autoload by name.
        attempts: By program, as far as they were made.
        trouble: A timeout, a traceback or a signal, or ``""``.
        seconds: Of the whole process.
    """

    opened: bool = False
    error: str = ""
    maps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    programs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    trouble: str = ""
    seconds: float = 0.0


def run(
    command: Sequence[str], *, cwd: pathlib.Path, limit: float, memory: int, types: str = ""
) -> Report:
    """Run one side in a process of its own and read what it prints.

    Args:
        command: The program and its arguments.
        cwd: Where to run it.
        limit: Seconds after which it is killed.
        memory: Bytes of address space it may have.
        types: What it reads, from `types_of`.
    """
    start = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        errors="backslashreplace",
        text=True,
    ) as child:
        resource.prlimit(child.pid, resource.RLIMIT_AS, (memory, memory))
        trouble = ""
        try:
            output, complaint = child.communicate(types, timeout=limit)
        except subprocess.TimeoutExpired:
            child.kill()
            output, complaint = child.communicate()
            trouble = _no_end(limit)
    if not trouble and child.returncode:
        trouble = _bad_end(child.returncode, complaint)
    report = read_report(output)
    report.trouble = trouble
    report.seconds = time.monotonic() - start
    return report


def run_forked(work: Callable[[], None], *, limit: float, memory: int) -> Report:
    """Run one side in a process forked from this one, which must have no other threads.

    As `run`, for what takes longer to import than to run.

    Args:
        work: Prints the lines.
        limit: Seconds after which it is killed.
        memory: Bytes of address space it may have.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaint:
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), sys.stdout.fileno())
            os.dup2(complaint.fileno(), sys.stderr.fileno())
            os._exit(_limited(work, limit, memory))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said, complained = (_all_of(each.fileno()) for each in (output, complaint))
    report = read_report(said)
    if code:
        late = code == -signal.SIGALRM
        report.trouble = _no_end(limit) if late else _bad_end(code, complained)
    report.seconds = time.monotonic() - start
    return report


def _limited(work: Callable[[], None], limit: float, memory: int) -> int:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        signal.setitimer(signal.ITIMER_REAL, limit)
        work()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0


def _all_of(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="backslashreplace")


def _no_end(limit: float) -> str:
    return f"no end after {limit:g} s"


def _bad_end(code: int, complaint: str) -> str:
    return f"ended with {code}: {complaint[-1500:]}"


def types_of(ours: Report) -> str:
    """Say for the other side what we took each program for, in lines: name, type, attach type."""
    return "".join(
        f"{name} {int(kind) or ProgType.SCHED_CLS:d} {attach_type}\n"
        for name, (_, kind, attach_type, *_) in ours.programs.items()
    )


def read_report(output: str) -> Report:
    """Read the lines one side printed; an unfinished last line is left out."""
    report = Report()
    for line in output.split("\n")[:-1]:
        what, *fields = line.split("\t")
        if what == "open":
            report.opened, report.error = fields[0] == "0", fields[1]
        elif what == "map":
            report.maps[fields[0]] = tuple(int(number) for number in fields[1:])
        elif what == "program":
            report.programs[fields[0]] = tuple(fields[1:])
        else:
            _read_attempt(report.attempts.setdefault(fields[0], Attempt()), what, fields[1:])
    return report


def _read_attempt(attempt: Attempt, what: str, fields: list[str]) -> None:
    if what == "fd":
        attempt.maps[int(fields[1])] = fields[0]
    elif what == "code":
        attempt.code = bytes.fromhex(fields[0])
    else:
        attempt.errno, attempt.seconds = int(fields[0]), float(fields[1])
        attempt.error = fields[2] if attempt.errno else ""
        setattr(attempt, what, attempt.errno == 0)
