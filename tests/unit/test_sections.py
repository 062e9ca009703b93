"""The SEC() table against libbpf's own, and the names beyond it."""

from __future__ import annotations

import ctypes
import threading

import pytest

from pyebpf.elf import load_spec
from pyebpf.sections import (
    SECTIONS,
    Section,
    match,
    register_section,
    registered_sections,
    unregister_section,
)
from pyebpf.uapi.bpf import AttachType, ProgFlag, ProgType
from tests.support.programs import built


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


# Type, attach type and target of names that only early Go loaders knew.
OLDER = {
    # goebpf: what stands before the slash, in any case
    "socket_filter": ("SOCKET_FILTER", None, ""),
    "socket_filter/count": ("SOCKET_FILTER", None, ""),
    "tc_cls/count": ("SCHED_CLS", None, ""),
    "tc_act": ("SCHED_ACT", None, ""),
    "tc_act/count": ("SCHED_ACT", None, ""),
    "tc_action": ("SCHED_CLS", None, ""),  # not goebpf's, but begins like tc
    "XDP": ("XDP", "XDP", ""),
    "Xdp/count": ("XDP", "XDP", ""),
    "XDP/devmap": ("XDP", "XDP_DEVMAP", ""),
    "KPROBE/do_unlinkat": ("KPROBE", None, "do_unlinkat"),
    "kretProbe/do_unlinkat": ("KPROBE", None, "do_unlinkat"),
    "TC_ACT/x": ("SCHED_ACT", None, ""),
    # newtools: the longest known beginning
    "seccomp": ("SOCKET_FILTER", None, ""),
    "seccomp/mine": ("SOCKET_FILTER", None, ""),
    "sk_skb/parser": ("SK_SKB", None, ""),
    "cgroup_skb/both": ("CGROUP_SKB", None, ""),
    "cgroup_skb/ingress2": ("CGROUP_SKB", "CGROUP_INET_INGRESS", ""),
    "cgroup/sockops": ("CGROUP_SOCK", "CGROUP_INET_SOCK_CREATE", ""),
    "cgroup/post_bind": ("CGROUP_SOCK", None, ""),
    "cgroup/post_bind4/x": ("CGROUP_SOCK", "CGROUP_INET4_POST_BIND", ""),
    "cgroup/bind": ("CGROUP_SOCK_ADDR", None, ""),
    "cgroup/connect": ("CGROUP_SOCK_ADDR", None, ""),
    "cgroup/sendmsg/x": ("CGROUP_SOCK_ADDR", None, ""),
    "cgroup/recvmsg": ("CGROUP_SOCK_ADDR", None, ""),
    "cgroup/device": ("CGROUP_DEVICE", "CGROUP_DEVICE", ""),
}


@pytest.mark.parametrize("name", OLDER)
def test_older_names_are_taken_where_libbpf_has_no_meaning_for_them(name, libbpf):
    """Those of goebpf and newtools; libbpf refuses every one of them."""
    found = match(name)
    kind, attach_type, target = OLDER[name]
    assert (found.type, found.attach_to) == (ProgType[kind], target)
    assert found.attach_type is (None if attach_type is None else AttachType[attach_type])
    assert libbpf(name) is None


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_an_object_of_goebpfs_has_its_types(byteorder):
    """As its section names say there."""
    spec = load_spec(built("legacy_goebpf", byteorder))
    assert {name: each.type for name, each in spec.programs.items()} == {
        "count": ProgType.XDP,
        "drop": ProgType.XDP,
        "half": ProgType.SOCKET_FILTER,
        "classify": ProgType.SCHED_CLS,
        "act": ProgType.SCHED_ACT,
    }


@pytest.mark.parametrize(
    "name", ["", "mystery", "kprobes/x", "lsmx", "XDPs", "LSM/x", "raw", "?", ".text"]
)
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


@pytest.fixture
def registered():
    """Takes back what a test registers."""
    before = registered_sections()
    yield
    for row in set(registered_sections()) - set(before):
        unregister_section(row.pattern)


