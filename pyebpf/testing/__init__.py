"""For unit tests of programs and of what uses them, without a kernel.

`FakeKernel` stands in for Linux: the whole library runs on it, without root, on programs that an
interpreter executes (`pyebpf.testing.interpreter`). `pyebpf.testing.plugin` has pytest fixtures.

    from pyebpf.testing import FakeKernel

    with FakeKernel() as kernel, pyebpf.load("prog.bpf.o") as bpf:
        bpf.attach()
        kernel.fire("tracepoint/sched/sched_process_exec", kernel.record(…))

What can be attached, and fired: tracepoints, probes of functions and files (many at once, too),
counters, XDP, tcx and the clsact qdisc, netkit, netfilter, socket lookup, flow dissectors, control
groups. Iterators are read. The kernel's control groups are directories of a file system of its own,
its interfaces are made up by name, and its network namespace is the process's:

    with FakeKernel(interfaces={"eth7": 77}) as kernel, pyebpf.load("firewall.bpf.o") as bpf:
        group = kernel.path("sys/fs/cgroup/app")
        os.mkdir(group)
        with pyebpf.link.attach_cgroup(bpf.programs["connect"], "/sys/fs/cgroup/app"):
            kernel.fire("cgroup/connect4", {"user_port": 0x5000}, cgroup="app")
        with pyebpf.link.attach_xdp(bpf.programs["drop"], "eth7"):
            kernel.fire("xdp/eth7", packet)

What is not modelled raises ``NotImplementedError`` that says so. These commands:
``BPF_TOKEN_CREATE``, ``BPF_PROG_STREAM_READ_BY_FD``, ``BPF_PROG_ASSOC_STRUCT_OPS``. Links of the
attach types ``BPF_STRUCT_OPS``, ``BPF_TRACE_FSESSION``, ``BPF_TRACE_FENTRY_MULTI``,
``BPF_TRACE_FEXIT_MULTI`` and ``BPF_TRACE_FSESSION_MULTI``. Elements of ``STRUCT_OPS`` maps and of
user ring buffers, stacks with build ids, programs and maps for a device's hardware. Programs that
are attached to programs (freplace), lirc devices, iterators over other things than tasks, maps,
their elements, programs and links, ``BPF_PROG_QUERY`` of ``lsm_cgroup``, ``BPF_TASK_FD_QUERY`` of
other processes, groups of perf events, ``BPF_PROG_TEST_RUN`` of a few types, and what netlink knows
besides the XDP programs and the clsact qdisc of an interface. Programs of sockets and of maps of
sockets are attached, but nothing fires them; nor does anything write to tracefs, where old kernels
had their probes.
"""

from __future__ import annotations

from pyebpf.testing.fake_kernel import FakeKernel
from pyebpf.testing.firing import Outcome

__all__ = ["FakeKernel", "Outcome"]
