"""What is told about a loaded program agrees with bpftool, and with what happened."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
import struct
import subprocess

import pytest

import pyebpf
from pyebpf import Map, MapType
from pyebpf.host import kallsyms
from pyebpf.host.kernel_btf import kernel_btf
from tests.support import kernel
from tests.support.bpftool import bpftool, bpftool_json, missed
from tests.support.children import (
    CAP_BPF,
    CAP_NET_ADMIN,
    CAP_SYS_ADMIN,
    NOBODY,
    outcome_as_nobody,
    outcome_with,
)
from tests.support.programs import only

PROGRAMS = [
    ("count", "to_ring"),
    ("subprogs", "first"),
    ("xdp_drop", "xdp_drop"),
    ("probes", "on_raw_tracepoint"),
]


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
        "name": ours.full_name,
        "tag": ours.tag,
        "gpl_compatible": ours.gpl_compatible,
        "loaded_at": int(ours.load_time.timestamp()),
        "uid": ours.created_by_uid,
        "bytes_xlated": ours.xlated_size,
        "jited": ours.jited_size > 0,
        "bytes_memlock": ours.memlock,
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


def test_a_long_name_is_told_whole(real_kernel):
    """The kernel cuts it, the types of the program have it."""
    with pyebpf.load(only("probes", "on_raw_tracepoint")) as bpf:
        info = bpf.programs["on_raw_tracepoint"].info()
        assert (info.name, info.full_name) == ("on_raw_tracepoi", "on_raw_tracepoint")
        with pyebpf.Program.from_id(info.id) as again:
            assert again.info().full_name == "on_raw_tracepoint"


def test_what_it_attaches_to_is_told():
    """The type in the kernel's own types."""
    kernel.needs("6.0", "attach_btf_id in the info of programs")
    with pyebpf.load(only("probes", "on_tp_btf")) as bpf:
        info = bpf.programs["on_tp_btf"].info()
    assert kernel_btf().describe(info.attach_btf_id) == "btf_trace_sched_process_fork"
    (vmlinux,) = [each for each in bpftool_json("btf", "show") if each.get("name") == "vmlinux"]
    assert info.attach_btf_obj_id == vmlinux["id"]


def test_who_loaded_it_is_told():
    """Here another user than the one that asks."""
    kernel.needs("5.19", "packets in programs of half the privileges")
    spec = only("xdp_drop", "xdp_drop")

    def uid() -> int:
        with pyebpf.load(spec) as bpf:
            return bpf.programs["xdp_drop"].info().created_by_uid

    assert outcome_with(uid, CAP_BPF, CAP_NET_ADMIN) == str(NOBODY)


def test_verified_instructions_are_those_of_the_log():
    """As many as the verifier says it processed."""
    kernel.needs("5.16", "verified_insns")
    with pyebpf.load(only("subprogs", "first"), log_level=4) as bpf:
        program = bpf.programs["first"]
        (processed,) = re.findall(r"processed (\d+) insns", program.verifier_log)
        assert program.info().verified_instructions == int(processed)


def test_what_its_object_says_of_it(loaded):
    """Licence, section, size; of an opened one just what the kernel knows."""
    info = loaded.info()
    assert info.created_by_uid == os.getuid()
    assert loaded.license in ("GPL", "Dual MIT/GPL")
    assert info.gpl_compatible
    assert loaded.section
    assert loaded.size == info.xlated_size > 0
    with pyebpf.Program.from_id(loaded.id) as again:
        assert again.info() == info
        assert (again.section, again.license, again.size) == ("", "", loaded.size)


def test_a_program_is_opened_by_a_descriptor(loaded):
    """The caller keeps its own: closing one leaves the other."""
    with pyebpf.Program.from_fd(loaded.fileno()) as again:
        assert again.fileno() != loaded.fileno()
        assert (again.info(), again.type) == (loaded.info(), loaded.type)
    assert loaded.id


def test_code_is_not_shown_to_everybody(loaded):
    """It says so: there is never an empty program."""
    kernel.needs("5.19", "info for those who have a descriptor and no privilege")
    said = outcome_as_nobody(loaded.disassemble)
    assert said.startswith("PrivilegeError: BPF_OBJ_GET_INFO_BY_FD: EPERM: needs CAP_BPF")
    assert outcome_with(lambda: loaded.jited().functions) == "()"
    number = loaded.id

    # Addresses are hidden from who opens it, whoever loaded it.
    def opened() -> object:
        with pyebpf.Program.from_id(number) as again:
            return again.jited().functions, len(again.xlated().instructions)

    if kernel.hides_addresses():
        shown = len(loaded.xlated().instructions)
        assert outcome_with(opened, CAP_SYS_ADMIN) == f"((), {shown})"


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
    xlated = loaded.xlated()
    starts = sorted(xlated.functions)
    assert code.lines
    placed = 0
    for number, each in enumerate(code.functions):
        # The same lines in the same order: of several at one address the last one stays.
        end = starts[number + 1] if number + 1 < len(starts) else math.inf
        lines = [
            xlated.lines[slot] for slot in sorted(xlated.lines) if starts[number] <= slot < end
        ]
        places = range(each.address, each.address + len(each.code) + 1)
        found = [code.lines[place] for place in sorted(code.lines) if place in places]
        rest = iter(lines)
        assert all(line in rest for line in found)
        assert found[0] == lines[0]
        placed += len(found)
    assert placed == len(code.lines)


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
    assert missed("prog", pyebpf.loaded_programs(), loaded) == set()
