"""Watch every execve(2) of this machine: typed events from a perf event array.

Shows:  load an object, attach its program by section name, read events typed by the object's BTF,
        and see how many were lost. Where bpf(2) is refused, the demo runs on a made-up kernel.
Needs:  root, Linux 5.5 with BTF (CONFIG_DEBUG_INFO_BTF).
Run:    sudo python examples/trace_exec.py [--demo]   until Ctrl-C; the demo starts processes itself

Expected output (with --demo; other processes of the machine may be among them):

        PID    PPID   UID  COMM             FILENAME
       4711    4700     0  true             /usr/bin/true
    ...
    received 6, lost 0
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import pyebpf
from pyebpf.testing import FakeKernel

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"trace_exec.{ENDIAN}.o"

DEMO = [["true"], ["uname"], ["id", "-u"], ["date"], ["ls", "/"], ["sh", "-c", "exit 0"]]


def show(e: Any) -> None:
    print(f"{e.pid:7} {e.ppid:7} {e.uid:5}  {e.comm:16} {e.filename}", flush=True)


def demo(reader: Any, fake: FakeKernel | None) -> bool:
    """Start processes, print what happens meanwhile; say whether all that started were seen."""
    started: set[int] = set()
    for command in DEMO:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
            started.add(child.pid)
        if fake:  # nobody else tells it
            record = fake.record("sched/sched_process_exec", filename=f"/usr/bin/{command[0]}")
            fake.fire("tp/sched/sched_process_exec", record, pid=child.pid, comm=command[0])
        end = time.monotonic() + (0.02 if fake else 0.5)
        while (left := end - time.monotonic()) > 0:
            for event in reader.poll(left):
                show(event)
                started.discard(event.pid)
    return not started


def main(fake: FakeKernel | None = None) -> str | None:
    complete = True
    with pyebpf.load(OBJECT) as bpf, bpf.reader("events", record="exec_event") as reader:
        bpf.attach()
        print(f"{'PID':>7} {'PPID':>7} {'UID':>5}  {'COMM':16} FILENAME", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            if "--demo" in sys.argv:
                complete = demo(reader, fake)
            else:
                for event in reader:
                    show(event)
        print(f"received {reader.stats().received}, lost {reader.stats().lost}")
    return None if complete else "not every process that was started has been seen"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (pyebpf.PrivilegeError, pyebpf.NotSupportedError) as error:
        if "--demo" not in sys.argv or os.environ.get("PYEBPF_REQUIRE_KERNEL") == "1":
            sys.exit(f"trace_exec: {error}")
        print(f"trace_exec: {error}; running on a made-up kernel instead", file=sys.stderr)
    with FakeKernel() as kernel:
        print("FAKE: no event below comes from a kernel")
        sys.exit(main(kernel))
