"""Hostile programs and types for the made-up kernel: an errno or a descriptor, nothing else."""

from __future__ import annotations

import contextlib
import os
import struct

from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import EbpfError, SyscallError
from pyebpf.sys import bpf, netlink, tc
from pyebpf.sys.rtnetlink import RouteSocket
from pyebpf.testing import FakeKernel
from pyebpf.uapi.attrs import BtfLoad, LinkCreateTcx, ProgAttach, ProgLoad, ProgQuery
from pyebpf.uapi.bpf import AttachType, MapFlag, MapType, ProgType
from pyebpf.uapi.info import LinkInfo
from pyebpf.uapi.rtnetlink import NetlinkFlag, RtnetlinkType
from tests.support.contract import RETURN_TWO, create, delete, lookup, next_key, take, u32, update

OPCODES = [0x05, 0x07, 0x15, 0x18, 0x61, 0x62, 0x7B, 0x85, 0x95, 0xB4, 0xB7, 0xBF, 0xC3, 0xDB]
INSTRUCTION = st.builds(
    lambda opcode, registers, offset, immediate: struct.pack(
        "=BBhi", opcode, registers, offset, immediate
    ),
    st.one_of(st.sampled_from(OPCODES), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 1, 0x10, 0x21, 0x2A]), st.integers(0, 255)),
    st.one_of(st.integers(-3, 3), st.integers(-32768, 32767)),
    st.one_of(st.integers(-1, 6), st.integers(-(1 << 31), (1 << 31) - 1)),
)


@given(st.lists(INSTRUCTION, max_size=12), st.booleans(), st.sampled_from(list(ProgType)))
def test_programs_load_or_are_refused_with_a_reason(code, ends, kind):
    """The log says why."""
    data = b"".join(code) + (RETURN_TWO if ends else b"")
    log = bytearray(4096)
    attr = ProgLoad(
        prog_type=kind,
        insns=data or b"\0",
        insn_cnt=len(data) // 8,
        license=b"GPL\0",
        log_level=1,
        log_buf=log,
        log_size=len(log),
    )
    # Functions of modules are what it does not model.
    with FakeKernel(), contextlib.suppress(SyscallError, NotImplementedError):
        bpf.prog_load(attr).close()


# Kind, bytes of a key, of a value, entries, flags.
SENSIBLE = [
    (MapType.HASH, 4, 4, 2, 0),
    (MapType.LRU_PERCPU_HASH, 4, 4, 2, 0),
    (MapType.ARRAY, 4, 4, 2, 0),
    (MapType.PERCPU_ARRAY, 4, 4, 2, 0),
    (MapType.LPM_TRIE, 8, 4, 2, MapFlag.NO_PREALLOC),
    (MapType.QUEUE, 0, 4, 2, 0),
    (MapType.BLOOM_FILTER, 0, 4, 2, 0),
    (MapType.RINGBUF, 0, 0, 4096, 0),
    (MapType.PROG_ARRAY, 4, 4, 2, 0),
    (MapType.PERF_EVENT_ARRAY, 4, 4, 2, 0),
    (MapType.CGROUP_ARRAY, 4, 4, 2, 0),
    (MapType.DEVMAP, 4, 8, 2, 0),
    (MapType.DEVMAP_HASH, 4, 8, 2, 0),
    (MapType.CPUMAP, 4, 8, 2, 0),
    (MapType.SOCKMAP, 4, 8, 2, 0),
    (MapType.SOCKHASH, 4, 4, 2, 0),
    (MapType.REUSEPORT_SOCKARRAY, 4, 8, 2, 0),
    (MapType.XSKMAP, 4, 4, 2, 0),
    (MapType.STACK_TRACE, 4, 8, 2, 0),
    (MapType.CGROUP_STORAGE, 16, 4, 0, 0),
    (MapType.ARENA, 0, 0, 1, MapFlag.MMAPABLE),
    (MapType.INSN_ARRAY, 4, 16, 2, 0),
]
SIZES = st.integers(0, 1 << 20)
DEFINITIONS = st.one_of(
    st.sampled_from(SENSIBLE),
    st.tuples(st.sampled_from([each for each in MapType if each]), SIZES, SIZES, SIZES, SIZES),
)
SHORT = st.one_of(st.integers(0, 3).map(u32), st.binary(max_size=16))
OPERATIONS = st.tuples(
    st.sampled_from([lookup, update, delete, take, next_key]),
    SHORT,
    SHORT,
    st.sampled_from([0, 0, 1, 2, 3, 4, 1 << 40]),
)


