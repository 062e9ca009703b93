"""``python -m tests.bench [--work PREFIX]``, as root: how fast the library is, beside its peers.

Peers that are not installed are skipped by name; ``make bench-install`` gets them. The table goes
to standard output and, as JSON, to ``build/bench.json``: a list of ``{"work", "peer", "median",
"min", "max", "unit", "rounds"}``, times in the unit.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import sys

from tests.bench import loads, maps, readers
from tests.bench.harness import BUILD, Suite, measure, report, write

SUITES: tuple[Suite, ...] = (maps, readers, loads)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description=__doc__.split("\n")[0])
    parser.add_argument("--work", default="", metavar="PREFIX", help='such as "map.lookup"')
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="to run on")
    parser.add_argument("--python", default=peers_python(), help="interpreter of Python peers")
    parser.add_argument("--output", type=pathlib.Path, default=BUILD.parent / "bench.json")
    options = parser.parse_args()
    others = os.sched_getaffinity(0) - {options.cpu}
    os.environ["BENCH_PRODUCER_CPU"] = str(min(others, default=options.cpu))
    os.sched_setaffinity(0, {options.cpu})
    # No real-time priority: threads that spin while they wait for each other would wait for ever.
    with contextlib.suppress(PermissionError):  # then others on the machine disturb
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    results = []
    for suite in SUITES:
        if any(work.startswith(options.work) for work in suite.UNITS):
            results += measure(
                suite, python=options.python, rounds=options.rounds, works=options.work
            )
    report(results)
    write(results, options.output)


def peers_python() -> str:
    """Return the interpreter that ``make bench-install`` gave the peers, or this one."""
    installed = BUILD / "venv" / "bin" / "python"
    return str(installed) if installed.exists() else sys.executable


if __name__ == "__main__":
    main()
