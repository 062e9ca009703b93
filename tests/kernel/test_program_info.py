"""What is told about a loaded program agrees with bpftool, and with what happened."""

from __future__ import annotations

import datetime as dt
import os
import struct
import subprocess

import pytest

import pyebpf
from pyebpf import Map, MapType
from pyebpf.host import kallsyms
from tests.support import kernel
from tests.support.bpftool import bpftool, bpftool_json
from tests.support.programs import only

PROGRAMS = [("count", "to_ring"), ("subprogs", "first"), ("xdp_drop", "xdp_drop")]


@pytest.fixture(params=PROGRAMS, ids="-".join)
def loaded(request):
    kernel.needs({"count": "5.8"}.get(request.param[0], "5.0"), "what it does")
    with pyebpf.load(only(*request.param)) as bpf:
        yield bpf.programs[request.param[1]]


def test_what_is_shown_of_a_program_agrees(loaded):
    """Field by field of ``bpftool prog show``."""
    theirs = bpftool_json("prog", "show", "id", str(loaded.id))
    ours = loaded.info()
    expected = {
        "id": ours.id,
        "type": str(ours.type).removeprefix("BPF_PROG_TYPE_").lower(),
        "name": ours.name,
        "tag": ours.tag,
        "gpl_compatible": ours.gpl_compatible,
        "loaded_at": int(ours.load_time.timestamp()),
        "uid": ours.created_by_uid,
        "bytes_xlated": ours.xlated_size,
        "jited": ours.jited_size > 0,
    }
    assert {name: theirs[name] for name in expected} == expected
    assert theirs.get("map_ids", []) == list(ours.map_ids)
    assert theirs.get("btf_id", 0) == ours.btf_id
    assert theirs.get("bytes_jited", 0) == ours.jited_size


def test_the_time_of_the_load_is_a_datetime(real_kernel):
    """Between before and after, in UTC."""
    before = dt.datetime.now(dt.timezone.utc)
    with pyebpf.load(only("xdp_drop", "xdp_drop")) as bpf:
        when = bpf.programs["xdp_drop"].info().load_time
        after = dt.datetime.now(dt.timezone.utc)
    slack = dt.timedelta(milliseconds=5)  # the clocks are compared twice
    assert before - slack <= when <= after + slack
    assert when.utcoffset() == dt.timedelta(0)


def test_who_loaded_it_and_what_the_verifier_did(loaded):
    """Uid, instructions the verifier went through, licence, section, size."""
    info = loaded.info()
    assert info.created_by_uid == os.getuid()
    if kernel.version() >= (5, 16):
        assert info.verified_instructions >= 2
    assert loaded.license in ("GPL", "Dual MIT/GPL")
    assert info.gpl_compatible
    assert loaded.section
    assert loaded.size == info.xlated_size > 0
    with pyebpf.Program.from_id(loaded.id) as again:
        assert again.info() == info
        assert (again.section, again.license, again.size) == ("", "", loaded.size)


def test_machine_code_is_where_the_kernel_says(loaded):
    """Function by function: names and addresses of kallsyms, tags, all bytes that there are."""
    if not loaded.info().jited_size:
        pytest.skip("this kernel interprets programs, or hides their code")
    code = loaded.jited()
    assert sum(len(each.code) for each in code.functions) == loaded.info().jited_size
    names = kallsyms.names_at([each.address for each in code.functions])
    for number, each in enumerate(code.functions):
        # The first one may be called after the whole program, which has a hash of its own.
        tags = {each.tag, loaded.info().tag} if number == 0 else {each.tag}
        assert names[each.address] in {f"bpf_prog_{tag}_{each.name}" for tag in tags}
    functions = list(loaded.xlated().functions.values())
    assert [each.name for each in code.functions] == functions


def test_machine_code_is_that_of_bpftool(loaded, tmp_path):
    """Byte for byte, where bpftool was built with a disassembler."""
    raw = tmp_path / "code"
    try:
        bpftool("prog", "dump", "jited", "id", str(loaded.id), "file", str(raw))
    except subprocess.CalledProcessError as error:
        if "disassembly" not in error.stderr and "libbfd" not in error.stderr:
            raise
        pytest.skip("bpftool was built without a disassembler")
    assert b"".join(each.code for each in loaded.jited().functions) == raw.read_bytes()


def test_machine_code_has_lines(loaded):
    """Each address is inside a function, each line one that the program was compiled from."""
    code = loaded.jited()
    if not code.functions:
        pytest.skip("this kernel interprets programs, or hides their code")
    known = set(loaded.xlated().lines.values())
    assert code.lines
    for address, line in code.lines.items():
        assert line in known
        assert any(
            each.address <= address <= each.address + len(each.code) for each in code.functions
        )


def test_a_bound_map_lives_as_long_as_the_program(real_kernel):
    """It shows among the program's maps, and stays when its owner closes it."""
    kernel.needs("5.10", "BPF_PROG_BIND_MAP")
    with pyebpf.load(only("xdp_drop", "xdp_drop")) as bpf:
        program = bpf.programs["xdp_drop"]
        with Map.create(
            type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1, name="extra"
        ) as extra:
            extra[0] = struct.pack("=I", 7)
            number = extra.id
            program.bind_map(extra)
            program.bind_map(extra)
        assert list(program.info().map_ids).count(number) == 1
        with Map.from_id(number) as again:
            assert again[0] == struct.pack("=I", 7)
        with pytest.raises(pyebpf.ClosedError, match="extra"):
            program.bind_map(extra)


def test_all_programs_of_the_kernel_are_those_of_bpftool(loaded):
    """Iterated by id: ours is among them."""
    found = {}
    for program in pyebpf.loaded_programs():
        with program:
            found[program.id] = program.info().tag
    theirs = {each["id"]: each["tag"] for each in bpftool_json("prog", "show")}
    mine = loaded.id
    assert found[mine] == theirs[mine]
    # Other processes load and unload meanwhile; those that stay are seen by both.
    assert {n: found[n] for n in found if n in theirs} == {
        n: theirs[n] for n in theirs if n in found
    }
