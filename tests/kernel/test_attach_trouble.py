"""Attaching that cannot work: without privileges, to what is stripped or misspelt."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess

import pytest

import pyebpf
from pyebpf import link
from pyebpf.uapi.perf import PerfSw
from tests.support import kernel
from tests.support.children import outcome_as_nobody
from tests.support.programs import only

# What a program of one's own is; before, that is what is refused.
ANYBODY_MAY_ASK = kernel.version() >= (5, 19)
NET_ADMIN = r"needs .*CAP_NET_ADMIN"
PERFMON = r"needs .*CAP_PERFMON"
TRACEFS = r"/sys/kernel/\S*tracing is for root only"
# Object and program, how it is attached, and what user nobody is told. Links to many hooks take
# nothing but a program, which somebody loaded who may.
WAYS = {
    "xdp, link": ("probes", "on_xdp", lambda p: link.attach_xdp(p, "lo"), ""),
    "xdp, netlink": (
        "probes",
        "on_xdp",
        lambda p: link.attach_xdp(p, "lo", use_link=False),
        NET_ADMIN,
    ),
    "clsact": ("hooks_net", "one", lambda p: link.attach_clsact(p, "lo"), NET_ADMIN),
    "tracepoint": ("probes", "on_tracepoint", pyebpf.attach, TRACEFS),
    "raw tracepoint": ("probes", "on_raw_tracepoint", pyebpf.attach, ""),
    "uprobe": (
        "probes",
        "on_uprobe",
        lambda p: link.attach_uprobe(p, "libc.so.6", "getuid"),
        PERFMON,
    ),
    "netns": ("hooks_net", "on_lookup", link.attach_netns, ""),
    "perf event": (
        "hooks_trace",
        "on_sample",
        lambda p: link.attach_perf_event(p, PerfSw.CPU_CLOCK, period=1000),
        PERFMON,
    ),
    "kprobe": (
        "hooks_trace",
        "on_kprobe",
        lambda p: link.attach_kprobe(p, "__x64_sys_getpgid", use_tracefs=True),
        TRACEFS,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_who_lacks_a_capability_is_told_which(way, netns, tracefs):
    """User nobody, with a program that root has loaded."""
    name, program, attach, told = WAYS[way]
    with pyebpf.load(only(name, program)) as bpf:
        chosen = bpf.programs[program]
        # Once as root, so that what nobody cannot read is loaded.
        with contextlib.suppress(pyebpf.EbpfError):
            attach(chosen).close()
        said = outcome_as_nobody(lambda: attach(chosen).close())
    if said != "allowed" or told:
        assert said.startswith(f'PrivilegeError: attach program "{program}" to '), said
        if way == "xdp, netlink" and not ANYBODY_MAY_ASK:
            told = ""
        assert re.search(told or "needs .*CAP_", said), said


@pytest.mark.parametrize("use_link", [True, False], ids=["link", "prog_attach"])
def test_who_may_not_attach_to_a_cgroup_is_told(cgroup, use_link):
    """The kernel says EPERM of a link, and EINVAL of the other way."""
    if use_link:
        kernel.needs("5.7", "links to cgroups")
    with pyebpf.load(only("hooks_cgroup", "one")) as bpf:
        program = bpf.programs["one"]
        link.attach_cgroup(program, cgroup, use_link=use_link).close()
        said = outcome_as_nobody(lambda: link.attach_cgroup(program, cgroup, use_link=use_link))
    assert said.startswith('PrivilegeError: attach program "one" to '), said
    assert ("CAP_NET_ADMIN" if ANYBODY_MAY_ASK else "needs CAP_BPF") in said


def test_a_stripped_program_says_that_it_has_no_symbols(tmp_path):
    """What is left of a program without a dynamic symbol of that name."""
    strip = shutil.which("strip")
    if strip is None:
        pytest.skip("strip is not installed")
    binary = tmp_path / "true"
    shutil.copy(os.path.realpath("/bin/true"), binary)
    subprocess.run([strip, str(binary)], check=True)
    with (
        pyebpf.load(only("probes", "on_uprobe")) as bpf,
        pytest.raises(pyebpf.LoadError, match=rf"no function main in {binary}"),
    ):
        link.attach_uprobe(bpf.programs["on_uprobe"], binary, "main")


def test_a_misspelt_symbol_is_told_what_is_near():
    """Functions of the C library, those that are most alike first."""
    with (
        pyebpf.load(only("probes", "on_uprobe")) as bpf,
        pytest.raises(pyebpf.LoadError, match=r"no function getuidd in .*libc.*\(near: getuid, "),
    ):
        link.attach_uprobe(bpf.programs["on_uprobe"], "libc.so.6", "getuidd")


# Every way of attaching, given a program that none of them takes.
WRONG = {
    "xdp": lambda p: link.attach_xdp(p, "lo"),
    "tc": lambda p: link.attach_tc(p, "lo", "ingress"),
    "tcx": lambda p: link.attach_tcx(p, "lo", "ingress"),
    "clsact": lambda p: link.attach_clsact(p, "lo", "ingress"),
    "action": lambda p: link.attach_action(p, "lo", "ingress"),
    "netkit": lambda p: link.attach_netkit(p, "lo"),
    "netfilter": lambda p: link.attach_netfilter(p, link.NetfilterHook.LOCAL_IN),
    "netns": link.attach_netns,
    "lirc": lambda p: link.attach_lirc(p, "/dev/null"),
    "cgroup": lambda p: link.attach_cgroup(p, "/sys/fs/cgroup"),
    "socket": lambda p: link.attach_socket(p, None),
    "reuseport": lambda p: link.attach_reuseport(p, None),
    "sockmap": lambda p: link.attach_sockmap(p, None),
    "tracepoint": lambda p: link.attach_tracepoint(p, "sched", "sched_switch"),
    "perf event": lambda p: link.attach_perf_event(p, PerfSw.CPU_CLOCK, period=1000),
    "kprobe": lambda p: link.attach_kprobe(p, "schedule"),
    "ksyscall": lambda p: link.attach_ksyscall(p, "getpgid"),
    "kprobe.multi": lambda p: link.attach_kprobe_multi(p, pattern="sched*"),
    "uprobe": lambda p: link.attach_uprobe(p, "libc.so.6", "getuid"),
    "uprobe.multi": lambda p: link.attach_uprobe_multi(p, "libc.so.6", functions=["getuid"]),
    "usdt": lambda p: link.attach_usdt(p, "libc.so.6", "libc", "setjmp"),
    "tracing": link.attach_tracing,
    "tracing.multi": lambda p: link.attach_tracing_multi(p, pattern="sched*"),
    "freplace": lambda p: link.attach_freplace(p, p, "function"),
    "lsm": link.attach_lsm,
    "iterator": link.attach_iter,
}


@pytest.mark.parametrize("way", WRONG)
def test_a_program_of_another_type_is_named(way, tracefs):
    """Before anything is attached or opened."""
    with (
        pyebpf.load(only("probes", "on_raw_tracepoint")) as bpf,
        pytest.raises(pyebpf.AttachError, match='program "on_raw_tracepoint" is '),
    ):
        WRONG[way](bpf.programs["on_raw_tracepoint"])


def test_a_missing_interface_is_named_by_every_hook(netns):
    """By name, with those there are; an index by itself."""
    with pyebpf.load(only("hooks_net", "one", "xdp_one")) as bpf:
        one, xdp = bpf.programs["one"], bpf.programs["xdp_one"]
        for attach in (
            lambda where: link.attach_xdp(xdp, where),
            lambda where: link.attach_tcx(one, where, "ingress"),
            lambda where: link.attach_clsact(one, where, "ingress"),
            lambda where: link.attach_tc(one, where, "ingress"),
            lambda where: link.attach_netkit(one, where),
        ):
            with pytest.raises(pyebpf.AttachError, match=r"no network interface 'lo0'.*near: lo"):
                attach("lo0")
            with pytest.raises(
                pyebpf.EbpfError, match=r"no network interface of index 4711|netkit|tcx"
            ):
                attach(4711)
