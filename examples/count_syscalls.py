"""Count the system calls of a command, as `strace -c` does, without stopping it.

Shows:  a spec edited before the load (a constant of the program), and a per-CPU hash map read as a
        mapping: each value is a list with one count for each CPU.
Needs:  root, Linux 4.17.
Run:    sudo python examples/count_syscalls.py [COMMAND...]

Expected output (numbers of x86-64; 257 is openat(2)):

    SYSCALL   COUNT
          9      21
        257       9
    ...
    143 system calls of 27 kinds
"""

from __future__ import annotations

import os
import pathlib
import sys

import pyebpf

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"count_syscalls.{ENDIAN}.o"


def start_waiting(command: list[str]) -> tuple[int, int]:
    """Fork a process that runs *command* once the returned descriptor is closed."""
    gate, key = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(key)
        os.read(gate, 1)
        os.execvp(command[0], command)
    os.close(gate)
    return pid, key


def main(command: list[str]) -> None:
    pid, key = start_waiting(command)
    spec = pyebpf.load_spec(OBJECT)
    spec.variables["target_pid"].value = pid
    with pyebpf.load(spec) as bpf:
        bpf.attach()
        os.close(key)
        os.waitpid(pid, 0)
        totals = {number: sum(counts) for number, counts in bpf.maps["counts"].items()}
    print("SYSCALL   COUNT")
    for number, count in sorted(totals.items(), key=lambda item: -item[1]):
        print(f"{number:7} {count:7}")
    print(f"{sum(totals.values())} system calls of {len(totals)} kinds")


if __name__ == "__main__":
    main(sys.argv[1:] or ["true"])