@pytest.mark.usefixtures("registered")
def test_a_users_own_section_is_found():
    """With a target where the pattern takes one; ``?`` works as ever."""
    register_section("mine+", ProgType.TRACING, AttachType.TRACE_ITER, ProgFlag.SLEEPABLE, btf=True)
    row = register_section("yours/exactly", ProgType.XDP, flags=ProgFlag.XDP_HAS_FRAGS)
    own = registered_sections()
    found = match("?mine/a/b", own)
    assert (found.type, found.attach_type) == (ProgType.TRACING, AttachType.TRACE_ITER)
    assert (found.attach_to, found.flags, found.autoload) == ("a/b", ProgFlag.SLEEPABLE, False)
    assert (found.needs_attach_btf, found.pattern) == (True, "mine")
    assert match("mine", own).attach_to == ""
    assert match("yours/exactly", own).flags == row.flags
    for name in ("mines", "yours/exactly/or_not", "yours"):
        assert match(name, own).type is ProgType.UNSPEC
    assert match("mine").type is ProgType.UNSPEC


def test_a_users_own_section_comes_before_names_that_merely_begin_like_one():
    """``xdp_mine`` is lenient for ``xdp``; libbpf's own names stay what they are."""
    own = [Section("xdp_mine", ProgType.SK_MSG), Section("xdp", ProgType.SK_MSG)]
    assert match("xdp_mine", own).type is ProgType.SK_MSG
    assert match("xdp_mine2", own).type is ProgType.XDP
    assert match("xdp", own).type is ProgType.XDP


@pytest.mark.usefixtures("registered")
def test_registering_twice_is_harmless_and_contradictions_are_refused():
    """One name has one meaning in a process; libbpf's are taken."""
    row = register_section("mine+", ProgType.XDP)
    assert register_section("mine+", ProgType.XDP) == row
    assert registered_sections().count(row) == 1
    with pytest.raises(ValueError, match='section "mine" is registered with another meaning'):
        register_section("mine", ProgType.XDP)
    for pattern in ("xdp", "xdp+", "kprobe+", "kprobe/mine"):
        with pytest.raises(ValueError, match="has a meaning already"):
            register_section(pattern, ProgType.XDP)
    for pattern in ("", "+", "?mine"):
        with pytest.raises(ValueError, match="cannot be a section's pattern"):
            register_section(pattern, ProgType.XDP)
    unregister_section("mine+")
    assert row not in registered_sections()
    with pytest.raises(KeyError):
        unregister_section("mine+")


@pytest.mark.usefixtures("registered")
def test_objects_are_read_with_the_registered_sections_unless_told_otherwise():
    """``sections=`` makes the spec depend on its arguments alone."""
    path = built("sections")
    mystery = Section("mystery+", ProgType.SOCKET_FILTER)
    assert load_spec(path).programs["unknown"].type is ProgType.UNSPEC
    found = load_spec(path, sections=[mystery]).programs["unknown"]
    assert (found.type, found.attach_to) == (ProgType.SOCKET_FILTER, "of/life")
    register_section("mystery+", ProgType.XDP)
    assert load_spec(path).programs["unknown"].type is ProgType.XDP
    assert load_spec(path, sections=[mystery]).programs["unknown"] == found
    assert load_spec(path, sections=()).programs["unknown"].type is ProgType.UNSPEC
    assert load_spec(path.read_bytes()).programs["usual"].type is ProgType.SOCKET_FILTER


@pytest.mark.usefixtures("registered")
def test_threads_may_register_at_once():
    """Nothing is lost."""
    names = [f"thread{number}" for number in range(200)]
    barrier = threading.Barrier(4)

    def register(mine):
        barrier.wait(timeout=60)
        for name in mine:
            register_section(name, ProgType.XDP)

    threads = [threading.Thread(target=register, args=(names[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row.pattern for row in registered_sections()} >= set(names)
