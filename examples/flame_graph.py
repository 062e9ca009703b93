"""Where a process spends its time asleep, as folded stacks: what flame graphs are drawn from.

Shows:  stack trace maps, kernel and user stacks with names (KernelSymbols, ProcessSymbols), and a
        constant of the program set before the load.
Needs:  root, Linux 4.17 with BTF (CONFIG_DEBUG_INFO_BTF).
Run:    sudo python examples/flame_graph.py PID [SECONDS] > folded
        flamegraph.pl --countname us folded > waits.svg     or drop the file on speedscope.app

Expected output, a line for each stack, outermost frame first, and microseconds (functions compiled
without frame pointers hide their callers; what is behind the "-" is the kernel's):

    sh;_start;main;waitpid;-;do_syscall_64;kernel_wait4;do_wait;schedule;__schedule 989042
    sh;_start;main;fork;-;do_syscall_64;kernel_clone;wp_page_copy;schedule;__schedule 312
"""

from __future__ import annotations

import collections
import pathlib
import sys
import time
from typing import Any

import pyebpf

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"off_cpu.{ENDIAN}.o"


def name(frame: pyebpf.Frame) -> str:
    """Return a frame's name as the format takes it: without semicolons."""
    return (frame.name or pathlib.PurePath(frame.module).name or "[unknown]").replace(";", ":")


def fold(bpf: pyebpf.Collection, pid: int) -> collections.Counter[str]:
    kernel, process = pyebpf.KernelSymbols(), pyebpf.ProcessSymbols(pid)
    comm = pathlib.Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
    stacks = bpf.maps["stacks"]
    folded: collections.Counter[str] = collections.Counter()
    for where, nanoseconds in bpf.maps["asleep"].items():
        user: Any = stacks.get(where.user, ()) if where.user >= 0 else ()
        inside: Any = stacks.get(where.kernel, ()) if where.kernel >= 0 else ()
        parts = [
            comm,
            *(name(frame) for frame in reversed(process.frames(user))),
            "-",
            *(name(frame) for frame in reversed(kernel.frames(inside))),
        ]
        folded[";".join(parts)] += nanoseconds // 1000
    return folded


def main(pid: int, seconds: float) -> None:
    spec = pyebpf.load_spec(OBJECT)
    spec.variables["target_pid"].value = pid
    with pyebpf.load(spec) as bpf:
        bpf.attach()
        time.sleep(seconds)
        # While the process lives: its mappings say where its functions are.
        for stack, microseconds in fold(bpf, pid).most_common():
            print(stack, microseconds)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 10.0)
