"""Iterators of a made-up kernel: what they show of its objects, and tasks that a test makes up."""

from __future__ import annotations

import os
import struct

import pytest

import pyebpf
from pyebpf import link
from pyebpf.errors import SyscallError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.maps.map import Map
from pyebpf.sys import bpf
from pyebpf.testing import FakeKernel
from pyebpf.testing.interpreter import Task
from pyebpf.testing.kernel_types import kernel_types
from pyebpf.uapi.attrs import IterCreate, IterLinkInfoTask, LinkCreateIter
from pyebpf.uapi.bpf import AttachType, MapType, ProgType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.helpers import FuncId
from tests.support.contract import RETURN_TWO, load, outcome
from tests.support.programs import built

LAYOUTS = kernel_types([]).layouts


@pytest.fixture
def kernel():
    with FakeKernel() as made:
        yield made


def printer(target: str, *path: tuple[str, str]):
    """Load a program that prints a 4-byte member, found by following members from the object."""
    steps = [
        (0x79, 0x16, 0, 0),  # r6 = ctx->meta
        (0x79, 0x17, 8, 0),  # r7 = the object
        (0x15, 0x07, 6 + len(path), 0),  # none: the end
    ]
    for struct_name, member in path[:-1]:
        steps.append((0x79, 0x77, LAYOUTS[struct_name][member].offset, 0))
    name, member = path[-1]
    steps += [
        (0x61, 0x72, LAYOUTS[name][member].offset, 0),
        (0x63, 0x2A, -8, 0),
        (0xBF, 0xA2, 0, 0),
        (0x07, 0x02, 0, -8),
        (0xB7, 0x03, 0, 4),
        (0x79, 0x61, 0, 0),  # r1 = meta->seq
        (0x85, 0, 0, FuncId.seq_write),
        (0xB7, 0x00, 0, 0),
        (0x95, 0, 0, 0),
    ]
    return loaded(target, b"".join(struct.pack("=BBhi", *each) for each in steps))


def loaded(target: str, code: bytes):
    number = kernel_btf().find(f"bpf_iter_{target}", BtfKind.FUNC)
    return load(
        ProgType.TRACING, code, expected_attach_type=AttachType.TRACE_ITER, attach_btf_id=number
    )


def walked(program, info: IterLinkInfoTask | None = None) -> list[int]:
    attr = LinkCreateIter(prog_fd=program.fileno(), attach_type=AttachType.TRACE_ITER)
    if info is not None:
        attr.iter_info, attr.iter_info_len = info, type(info).SIZE
    with bpf.link_create(attr) as made, bpf.iter_create(IterCreate(link_fd=made.fileno())) as walk:
        data = os.read(walk.fileno(), 4096)
    return list(struct.unpack(f"={len(data) // 4}I", data))


def test_maps_are_shown_with_their_ids(kernel):
    """In their order."""
    with (
        printer("bpf_map", ("bpf_map", "id")) as program,
        Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1) as first,
        Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=1) as second,
    ):
        assert walked(program) == [first.id, second.id]


def test_programs_and_links_lead_to_more(kernel):
    """From a link to its program to its id."""
    with printer("bpf_prog", ("bpf_prog", "aux"), ("bpf_prog_aux", "id")) as program:
        assert walked(program) == [1]
    path = ("bpf_link", "prog"), ("bpf_prog", "aux"), ("bpf_prog_aux", "id")
    with printer("bpf_link", *path) as program:
        assert walked(program) == [2]


def test_tasks_are_those_of_the_test(kernel):
    """The current one first; chosen by process or thread."""
    kernel.world.task.pid = kernel.world.task.tgid = 7
    kernel.tasks.append(Task(pid=9, tgid=8, comm=b"worker"))
    kernel.tasks.append(Task(pid=8, tgid=8, comm=b"server"))
    with printer("task", ("task_struct", "pid")) as program:
        assert walked(program) == [7, 9, 8]
        assert walked(program, IterLinkInfoTask(pid=8)) == [9, 8]
        assert walked(program, IterLinkInfoTask(tid=8)) == [8]


def test_a_program_that_wants_to_see_an_object_again_ends_the_walk(kernel):
    """EAGAIN, which a kernel gives to whoever reads."""
    with loaded("bpf_map", RETURN_TWO) as program:
        assert outcome(lambda: walked(program)) == "EAGAIN"


def test_values_may_be_changed_on_the_way(kernel):
    """They are those of the map."""
    spec = pyebpf.load_spec(built("hooks_trace"))
    for each in spec.programs.values():
        each.autoload = each.section == "iter/bpf_map_elem"
    with pyebpf.load(spec) as collection:
        numbers = collection.maps["numbers"]
        numbers[5] = 50
        with link.attach_iter(collection.programs["on_element"], map=numbers) as made:
            assert made.read() == b"5=50\n"
            numbers[5] = 51
            assert made.read() == b"5=51\n"
            made.update(collection.programs["on_element"])
            with pytest.raises(SyscallError, match="EOPNOTSUPP"):
                made.detach()


def test_other_targets_are_named(kernel):
    """Types of kernels with more are declared by the test."""
    function = "int bpf_iter_tcp(struct bpf_iter_meta * meta, void * sk);"
    with (
        FakeKernel(declarations=function),
        loaded("tcp", RETURN_TWO) as program,
        pytest.raises(NotImplementedError, match="an iterator over tcp"),
    ):
        walked(program)
