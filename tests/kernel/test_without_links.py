"""Every fall-back, on a kernel that stands in: the real one, but without ``BPF_LINK_CREATE``.

Older kernels have no such command, or know it and refuse one kind with EINVAL.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

import pyebpf
from pyebpf import AttachType, link
from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.sys import kernel, netlink
from pyebpf.uapi.bpf import Cmd
from pyebpf.uapi.perf import PerfSw
from pyebpf.uapi.rtnetlink import NetlinkType
from tests.support.netns import packets
from tests.support.programs import only


class WithoutLinks(kernel.LinuxKernel):
    """The real kernel before Linux 5.7, or one that lacks a kind of link."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def bpf(self, cmd, attr, *, common=None):
        if cmd is Cmd.LINK_CREATE:
            raise self._error
        return super().bpf(cmd, attr, common=common)


@pytest.fixture(params=["no command", "no such kind"])
def older(request):
    """The kernel, in use."""
    error: Exception = SyscallError("BPF_LINK_CREATE", errno.EINVAL)
    if request.param == "no command":
        error = NotSupportedError("BPF_LINK_CREATE", "5.7")
    with kernel.use(WithoutLinks(error)):
        yield request.param


def test_xdp_goes_through_netlink(older, veth):
    """And drops packets all the same."""
    with pyebpf.load(only("hooks_net", "xdp_one")) as bpf:
        with link.attach_xdp(bpf.programs["xdp_one"], veth.name) as attached:
            assert packets(veth, 2) == 2
            assert attached.info().id == 0
            bpf.variables["xdp_verdict"].value = pyebpf.XdpAction.DROP
            assert packets(veth, 2) == 0
        assert packets(veth, 2) == 2
        if older == "no command":
            with pytest.raises(NotSupportedError):
                link.attach_xdp(bpf.programs["xdp_one"], veth.name, use_link=True)


def test_tc_goes_to_clsact_where_there_is_no_tcx(veth):
    """Where BPF_LINK_CREATE is not there at all."""
    with (
        kernel.use(WithoutLinks(NotSupportedError("BPF_LINK_CREATE", "5.7"))),
        pyebpf.load(only("hooks_net", "classify")) as bpf,
        link.attach_tc(bpf.programs["classify"], veth.name, "ingress") as attached,
    ):
        assert isinstance(attached, link.TcFilter)
        bpf.variables["tc_verdict"].value = 2
        assert packets(veth, 2) == 0


class WithoutQueues(kernel.LinuxKernel):
    """The real kernel without a kind of qdisc or filter: ENOENT, as without its module."""

    def __init__(self, kind: bytes) -> None:
        super().__init__()
        self._kind = kind

    def rtnetlink(self, fd, data, sequence):
        if self._kind + b"\0" not in data:
            return super().rtnetlink(fd, data, sequence)
        body = struct.pack("=i", -errno.ENOENT) + data[:16]
        return [netlink.message(NetlinkType.ERROR, 0, sequence, body)]


@pytest.mark.parametrize(("kind", "name"), [(b"clsact", "clsact"), (b"bpf", "eBPF classifiers")])
def test_a_kernel_without_clsact_says_so(netns, kind, name):
    """By its configuration (NET_SCH_INGRESS, NET_CLS_BPF); and nothing stays."""
    with pyebpf.load(only("hooks_net", "classify")) as bpf, kernel.use(WithoutQueues(kind)):
        with pytest.raises(NotSupportedError, match=name):
            link.attach_clsact(bpf.programs["classify"], "lo", "ingress")
        assert link.tc_filters("lo", "ingress") == []


def test_cgroups_go_through_prog_attach(cgroup, netns):
    """Where the command is missing; a kind of cgroup hook without links never was."""
    with (
        kernel.use(WithoutLinks(NotSupportedError("BPF_LINK_CREATE", "5.7"))),
        pyebpf.load(only("hooks_cgroup", "one")) as bpf,
        link.attach_cgroup(bpf.programs["one"], cgroup) as attached,
    ):
        assert attached.info().id == 0
        found = pyebpf.query(cgroup, AttachType.CGROUP_INET_EGRESS)
        assert [each.program_id for each in found.programs] == [bpf.programs["one"].id]
        with pytest.raises(NotSupportedError, match="pinning"):
            attached.pin("/sys/fs/bpf/nothing")


def test_dissectors_and_sockmaps_go_through_prog_attach(older, netns):
    """For either reason."""
    with pyebpf.load(only("hooks_net", "dissect", "on_msg", "on_lookup")) as bpf:
        with link.attach_netns(bpf.programs["dissect"]) as attached:
            assert attached.info().id == 0
            assert len(pyebpf.query(None, AttachType.FLOW_DISSECTOR).programs) == 1
        with link.attach_sockmap(bpf.programs["on_msg"], bpf.maps["sockets"]) as attached:
            assert attached.info().map_id == bpf.maps["sockets"].info().id
        with pytest.raises((NotSupportedError, SyscallError)):
            link.attach_netns(bpf.programs["on_lookup"])


def test_events_hold_their_programs(older, tracefs):
    """Tracepoints, uprobes and counters; BPF_TASK_FD_QUERY tells about them."""
    spec = only("probes", "on_tracepoint", "on_uprobe")
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as bpf, pyebpf.load(only("hooks_trace", "on_sample")) as counters:
        point = bpf.programs["on_tracepoint"]
        with pyebpf.attach(point) as attached:
            os.getppid()
            assert attached.info() == link.TracepointDetails(
                id=0, type=pyebpf.LinkType.PERF_EVENT, program_id=point.id,
                name="sys_enter_getppid", cookie=0,
            )  # fmt: skip
        os.getppid()
        assert bpf.variables["tracepoint_hits"].value == 1
        probe = bpf.programs["on_uprobe"]
        with link.attach_uprobe(probe, "libc.so.6", "getuid", retprobe=True) as attached:
            details = attached.info()
            assert isinstance(details, link.UprobeDetails)
            assert (details.program_id, details.retprobe) == (probe.id, True)
            assert details.path.endswith("libc.so.6")
        with pytest.raises(NotSupportedError, match="cookies"):
            link.attach_uprobe(probe, "libc.so.6", "getuid", cookie=7)
        with link.attach_perf_event(
            counters.programs["on_sample"], PerfSw.CPU_CLOCK, frequency=10, pid=0
        ) as attached:
            assert not attached.closed


def test_what_has_no_other_way_says_so(netns):
    """With the release that has it."""
    with (
        kernel.use(WithoutLinks(NotSupportedError("BPF_LINK_CREATE", "5.7"))),
        pyebpf.load(only("hooks_net", "on_netfilter", "classify")) as net,
        pyebpf.load(only("hooks_trace", "on_task", "on_uprobe_multi")) as trace,
        socket.socket(),
    ):
        with pytest.raises(NotSupportedError):
            link.attach_netfilter(net.programs["on_netfilter"], link.NetfilterHook.LOCAL_IN)
        with pytest.raises(NotSupportedError):
            link.attach_tcx(net.programs["classify"], "lo", "ingress")
        with pytest.raises(NotSupportedError):
            link.attach_iter(trace.programs["on_task"])
        with pytest.raises(NotSupportedError):
            link.attach_uprobe_multi(
                trace.programs["on_uprobe_multi"], "libc.so.6", functions=["getuid"]
            )
