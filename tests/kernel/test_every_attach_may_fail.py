"""Whatever call fails while a program is attached: it is attached, or nothing of it is left.

As `test_every_call_may_fail`, for each way of attaching. When *detaching* fails, what stays must be
written down, so that `link.clean_up` could remove it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
from collections.abc import Callable, Iterator

import pytest

import pyebpf
from pyebpf import AttachType, link
from pyebpf.host import probe_events
from pyebpf.link import journal
from pyebpf.link.left_behind import _REOPEN, _reopened
from pyebpf.uapi.perf import PerfSw
from tests.kernel.test_every_call_may_fail import FAILURES, descriptors, each_call_failing
from tests.support.leaks import young_garbage
from tests.support.programs import only

NET = ("xdp_one", "classify", "on_lookup", "dissect", "on_netfilter", "on_msg", "second_socket")
TRACE = ("on_sample", "on_task", "on_uprobe_multi", "on_kprobe")


@pytest.fixture(scope="module")
def net():
    """Programs of networking."""
    with pyebpf.load(only("hooks_net", *NET)) as bpf:
        yield bpf


@pytest.fixture(scope="module")
def trace():
    """Programs of tracing."""
    with pyebpf.load(only("hooks_trace", *TRACE)) as bpf:
        yield bpf


@pytest.fixture(scope="module")
def group():
    """A program of a cgroup."""
    with pyebpf.load(only("hooks_cgroup", "one")) as bpf:
        yield bpf


@pytest.fixture(autouse=True)
def nothing_written_down():
    """What an earlier failure left is not this test's."""
    for entry in mine():
        entry.remove()


def left(place: object, hook: AttachType) -> Callable[[], object]:
    return lambda: pyebpf.query(place, hook).programs  # type: ignore[arg-type]


def mine() -> list[journal.Entry]:
    return [each for each in journal.entries() if each.number("pid") == os.getpid()]


def detach_what_is_written_down() -> int:
    """Detach what a failed close left attached; return how much that was."""
    found = 0
    for entry in mine():
        again = _reopened(entry, _REOPEN[entry.text("kind")])
        if again is None:
            entry.remove()
        else:
            again.close()
            found += 1
    for event in probe_events.ours():
        probe_events.remove(event)
    return found


def check(failure: str, attach: Callable[[], link.Link], remaining: Callable[[], object]) -> None:
    """Attach and detach once for each call that this makes, with that call failing."""
    attach().close()
    assert not remaining()
    assert mine() == []
    before = descriptors()
    with young_garbage():
        for _ in each_call_failing(FAILURES[failure]):
            attached = None
            with contextlib.suppress(pyebpf.EbpfError, KeyboardInterrupt):
                attached = attach()
                attached.close()
            if attached is None:
                _without_failure(lambda: _assert_nothing(remaining))
            else:
                _without_failure(detach_what_is_written_down)
                _without_failure(lambda: _assert_nothing(remaining))
            del attached
            gc.collect()  # what was forgotten warns now, and a warning is an error
            assert descriptors() == before


def _assert_nothing(remaining: Callable[[], object]) -> None:
    assert not remaining()
    assert mine() == []


# The failing kernel fails once; a check that hits it says nothing about the library.
def _without_failure(action: Callable[[], object]) -> None:
    from pyebpf.sys import kernel

    with kernel.use(kernel.LinuxKernel()):
        action()


def interfaces(net: pyebpf.Collection) -> Iterator[tuple[str, Callable, Callable]]:
    xdp, classify = net.programs["xdp_one"], net.programs["classify"]
    tcx = left("lo", AttachType.TCX_INGRESS)
    yield "xdp link", lambda: link.attach_xdp(xdp, "lo"), left("lo", AttachType.XDP)
    yield (
        "xdp netlink",
        lambda: link.attach_xdp(xdp, "lo", use_link=False),
        left("lo", AttachType.XDP),
    )
    yield "tcx link", lambda: link.attach_tcx(classify, "lo", "ingress"), tcx
    yield "tcx", lambda: link.attach_tcx(classify, "lo", "ingress", use_link=False), tcx
    yield (
        "clsact",
        lambda: link.attach_clsact(classify, "lo", "ingress"),
        lambda: link.tc_filters("lo", "ingress"),
    )


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("way", ["xdp link", "xdp netlink", "tcx link", "tcx", "clsact"])
def test_interfaces(net, netns, way, failure):
    """XDP and tc."""
    ways = {name: (attach, remaining) for name, attach, remaining in interfaces(net)}
    check(failure, *ways[way])


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("use_link", [None, False])
def test_cgroups(group, cgroup, use_link, failure):
    """By link, and by BPF_PROG_ATTACH."""
    check(
        failure,
        lambda: link.attach_cgroup(group.programs["one"], cgroup, use_link=use_link),
        left(cgroup, AttachType.CGROUP_INET_EGRESS),
    )


@pytest.mark.parametrize("failure", FAILURES)
def test_namespaces_and_maps(net, netns, failure):
    """Lookups, dissectors both ways, netfilter, sockmaps both ways, reuseport groups."""
    programs = net.programs
    own = left(None, AttachType.FLOW_DISSECTOR)
    check(
        failure,
        lambda: link.attach_netns(programs["on_lookup"]),
        left(None, AttachType.SK_LOOKUP),
    )
    check(failure, lambda: link.attach_netns(programs["dissect"]), own)
    check(failure, lambda: link.attach_netns(programs["dissect"], use_link=False), own)
    hook = link.NetfilterHook.LOCAL_IN
    check(failure, lambda: link.attach_netfilter(programs["on_netfilter"], hook), lambda: ())
    sockets = net.maps["sockets"]
    held = left(sockets, AttachType.SK_MSG_VERDICT)
    check(failure, lambda: link.attach_sockmap(programs["on_msg"], sockets), held)
    check(failure, lambda: link.attach_sockmap(programs["on_msg"], sockets, use_link=False), held)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        check(failure, lambda: link.attach_reuseport(programs["second_socket"], sock), lambda: ())


@pytest.mark.parametrize("failure", FAILURES)
def test_tracing(trace, tracefs, failure):
    """Events of one and of all CPUs, iterators, probes by link and in tracefs."""
    programs = trace.programs
    sample = programs["on_sample"]
    check(
        failure,
        lambda: link.attach_perf_event(sample, PerfSw.CPU_CLOCK, frequency=1, pid=0),
        lambda: (),
    )
    check(
        failure,
        lambda: link.attach_perf_event(sample, PerfSw.CPU_CLOCK, frequency=1),
        lambda: (),
    )
    check(failure, lambda: link.attach_iter(programs["on_task"]), lambda: ())
    many = programs["on_uprobe_multi"]
    check(
        failure,
        lambda: link.attach_uprobe_multi(many, "libc.so.6", functions=["getuid"]),
        lambda: (),
    )
    check(
        failure,
        lambda: link.attach_uprobe(programs["on_kprobe"], "libc.so.6", "getuid", use_tracefs=True),
        probe_events.ours,
    )
