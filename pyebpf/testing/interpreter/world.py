"""What programs can learn about the machine they run on, and what they say to it.

Everything may be set by a test before a run, so that runs can be repeated.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Task", "World"]


@dataclass(slots=True)
class Task:
    """The task on whose behalf a program runs; by default this process.

    Attributes:
        pid: Of the thread, which the kernel calls pid.
        tgid: Of the process.
        uid: Of its user.
        gid: Of its group.
        comm: Its name, at most 15 bytes.
        cgroup_id: Of its control group.
        address: Where programs find its ``task_struct``, if a test put one somewhere.
    """

    pid: int = field(default_factory=os.getpid)
    tgid: int = field(default_factory=os.getpid)
    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    comm: bytes = b"python"
    cgroup_id: int = 1
    address: int = 0


@dataclass(slots=True)
class World:
    """Clock, CPU, task and limits.

    Attributes:
        clock: Nanoseconds since boot, for ``ktime_get_ns`` and its relatives.
        random: Where ``get_prandom_u32`` draws from.
        cpu: The number of the CPU that runs programs.
        cpu_count: How many CPUs there are.
        numa_node: The number of that CPU's node.
        task: On whose behalf.
        instruction_limit: Where a run is ended; callbacks and tail calls count with it.
        may_goto_limit: How many turns ``may_goto`` allows in one function, at most. The kernel
            gave 8 Mi until Linux 6.14 and gives a quarter of a second since.
        printed: What ``trace_printk`` printed, without newlines; oldest first, the last 10 000.
        stacks: What ``get_stackid`` and ``get_stack`` report, by ``"kernel"`` and ``"user"``:
            addresses, innermost first.
    """

    clock: Callable[[], int] = time.monotonic_ns
    random: random.Random = field(default_factory=random.Random)
    cpu: int = 0
    cpu_count: int = 1
    numa_node: int = 0
    task: Task = field(default_factory=Task)
    instruction_limit: int = 1 << 25
    may_goto_limit: int = 8 << 20
    printed: deque[str] = field(default_factory=lambda: deque(maxlen=10_000))
    stacks: dict[str, list[int]] = field(default_factory=dict)
