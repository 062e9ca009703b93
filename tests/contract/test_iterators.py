"""Iterators: what a walk shows, what links tell, what is refused."""

from __future__ import annotations

import array
import os
import struct

import pytest

import pyebpf
from pyebpf import link
from pyebpf.errors import SyscallError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import IterCreate, IterLinkInfoMap, IterLinkInfoTask, LinkCreateIter
from pyebpf.uapi.bpf import AttachType, MapType, ProgType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.helpers import FuncId
from pyebpf.uapi.info import LinkInfoIter
from tests.support.contract import create, load, outcome, u32, update
from tests.support.programs import built

pytestmark = pytest.mark.usefixtures("newest")

ITER = AttachType.TRACE_ITER


def walker(target: str) -> dict[str, object]:
    """Return how to load a program for a target that prints where it is in its walk, 8 bytes."""
    # r6 = ctx->meta; print meta->seq_num; the members of bpf_iter_meta are 8 bytes each.
    code = b"".join(
        struct.pack("=BBhi", *each)
        for each in (
            (0x79, 0x16, 0, 0),  # r6 = *(u64 *)(r1 + 0)
            (0x79, 0x61, 0, 0),  # r1 = *(u64 *)(r6 + 0)
            (0x79, 0x62, 16, 0),  # r2 = *(u64 *)(r6 + 16)
            (0x7B, 0x2A, -8, 0),  # *(u64 *)(r10 - 8) = r2
            (0xBF, 0xA2, 0, 0),
            (0x07, 0x02, 0, -8),  # r2 = r10 - 8
            (0xB7, 0x03, 0, 8),
            (0x85, 0, 0, FuncId.seq_write),
            (0xB7, 0x00, 0, 0),
            (0x95, 0, 0, 0),
        )
    )
    number = kernel_btf().find(f"bpf_iter_{target}", BtfKind.FUNC)
    return {"code": code, "expected_attach_type": ITER, "attach_btf_id": number}


def make(program, info=None, **more: int):
    attr = LinkCreateIter(prog_fd=program.fileno(), attach_type=ITER, **more)
    if info is not None:
        attr.iter_info, attr.iter_info_len = info, type(info).SIZE
    return outcome(lambda: bpf.link_create(attr))


def read(made) -> list[int]:
    data = bytearray()
    with bpf.iter_create(IterCreate(link_fd=made.fileno())) as walk:
        while piece := os.read(walk.fileno(), 4096):
            data += piece
    return list(array.array("Q", data))


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.ARRAY, MapType.PERCPU_ARRAY])
def test_each_element_is_shown_and_then_none(kernel, kind):
    """The number goes up but for the last time; each walk is one of its own."""
    with (
        load(ProgType.TRACING, **walker("bpf_map_elem")) as program,
        create(kind, 4, 8, 3) as elements,
    ):
        if kind == MapType.HASH:
            for each in range(3):
                update(elements, u32(each), bytes(8))
        with make(program, IterLinkInfoMap(map_fd=elements.fileno())) as made:
            assert read(made) == [0, 1, 2, 2]
            assert read(made) == [0, 1, 2, 2]
            name = bytearray(64)
            info = LinkInfoIter(target_name=name, target_name_len=len(name))
            bpf.obj_get_info_by_fd(made.fileno(), info)
            assert bytes(name).partition(b"\0")[0] == b"bpf_map_elem"
            shown = pyebpf.Map.from_fd(elements.fileno())
            with shown:
                assert info.map_id == shown.id


def test_what_is_empty_is_shown_as_nothing_once(kernel):
    """The program learns that the walk is over."""
    with (
        load(ProgType.TRACING, **walker("bpf_map_elem")) as program,
        create(MapType.HASH, 4, 8, 3) as elements,
        make(program, IterLinkInfoMap(map_fd=elements.fileno())) as made,
    ):
        assert read(made) == [0]


@pytest.mark.parametrize("target", ["bpf_map", "bpf_prog", "bpf_link", "task"])
def test_objects_of_the_kernel_are_walked(kernel, target):
    """At least what the test made."""
    with (
        load(ProgType.TRACING, **walker(target)) as program,
        create(MapType.ARRAY, 4, 4, 1),
        make(program) as made,
    ):
        numbers = read(made)
        assert len(numbers) >= 2
        assert numbers == [*range(len(numbers) - 1), len(numbers) - 2]


def test_iterators_are_checked(kernel):
    """A map that can be walked; nothing else where nothing else belongs."""
    with (
        load(ProgType.TRACING, **walker("bpf_map_elem")) as program,
        load(ProgType.TRACING, **walker("task")) as tasks,
        load() as other,
        create(MapType.QUEUE, 0, 8, 3) as queue,
        create(MapType.ARRAY, 4, 8, 3) as elements,
    ):
        assert make(program) == "EBADF"
        assert make(program, IterLinkInfoMap(map_fd=queue.fileno())) == "EINVAL"
        assert make(program, IterLinkInfoMap(map_fd=other.fileno())) == "EINVAL"
        given = IterLinkInfoMap(map_fd=elements.fileno())
        assert make(program, given, flags=1) == "EINVAL"
        assert make(program, given, target_fd=elements.fileno()) == "EINVAL"
        assert make(program, iter_info_len=4) == "EINVAL"
        assert make(other, given) == "EINVAL"
        assert make(tasks, IterLinkInfoTask(pid=1, tid=1)) == "EINVAL"
        walk = IterCreate(link_fd=other.fileno())
        assert outcome(lambda: bpf.iter_create(walk)) == "EINVAL"
        with make(program, given) as made:
            walk = IterCreate(link_fd=made.fileno(), flags=1)
            assert outcome(lambda: bpf.iter_create(walk)) == "EINVAL"
            with link.Link.from_fd(made.fileno()) as opened, pytest.raises(SyscallError) as caught:
                opened.detach()
            assert caught.value.errno == 95


def test_the_library_reads_what_programs_print(kernel):
    """Formatted; of one map, and of one process."""
    spec = pyebpf.load_spec(built("hooks_trace"))
    for each in spec.programs.values():
        each.autoload = each.section.startswith("iter/")
    with pyebpf.load(spec) as collection:
        numbers = collection.maps["numbers"]
        for key in (1, 2, 3):
            numbers[key] = 10 * key
        with link.attach_iter(collection.programs["on_element"], map=numbers) as made:
            assert sorted(made.read().split()) == [b"1=10", b"2=20", b"3=30"]
            assert made.info().map_id == numbers.id
        program = collection.programs["on_task"]
        with link.attach_iter(program, pid=os.getpid()) as made:
            expected = f"{os.getpid()} {os.getpid()}".encode()
            assert expected in made.read().splitlines()
            assert made.info().pid == os.getpid()
            with made.open() as first, made.open() as second:
                assert first.read() == second.read()
