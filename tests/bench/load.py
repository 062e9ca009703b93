"""How long loading takes, beside libbpf: ``python -m tests.bench.load [OBJECT...]``, as root.

Every figure is CPU time (or memory) of a fresh process, and the processes of all subjects take
turns, so that a busy machine slows all of them alike. Printed are the median of the rounds, the
range of the middle half, and the ratio to libbpf:

    cold     the first load of a process: pyebpf reads the kernel's types, and keeps them
    warm     the later ones; libbpf reads the types each time
    indexed  pyebpf with an index of the types on disk (``PYEBPF_INDEX_DIR``)
    process  all of a process that imports the library, loads the first object and attaches it,
             from the interpreter's start to its end; beside pylibbpf where that is installed

libbpf is the one that ``LIBBPF_CFLAGS`` and ``LIBBPF_LIBS`` name, else the system's.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

HERE = pathlib.Path(__file__).parent
DATA = HERE.parent / "data"
BUILD = HERE.parents[1] / "build" / "bench"
OBJECTS = ("trace_exec.el.o", "core.el.o", "count.el.o", "globals.el.o", "callbacks.el.o")

# Whole programs, each the shortest with that library.
PROCESSES = {
    "python": "pass",
    "pyebpf": "import sys, pyebpf; bpf = pyebpf.load(sys.argv[1]); bpf.attach(); bpf.close()",
    "pylibbpf": (
        "import sys, pylibbpf; bpf = pylibbpf.BpfObject(sys.argv[1]); bpf.load(); bpf.attach_all()"
    ),
}

Table = dict[tuple[str, str], list[float]]  # by what is measured and of whom


class Subject(NamedTuple):
    """A program that says what it measured of itself, as JSON."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = {}

    def run(self, *arguments: str) -> dict | None:
        """Return what it measured, ``None`` (and say why) if it failed."""
        done = self.process(*arguments)
        return json.loads(done) if done is not None else None

    def process(self, *arguments: str) -> str | None:
        done = subprocess.run(
            [*self.command, *arguments],
            env={**clean_environment(), **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if not done.returncode:
            return done.stdout
        reason = (done.stderr.strip() or "failed").splitlines()[-1]
        print(f"{self.name} {shlex.join(arguments)}: {reason}", file=sys.stderr)
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("objects", nargs="*", type=pathlib.Path, metavar="OBJECT")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--loads", type=int, default=6, help="of an object, in each process")
    parser.add_argument("--python", default=sys.executable, help="another interpreter to measure")
    options = parser.parse_args()
    index = BUILD / "index"
    index.mkdir(mode=0o700, parents=True, exist_ok=True)
    python = [options.python, str(HERE / "subject.py")]
    ours = Subject("pyebpf", python), Subject("indexed", python, {"PYEBPF_INDEX_DIR": str(index)})
    loads = [
        (subject, path)
        for path in options.objects or [DATA / name for name in OBJECTS]
        for subject in (*ours, *libbpf())
    ]
    index_dir = ours[1].environment
    first = str(loads[0][1])
    processes = [
        *(Subject(who, [options.python, "-c", text]) for who, text in PROCESSES.items()),
        Subject("indexed", [options.python, "-c", PROCESSES["pyebpf"]], index_dir),
    ]
    table: Table = {}
    for _ in range(options.rounds):
        measure_names(ours, table)
        processes = [each for each in processes if measure_process(each, first, table)]
        # What somebody cannot load is asked of him once.
        loads = [pair for pair in loads if measure_loads(*pair, options.loads, table)]
    report(table)


def measure_names(subjects: Sequence[Subject], table: Table) -> None:
    bare = subjects[0].run("nothing")
    imported = subjects[0].run("import")
    if bare and imported:
        note(table, "bare Python, MB", "pyebpf", bare["peak"] / 1e6)
        note(table, "import pyebpf, ms", "pyebpf", imported["import"] / 1e6)
    for subject in subjects:
        found = subject.run("names")
        if found:
            note(table, "20 kernel types, cold, ms", subject.name, found["cold"] / 1e6)
            note(table, "20 kernel types, warm, ms", subject.name, found["warm"] / 1e6)
            note(table, "20 kernel types, peak, MB", subject.name, found["peak"] / 1e6)


def measure_process(subject: Subject, path: str, table: Table) -> bool:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if subject.process(path) is None:
        return False
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    note(table, "process, ms", subject.name, spent * 1e3)
    return True


def measure_loads(subject: Subject, path: pathlib.Path, count: int, table: Table) -> bool:
    found = subject.run("load", str(count), str(path))
    if not found:
        return False
    first, *later = found["loads"]
    note(table, f"{path.name}, cold, ms", subject.name, first / 1e6)
    note(table, f"{path.name}, warm, ms", subject.name, statistics.median(later) / 1e6)
    note(table, f"{path.name}, peak, MB", subject.name, found["peak"] / 1e6)
    return True


def note(table: Table, what: str, who: str, number: float) -> None:
    table.setdefault((what, who), []).append(number)


# Compiled modules are what users have; kept apart, for a machine that is told to keep none.
def clean_environment() -> dict[str, str]:
    dropped = {"PYTHONDONTWRITEBYTECODE", "PYEBPF_INDEX_DIR"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join(filter(None, [str(HERE.parents[1]), *others]))
    own = {"PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(BUILD / "pycache")}
    return {**kept, **own}


def libbpf() -> list[Subject]:
    program = BUILD / "load"
    command = [
        os.environ.get("CC", "cc"),
        "-O2",
        *shlex.split(os.environ.get("LIBBPF_CFLAGS", "")),
        str(HERE / "load.c"),
        "-o",
        str(program),
        *shlex.split(os.environ.get("LIBBPF_LIBS", "-lbpf")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.returncode:
        return [Subject("libbpf", [str(program)])]
    print(f"without libbpf: {done.stderr.strip()}", file=sys.stderr)
    return []


def report(table: Table) -> None:
    for (what, who), numbers in table.items():
        ordered = sorted(numbers)
        low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
        median = statistics.median(ordered)
        line = f"{what:32s} {who:8s} {median:8.2f} [{low:.2f}..{high:.2f}]"
        peer = table.get((what, "libbpf"))
        if peer and who != "libbpf":
            line += f"  {median / statistics.median(peer):5.2f}x libbpf"
        print(line)


if __name__ == "__main__":
    main()
