"""How long loading takes, beside libbpf: ``python -m tests.bench.load [OBJECT...]``, as root.

Every figure is CPU time of a fresh process, and the processes of all subjects take turns, so that a
busy machine slows all of them alike. Printed are the median of the rounds, the range of the middle
half, and the ratio to libbpf:

    cold    the first load of a process: pyebpf reads the kernel's types, and keeps them
    warm    the later ones; libbpf reads the types each time

libbpf is the one that ``LIBBPF_CFLAGS`` and ``LIBBPF_LIBS`` name, else the system's.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence

HERE = pathlib.Path(__file__).parent
DATA = HERE.parent / "data"
BUILD = HERE.parents[1] / "build" / "bench"
OBJECTS = ("trace_exec.el.o", "core.el.o", "count.el.o", "globals.el.o", "callbacks.el.o")


class Figures:
    """Measurements of one thing, one number a round."""

    def __init__(self) -> None:
        self.numbers: list[float] = []

    @property
    def median(self) -> float:
        return statistics.median(self.numbers)

    def __str__(self) -> str:
        ordered = sorted(self.numbers)
        low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
        return f"{self.median:9.2f} [{low:.2f}..{high:.2f}]"


Table = dict[str, Figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("objects", nargs="*", type=pathlib.Path, metavar="OBJECT")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--loads", type=int, default=6, help="of an object, in each process")
    parser.add_argument("--python", default=sys.executable, help="another interpreter to measure")
    options = parser.parse_args()
    objects = options.objects or [DATA / name for name in OBJECTS]
    libbpf = build()
    table: Table = {}
    subjects = {"pyebpf": python(options.python, "load")} | ({"libbpf": libbpf} if libbpf else {})
    pairs = [(who, path) for path in objects for who in subjects]
    for _ in range(options.rounds):
        measure_names(options.python, table)
        # What one of them cannot load is asked of it once.
        pairs = [
            (who, path)
            for who, path in pairs
            if measure_loads(who, subjects[who], options.loads, path, table)
        ]
    report(table)


def python(interpreter: str, *arguments: str) -> list[str]:
    return [interpreter, str(HERE / "subject.py"), *arguments]


def measure_names(interpreter: str, table: Table) -> None:
    bare = run(python(interpreter, "nothing"))["peak"]
    note(table, "import pyebpf, ms", run(python(interpreter, "import"))["import"] / 1e6)
    found = run(python(interpreter, "names"))
    note(table, "20 kernel types, cold, ms", found["cold"] / 1e6)
    note(table, "20 kernel types, warm, ms", found["warm"] / 1e6)
    index = BUILD / "index"
    index.mkdir(mode=0o700, exist_ok=True)
    kept = run(python(interpreter, "names", str(index)))
    note(table, "20 kernel types, index on disk, ms", kept["cold"] / 1e6)
    note(table, "20 kernel types, MB over bare Python", (found["peak"] - bare) / 1e6)
    note(table, "bare Python, MB", bare / 1e6)


def measure_loads(
    who: str, command: Sequence[str], count: int, path: pathlib.Path, table: Table
) -> bool:
    found = run([*command, str(count), str(path)])
    if not found:
        return False
    first, *later = found["loads"]
    note(table, f"{path.name}, cold, ms: {who}", first / 1e6)
    note(table, f"{path.name}, warm, ms: {who}", statistics.median(later) / 1e6)
    note(table, f"{path.name}, peak, MB: {who}", found["peak"] / 1e6)
    return True


def note(table: Table, what: str, number: float) -> None:
    table.setdefault(what, Figures()).numbers.append(number)


def run(command: Sequence[str]) -> dict:
    # Compiled modules are what users have; kept apart, for a machine that is told to keep none.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {
        "PYTHONPATH": str(HERE.parents[1]),
        "PYTHONPYCACHEPREFIX": str(BUILD / "pycache"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(
            f"{shlex.join(command)}: {(done.stderr or 'failed').strip().splitlines()[-1]}",
            file=sys.stderr,
        )
        return {}
    return json.loads(done.stdout)


def build() -> list[str]:
    BUILD.mkdir(parents=True, exist_ok=True)
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
    if done.returncode:
        print(f"without libbpf: {done.stderr.strip()}", file=sys.stderr)
        return []
    return [str(program)]


def report(table: Table) -> None:
    for what, figures in table.items():
        name, _, who = what.rpartition(": ")
        peer = table.get(f"{name}: libbpf")
        ratio = f"  {figures.median / peer.median:5.2f}x libbpf" if peer and who == "pyebpf" else ""
        print(f"{what:48s} {figures}{ratio}")


if __name__ == "__main__":
    main()
