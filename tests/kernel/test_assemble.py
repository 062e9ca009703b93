"""Assembled programs, loaded and run by the kernel."""

from __future__ import annotations

import sys

import pytest

import pyebpf
from pyebpf.asm.build import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R10,
    W0,
    add,
    atomic_fetch,
    call,
    call_function,
    exit_,
    function,
    jeq,
    label,
    load,
    load_function,
    load_map,
    load_symbol,
    mov,
    store,
    u32,
    u64,
)  # fmt: skip
from pyebpf.spec import CollectionSpec, MapSpec, ProgramSpec, VariableSpec
from pyebpf.uapi.bpf import MapType
from tests.support import kernel

PACKET = bytes(64)


def counts():
    return MapSpec(name="counts", type=MapType.ARRAY, key_size=4, value_size=8, max_entries=2)


def collection(*programs, **maps):
    return CollectionSpec(maps=maps, programs={each.name: each for each in programs})


@pytest.mark.usefixtures("real_kernel")
def test_a_program_of_text_counts_in_a_map():
    """A helper by name, a map by name, a constant, labels, a function."""
    program = ProgramSpec.assemble(
        "count",
        """
            *(u32 *)(r10 - 4) = 1           # the key
            r2 = r10
            r2 += -4
            r1 = counts ll
            call bpf_map_lookup_elem
            if r0 == 0 goto out
            r1 = STEP
            lock *(u64 *)(r0 + 0) += r1
            r1 = r0
            call twice
        out:
            exit
        twice:
            r0 = *(u64 *)(r1 + 0)
            r0 += r0
            exit
        """,
        section="socket",
        license="GPL",
        constants={"STEP": 5},
    )
    with pyebpf.load(collection(program, counts=counts())) as bpf:
        assert [bpf.programs["count"].run(PACKET).retval for _ in range(3)] == [10, 20, 30]
        with bpf.maps["counts"].raw as raw:
            assert int.from_bytes(raw[(1).to_bytes(4, sys.byteorder)], sys.byteorder) == 15


@pytest.mark.usefixtures("real_kernel")
def test_a_program_of_constructors_counts_in_a_map():
    """The same without text."""
    kernel.needs("5.12", "atomic operations that fetch")
    program = ProgramSpec.assemble(
        "count",
        [
            store(u32(R10 - 4), 0),
            mov(R2, R10),
            add(R2, -4),
            load_map(R1, "counts"),
            call("map_lookup_elem"),
            jeq(R0, 0, "out"),
            mov(R1, 7),
            atomic_fetch(u64(R0), "+", R1),
            mov(R0, R1),
            call_function("one_more"),
            label("out"),
            exit_(),
            function("one_more"),
            mov(R0, R1),
            add(W0, 1),
            exit_(),
        ],
        section="socket",
        license="GPL",
    )
    with pyebpf.load(collection(program, counts=counts())) as bpf:
        assert [bpf.programs["count"].run(PACKET).retval for _ in range(3)] == [1, 8, 15]


@pytest.mark.usefixtures("real_kernel")
def test_variables_and_maps_that_exist_are_found_by_name():
    """Of the collection, and of those that a load is given."""
    data = MapSpec(
        name=".data",
        type=MapType.ARRAY,
        key_size=4,
        value_size=16,
        max_entries=1,
        contents=bytearray(16),
    )
    number = VariableSpec(name="number", map=data, offset=8, size=4)
    number.raw = (41).to_bytes(4, sys.byteorder)
    program = ProgramSpec.assemble(
        "read",
        [
            load_symbol(R1, "number"),
            load(R0, u32(R1)),
            add(R0, 1),
            store(u32(R1), R0),
            load_symbol(R2, "given"),
            exit_(),
        ],
        section="socket",
    )
    spec = collection(program, **{".data": data})
    spec.variables = {"number": number}
    with (
        pyebpf.Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=1) as given,
        pyebpf.load(spec, map_replacements={"given": given}) as bpf,
    ):
        assert [bpf.programs["read"].run(PACKET).retval for _ in range(2)] == [42, 43]


@pytest.mark.usefixtures("real_kernel")
def test_functions_of_the_kernel_go_by_their_names():
    """Without types of our own."""
    kernel.needs("6.2", "bpf_rcu_read_lock()")
    program = ProgramSpec.assemble(
        "kernel",
        """
            call bpf_rcu_read_lock
            call bpf_rcu_read_unlock
            r0 = 0
            exit
        """,
        section="tp_btf/task_newtask",
        license="GPL",
    )
    with pyebpf.load(collection(program)) as bpf:
        assert bpf.programs["kernel"].info().xlated_size > 0


@pytest.mark.usefixtures("real_kernel")
def test_a_constant_may_be_set_in_what_was_assembled():
    """As in what was compiled."""
    program = ProgramSpec.assemble("limit", "r0 = LIMIT ll; exit", section="socket")
    spec = collection(program)
    with pytest.raises(pyebpf.ExternError, match=r'symbol "LIMIT" .* is not defined anywhere'):
        pyebpf.load(spec)
    spec.rewrite_constant("LIMIT", 99)
    with pyebpf.load(spec) as bpf:
        assert bpf.programs["limit"].run(PACKET).retval == 99


@pytest.mark.usefixtures("real_kernel")
def test_the_kernel_takes_each_object_printed_and_assembled_again():
    """The very programs of a compiled object, through text."""
    from tests.support.programs import only

    for name, program in (("subprogs", "first"), ("xdp_drop", "xdp_drop"), ("globals", "add_up")):
        spec = only(name, program)
        before = spec.programs[program]
        again = ProgramSpec.assemble(
            program, before.disassemble(), section=before.section, license=before.license
        )
        with pyebpf.load(spec) as bpf:
            expected = bpf.programs[program].run(PACKET).retval
        spec.programs = {program: again}
        with pyebpf.load(spec) as bpf:
            assert bpf.programs[program].run(PACKET).retval == expected


@pytest.mark.usefixtures("real_kernel")
def test_functions_may_be_called_by_the_kernel():
    """It asks for their types, which assembled programs have."""
    kernel.needs("5.17", "bpf_loop()")
    program = ProgramSpec.assemble(
        "each",
        [
            store(u64(R10 - 8), 0),
            mov(R1, 4),
            load_function(R2, "once"),
            mov(R3, R10),
            add(R3, -8),
            mov(R4, 0),
            call("loop"),
            load(R0, u64(R10 - 8)),
            exit_(),
            function("once"),
            load(R0, u64(R2)),
            add(R0, 5),
            store(u64(R2), R0),
            mov(R0, 0),
            exit_(),
        ],
        section="socket",
        license="GPL",
    )
    with pyebpf.load(collection(program)) as bpf:
        assert bpf.programs["each"].run(PACKET).retval == 20


@pytest.mark.usefixtures("real_kernel")
def test_the_verifier_says_which_line_of_the_text_it_refuses():
    """Line, column and the text around it; with other programs in the load, too."""
    text = """
        r1 = counts ll
        r0 = 1
        r0 += r9       # never written
        exit
    """
    good = ProgramSpec.assemble("good", "r0 = 1\nexit", section="socket")
    bad = ProgramSpec.assemble("bad", text, section="socket")
    with pytest.raises(pyebpf.VerifierError, match="R9 !read_ok") as caught:
        pyebpf.load(collection(good, bad, counts=counts()))
    source = caught.value.source
    assert source is not None
    assert (source.file, source.line, source.column) == ("bad.s", 4, 9)
    assert "# never written" in source.text
