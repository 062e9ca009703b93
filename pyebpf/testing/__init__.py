"""For unit tests of programs and of what uses them, without a kernel.

`FakeKernel` stands in for Linux: the whole library runs on it, without root, on programs that an
interpreter executes (`pyebpf.testing.interpreter`). `pyebpf.testing.plugin` has pytest fixtures.

    from pyebpf.testing import FakeKernel

    with FakeKernel() as kernel, pyebpf.load("prog.bpf.o") as bpf:
        bpf.attach()
        kernel.fire("tracepoint/sched/sched_process_exec", kernel.record(…))
"""

from __future__ import annotations

from pyebpf.testing.fake_kernel import FakeKernel
from pyebpf.testing.firing import Outcome

__all__ = ["FakeKernel", "Outcome"]
