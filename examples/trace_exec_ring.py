"""Watch every execve(2) of this machine: typed events from a ring buffer.

Shows:  RingReader where trace_exec has a PerfReader, attaching one program, and a global variable
        read while the program runs: a full ring buffer does not count what it refuses, so it does.
Needs:  root, Linux 5.8 with BTF (CONFIG_DEBUG_INFO_BTF).
Run:    sudo python examples/trace_exec_ring.py [COUNT]     until COUNT events, or Ctrl-C

Expected output, one line for each process that starts:

       4711    4700  true             /usr/bin/true
       4712    4700  uname            /usr/bin/uname
    received 2, refused by a full buffer 0
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import sys

import pyebpf

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"trace_exec_ring.{ENDIAN}.o"


def main(count: int | None) -> None:
    with (
        pyebpf.load(OBJECT) as bpf,
        pyebpf.RingReader(bpf.maps["events"], record="exec_event") as reader,
        pyebpf.attach(bpf.programs["on_exec"]),
    ):
        print("ready", file=sys.stderr, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            for event in itertools.islice(reader, count):
                print(f"{event.pid:7} {event.ppid:7}  {event.comm:16} {event.filename}", flush=True)
        refused = bpf.variables["dropped"].value
        print(f"received {reader.stats().received}, refused by a full buffer {refused}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
