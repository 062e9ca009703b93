"""The SEC() table against libbpf's own, and the names beyond it."""

from __future__ import annotations

import ctypes

import pytest

from pyebpf.sections import SECTIONS, match
from pyebpf.uapi.bpf import AttachType, ProgFlag, ProgType


@pytest.fixture(scope="module")
def libbpf():
    try:
        library = ctypes.CDLL("libbpf.so.1")
    except OSError:
        pytest.skip("libbpf.so.1 is not installed")
    library.libbpf_set_print(None)

    def by_name(name):
        kind, attach_type = ctypes.c_int(), ctypes.c_int()
        failed = library.libbpf_prog_type_by_name(
            name.encode(), ctypes.byref(kind), ctypes.byref(attach_type)
        )
        return None if failed else (kind.value, attach_type.value)

    return by_name


def test_every_name_libbpf_knows_means_the_same_here(libbpf):
    """Type and attach type are libbpf's, with and without a target."""
    compared = 0
    for row in SECTIONS:
        plain = row.pattern.removesuffix("+")
        for name in {plain, row.pattern.replace("+", "/target")}:
            expected = libbpf(name)
            if expected is None:
                continue  # newer than the installed libbpf
            found = match(name)
            assert (found.type, found.attach_type or 0) == expected, name
            compared += 1
    assert compared > 100


def test_patterns_are_unique():
    """A row can be reached by its own name."""
    names = [row.pattern.removesuffix("+") for row in SECTIONS]
    assert len(set(names)) == len(names)
    assert [match(name).pattern for name in names] == names


@pytest.mark.parametrize(
    ("name", "kind", "attach_type", "target"),
    [
        ("kprobe", "KPROBE", None, ""),
        ("kprobe/", "KPROBE", None, ""),
        ("kprobe/do_unlinkat+0x4", "KPROBE", None, "do_unlinkat+0x4"),
        ("uprobe//bin/bash:readline", "KPROBE", None, "/bin/bash:readline"),
        ("tracepoint/sched/sched_switch", "TRACEPOINT", None, "sched/sched_switch"),
        ("tp_btf/sched_switch", "TRACING", "TRACE_RAW_TP", "sched_switch"),
        ("usdt/libc.so:libc:setjmp", "KPROBE", None, "libc.so:libc:setjmp"),
        ("iter.s/task", "TRACING", "TRACE_ITER", "task"),
        ("kprobe.session/tcp_*", "KPROBE", "TRACE_KPROBE_SESSION", "tcp_*"),
        ("freplace/filter", "EXT", None, "filter"),
        ("xdp/devmap", "XDP", "XDP_DEVMAP", ""),
        ("xdp.frags/cpumap", "XDP", "XDP_CPUMAP", ""),
        ("tc/egress", "SCHED_CLS", "TCX_EGRESS", ""),
        ("cgroup/sock", "CGROUP_SOCK", "CGROUP_INET_SOCK_CREATE", ""),
        ("cgroup_skb/ingress", "CGROUP_SKB", "CGROUP_INET_INGRESS", ""),
        ("cgroup/connect_unix", "CGROUP_SOCK_ADDR", "CGROUP_UNIX_CONNECT", ""),
        ("cgroup/sendmsg4", "CGROUP_SOCK_ADDR", "CGROUP_UDP4_SENDMSG", ""),
        ("struct_ops/on_init", "STRUCT_OPS", None, ""),
        ("sk_skb/stream_parser", "SK_SKB", "SK_SKB_STREAM_PARSER", ""),
        # What only older loaders take: longer names than the pattern.
        ("socket1", "SOCKET_FILTER", None, ""),
        ("socket/beside", "SOCKET_FILTER", None, ""),
        ("xdp_prog", "XDP", "XDP", ""),
        ("xdp/anything", "XDP", "XDP", ""),
        ("tc_my", "SCHED_CLS", None, ""),
        ("sk_skb/stream_parser/mine", "SK_SKB", "SK_SKB_STREAM_PARSER", ""),
        ("classifier_in", "SCHED_CLS", None, ""),
        ("cgroup/sock_create4", "CGROUP_SOCK", "CGROUP_INET_SOCK_CREATE", ""),
    ],
)
def test_a_name_says_type_and_target(name, kind, attach_type, target):
    """The longest pattern wins; the rest of the name is the target where the kind takes one."""
    found = match(name)
    assert found.type is ProgType[kind]
    assert found.attach_type is (None if attach_type is None else AttachType[attach_type])
    assert found.attach_to == target


@pytest.mark.parametrize("name", ["", "mystery", "kprobes/x", "lsmx", "XDP", "raw", "?", ".text"])
def test_an_unknown_name_has_no_type(name):
    """It is not an error here: a user may set the type."""
    assert match(name).type is ProgType.UNSPEC


def test_a_question_mark_turns_loading_off():
    """It is not part of the name."""
    found = match("?fentry.s/do_unlinkat")
    assert (found.autoload, found.pattern, found.attach_to) == (False, "fentry.s", "do_unlinkat")
    assert match("?nothing").autoload is False
    assert match("xdp").autoload is True


def test_sleepable_and_fragment_names_set_flags():
    """``.s`` and ``.frags`` are program flags."""
    for row in SECTIONS:
        name = row.pattern.removesuffix("+")
        sleepable = name.endswith(".s") or name == "syscall"
        assert bool(row.flags & ProgFlag.SLEEPABLE) is sleepable, name
        assert bool(row.flags & ProgFlag.XDP_HAS_FRAGS) is (".frags" in name), name


def test_kinds_older_than_the_attach_type_field_load_without_it():
    """The attach types that came after their program types are optional, and only those."""
    optional = {row.pattern for row in SECTIONS if row.optional}
    assert {"xdp", "sockops", "sk_msg", "cgroup/sock", "cgroup/dev"} <= optional
    assert not {"xdp/devmap", "cgroup/bind4", "sk_lookup", "cgroup/sock_create"} & optional
    assert all(row.attach_type is not None for row in SECTIONS if row.optional)


def test_what_attaches_to_a_function_or_type_needs_its_id():
    """Tracing, LSM and freplace programs are loaded for one BTF id."""
    for row in SECTIONS:
        traced = row.type in (ProgType.TRACING, ProgType.LSM, ProgType.EXT)
        assert row.btf is (traced and ".multi" not in row.pattern), row.pattern