@given(DEFINITIONS, st.lists(OPERATIONS, max_size=12))
def test_elements_of_any_map_are_there_or_not(definition, operations):
    """An errno for everything else."""
    kind, key_size, value_size, entries, flags = definition
    with contextlib.ExitStack() as stack:
        stack.enter_context(FakeKernel("7.3"))
        try:
            fd = stack.enter_context(create(kind, key_size, value_size, entries, int(flags)))
        except (EbpfError, NotImplementedError):
            return
        size = value_size * 2 + 16  # for two CPUs
        for operation, key, value, number in operations:
            given_key = key[:key_size].ljust(key_size, b"\0") or None
            with contextlib.suppress(NotImplementedError):
                if operation is update:
                    update(fd, given_key, value.ljust(size, b"\0"), number)
                elif operation is delete:
                    delete(fd, given_key)
                elif operation is next_key:
                    next_key(fd, given_key, key_size)
                else:
                    operation(fd, given_key, size, number)


@given(st.binary(max_size=200), st.booleans())
def test_types_load_or_are_refused(data, prefixed):
    """Whatever the bytes."""
    blob = (b"\x9f\xeb\1\0\x18\0\0\0" if prefixed else b"") + data
    with FakeKernel(), contextlib.suppress(SyscallError):
        bpf.btf_load(BtfLoad(btf=blob or b"\0", btf_size=len(blob))).close()


NUMBERS = st.one_of(st.integers(0, 70), st.sampled_from([1 << 13, 1 << 31, (1 << 32) - 1]))
# Whatever sits behind a small number is a descriptor of this machine, if any, or one of these.
LINKS = st.builds(
    lambda kind, flags, words: (kind, {"flags": flags, **words}),
    st.sampled_from(list(AttachType)),
    NUMBERS,
    st.dictionaries(st.sampled_from(["target_fd", "relative_fd", "expected_revision"]), NUMBERS),
)


@given(LINKS, st.sampled_from(list(ProgType)), NUMBERS)
def test_attachments_are_made_or_refused(given_link, kind, query_flags):
    """With a link, by PROG_ATTACH and by PROG_DETACH; queries answer or are refused."""
    attach_type, fields = given_link
    unmodelled = (SyscallError, NotImplementedError)
    with FakeKernel() as fake, contextlib.suppress(SyscallError, NotImplementedError):
        path = fake.path("sys/fs/cgroup")
        group = os.open(path, os.O_RDONLY)
        try:
            attr = ProgLoad(
                prog_type=kind, insns=RETURN_TWO, insn_cnt=2, license=b"GPL\0",
                expected_attach_type=attach_type,
            )  # fmt: skip
            with bpf.prog_load(attr) as program:
                target = fields.get("target_fd", group)
                link = LinkCreateTcx(
                    prog_fd=program.fileno(), attach_type=attach_type,
                    **{**fields, "target_fd": group if target > 3 else target},
                )  # fmt: skip
                with contextlib.suppress(*unmodelled), bpf.link_create(link) as made:
                    bpf.obj_get_info_by_fd(made.fileno(), LinkInfo())
                for call in (bpf.prog_attach, bpf.prog_detach):
                    given_attr = ProgAttach(
                        target_fd=link.target_fd, attach_bpf_fd=program.fileno(),
                        attach_type=attach_type, attach_flags=link.flags,
                        relative_fd=link.relative_fd,
                    )  # fmt: skip
                    with contextlib.suppress(*unmodelled):
                        call(given_attr)
                query = ProgQuery(
                    target_fd=link.target_fd, attach_type=attach_type, query_flags=query_flags
                )
                with contextlib.suppress(*unmodelled):
                    bpf.prog_query(query)
        finally:
            os.close(group)


ATTRIBUTES = st.recursive(
    st.tuples(st.integers(0, 60), st.binary(max_size=12)),
    lambda inner: st.tuples(st.integers(0, 60), st.lists(inner, max_size=4)),
    max_leaves=8,
)


def encoded(attribute) -> bytes:
    kind, content = attribute
    if isinstance(content, bytes):
        return netlink.attribute(kind, content)
    return netlink.attribute(kind, *(encoded(each) for each in content), nested=True)


@given(
    st.sampled_from(list(RtnetlinkType)),
    st.integers(0, 0xFFFF),
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda index, place, info, attributes: (
                struct.pack("=BxxxiIII", 0, index, 0, place, info)
                + b"".join(map(encoded, attributes))
            ),
            st.integers(0, 3),
            st.sampled_from([0, 0xFFFFFFF1, 0xFFFFFFF2, 0xFFFFFFF3, 0xFFFF0000]),
            NUMBERS,
            st.lists(ATTRIBUTES, max_size=5),
        ),
    ),
)
def test_netlink_requests_are_answered(kind, flags, body):
    """Every one ends, with an error or without."""
    with FakeKernel() as fake, RouteSocket() as socket:
        with contextlib.suppress(SyscallError, NotImplementedError):
            tc.add_clsact(socket, 1)
        with contextlib.suppress(SyscallError, NotImplementedError):
            request = netlink.message(kind, flags | NetlinkFlag.ACK, 7, body)
            datagrams = fake.rtnetlink(socket.fd.fileno(), request, 7)
            assert netlink.complete(datagrams[-1], 7)
        with contextlib.suppress(SyscallError):
            fake.rtnetlink(socket.fd.fileno(), body, 7)
