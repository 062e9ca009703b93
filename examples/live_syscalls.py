"""A table of the processes that make most system calls, live in the terminal.

Shows:  a map read again and again while a program fills it, its values typed by the object's BTF;
        rates are differences between two looks.
Needs:  root, Linux 4.17.
Run:    sudo python examples/live_syscalls.py [--once] [ROWS]     every second, until Ctrl-C

Expected output, the busiest first (with --once, a single table):

        PID  COMM              CALLS/S
       4711  dd                 804213
       1203  sshd                   12
    804225 system calls a second of 2 processes
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
import time
from collections.abc import Iterable

import pyebpf

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"process_syscalls.{ENDIAN}.o"
SECOND = 1.0
HOME_AND_CLEAR = "\x1b[H\x1b[J"

Row = tuple[float, int, str]


def table(rows: Iterable[Row], limit: int) -> str:
    busy = sorted((row for row in rows if row[0] > 0), reverse=True)
    lines = [f"{'PID':>7}  {'COMM':16} {'CALLS/S':>8}"]
    lines += [f"{pid:7}  {comm:16} {rate:8.0f}" for rate, pid, comm in busy[:limit]]
    total = sum(rate for rate, _, _ in busy)
    return "\n".join([*lines, f"{total:.0f} system calls a second of {len(busy)} processes"])


def main(arguments: list[str]) -> None:
    once = "--once" in arguments
    limit = int(next((each for each in arguments if each.isdigit()), 20))
    with pyebpf.load(OBJECT) as bpf, contextlib.suppress(KeyboardInterrupt):
        bpf.attach()
        before: dict[int, int] = {}
        looked = time.monotonic()
        while True:
            time.sleep(SECOND)
            processes = bpf.maps["processes"].to_dict()
            passed, looked = time.monotonic() - looked, time.monotonic()
            rows = [
                # Smaller than before: the process was forgotten, and counted anew.
                (max(process.count - before.get(pid, 0), 0) / passed, pid, str(process.comm))
                for pid, process in processes.items()
            ]
            text = table(rows, limit)
            if once:
                print(text)
                return
            print(HOME_AND_CLEAR if sys.stdout.isatty() else "", text, sep="", flush=True)
            before = {pid: process.count for pid, process in processes.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
