"""Watch every execve(2) of this machine: typed events from a perf event array.

Shows:  load an object, attach its program by section name, read events typed by the object's BTF,
        and see how many were lost.
Needs:  root, Linux 5.5 with BTF (CONFIG_DEBUG_INFO_BTF).
Run:    sudo python examples/trace_exec.py            until Ctrl-C
        sudo python examples/trace_exec.py --demo     starts some processes and looks for them

Expected output (with --demo; other processes of the machine may be among them):

        PID    PPID   UID  COMM             FILENAME
       4711    4700     0  true             /usr/bin/true
       4712    4700     0  uname            /usr/bin/uname
    ...
    received 6, lost 0
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import time
from typing import Any

import pyebpf

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"trace_exec.{ENDIAN}.o"

DEMO = [["true"], ["uname"], ["id", "-u"], ["date"], ["ls", "/"], ["sh", "-c", "exit 0"]]


def show(event: Any) -> None:
    who = f"{event.pid:7} {event.ppid:7} {event.uid:5}"
    print(f"{who}  {event.comm:16} {event.filename}", flush=True)


def demo(reader: pyebpf.PerfReader[Any] | pyebpf.RingReader[Any]) -> bool:
    """Start processes, print what happens meanwhile; say whether all that started were seen."""
    started: set[int] = set()
    for command in DEMO:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
            started.add(child.pid)
        end = time.monotonic() + 0.5
        while (left := end - time.monotonic()) > 0:
            for event in reader.poll(left):
                show(event)
                started.discard(event.pid)
    return not started


def main() -> bool:
    complete = True
    with pyebpf.load(OBJECT) as bpf, bpf.reader("events", record="exec_event") as reader:
        bpf.attach()
        print(f"{'PID':>7} {'PPID':>7} {'UID':>5}  {'COMM':16} FILENAME", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            if "--demo" in sys.argv:
                complete = demo(reader)
            else:
                for event in reader:
                    show(event)
        stats = reader.stats()
        print(f"received {stats.received}, lost {stats.lost}")
        return complete


if __name__ == "__main__":
    try:
        sys.exit(0 if main() else "not every process that was started has been seen")
    except pyebpf.PrivilegeError as error:
        sys.exit(f"trace_exec: {error}")
