"""From object to running program: what the kernel says of what was loaded."""

from __future__ import annotations

import os
import pathlib
import re
import sys
import warnings

import pytest

import pyebpf
from pyebpf.btf_object import btf_by_id
from pyebpf.host.kernel_btf import kernel_btf
from tests.support import refusals
from tests.support.bpftool import bpftool_json
from tests.support.programs import built, names

PACKET = bytes(64)
# Each program returns what its functions add up to.
RETURNS = {
    "subprogs": {"first": 4321, "second": 5060, "alone": 7, "packets": 2},
    "callbacks": {"loop": 4950},
    "globals": {"add_up": 1000 + 10 + 42 + 43 + 7 - 2 - 1 + 4 + ord("l")},
    "sections": {"usual": 1, "optional": 2},
    "legacy_goebpf": {"count": 2, "drop": 1, "half": 25, "classify": 1, "act": 2},
}
REFUSED_AS_A_WHOLE = {"refused", "sections", "core_missing", "constants"}
REFUSED_AS_A_WHOLE |= {"externs_kconfig", "externs_ksyms"}
# What some systems do not say, and what old kernels do not know.
REFUSED_AS_A_WHOLE |= {"externs", "exceptions", "isa_v4"}
# Every kind there is, of which no kernel takes all: the tests of hooks load them one by one.
REFUSED_AS_A_WHOLE |= {"hooks_cgroup", "hooks_net", "hooks_trace", "hooks_usdt"}
# They need another program, or load the part that implements something.
REFUSED_AS_A_WHOLE |= {"attach_target", "struct_ops"}


@pytest.mark.parametrize("name", sorted(set(names()) - REFUSED_AS_A_WHOLE))
def test_every_object_of_ours_loads(name):
    """The kernel takes each object whole, with its types."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pyebpf.load(built(name)) as bpf:
            spec = pyebpf.load_spec(built(name))
            assert set(bpf.programs) == set(spec.programs)
            assert set(bpf.maps) == set(spec.maps)
            for program in bpf.programs.values():
                assert bool(program.info().btf_id) == (spec.btf is not None)


@pytest.mark.parametrize("name", sorted(RETURNS))
def test_programs_return_what_their_source_says(name):
    """Functions, function pointers and variables are linked as the C program means them."""
    spec = pyebpf.load_spec(built(name))
    for program in spec.programs.values():
        program.autoload = program.name in RETURNS[name]
    with pyebpf.load(spec) as bpf:
        found = {each: bpf.programs[each].run(PACKET).retval for each in bpf.programs}
    assert RETURNS[name] == found


def test_a_callback_walks_over_the_map():
    """A static function given to bpf_for_each_map_elem runs for every element."""
    with pyebpf.load(built("callbacks")) as bpf:
        for index in range(8):
            bpf.maps["numbers"][index] = 1 << index
        assert bpf.programs["each"].run(PACKET).retval == 255


def test_constants_are_set_before_the_load():
    """What is written into the spec is what the verifier and the program see."""
    spec = pyebpf.load_spec(built("globals"))
    spec.variables["limit"].value = 110
    spec.variables["enabled"].value = False
    with pyebpf.load(spec) as bpf:
        assert bpf.programs["add_up"].run(PACKET).retval == 0
    spec.variables["enabled"].value = True
    with pyebpf.load(spec) as bpf:
        assert bpf.programs["add_up"].run(PACKET).retval == RETURNS["globals"]["add_up"] + 100


def test_variables_are_shared_with_the_running_program():
    """Reads see what the program wrote; the program sees what was written."""
    with pyebpf.load(built("globals")) as bpf:
        variables, run = bpf.variables, bpf.programs["add_up"].run
        run(PACKET)
        run(PACKET)
        assert variables["calls"].value == 2
        variables["total"].value = 5000
        assert run(PACKET).retval == RETURNS["globals"]["add_up"] + 4000
        assert variables["sum"].value == RETURNS["globals"]["add_up"] + 4000 - ord("l")
        assert variables["matrix"].value == ((0, 0, 0), (0, 0, 21))
        assert variables["tiny"].value == -1
        variables["tiny"].value = 1
        assert run(PACKET).retval == RETURNS["globals"]["add_up"] + 4002
        with pytest.raises(TypeError, match="constant"):
            variables["limit"].value = 1
        with pytest.raises(ValueError, match="4 bytes, not 3"):
            variables["tuned"].raw = b"abc"
    with pytest.raises(pyebpf.ClosedError):
        variables["calls"].value  # noqa: B018


def test_a_structure_is_read_member_by_member():
    """Nested records, text, enums, bit-fields and unions come out as C wrote them."""
    with pyebpf.load(built("globals")) as bpf:
        shapes = bpf.variables["shapes"].value
    assert (shapes.corners[0].x, shapes.corners[0].y) == (1, -2)
    assert (shapes.name, shapes.color.name, shapes.visible) == ("square", "GREEN", True)
    assert (shapes.low, shapes.middle, shapes.high) == (5, -3, 0xABCDEF)


def test_the_spec_is_left_as_it_was():
    """Loading works on a copy: the same spec loads again."""
    spec = pyebpf.load_spec(built("count"))
    before = spec.copy()
    for _ in range(2):
        with pyebpf.load(spec) as bpf:
            assert bpf.maps["perf_events"].max_entries > 0
    assert spec == before


def test_optional_programs_stay_out():
    """SEC("?...") is not loaded unless asked for."""
    spec = pyebpf.load_spec(built("sections"))
    del spec.programs["unknown"]
    with pyebpf.load(spec) as bpf:
        assert set(bpf.programs) == {"usual"}


def test_bytes_and_files_load_like_paths():
    """An object may come as a path, bytes or an open file."""
    data = built("subprogs").read_bytes()
    with pyebpf.load(data) as bpf:
        assert bpf.programs["alone"].run(PACKET).retval == 7
    with built("subprogs").open("rb") as file, pyebpf.load(file) as bpf:
        assert bpf.programs["alone"].run(PACKET).retval == 7


def test_map_replacements_are_used_and_stay_the_callers():
    """A map given by the caller takes the place of the object's and is not closed with it."""
    with pyebpf.load(built("count_syscalls")) as first:
        counts = first.maps["counts"]
        spec = pyebpf.load_spec(built("count_syscalls"))
        with pyebpf.load(spec, map_replacements={"counts": counts}) as second:
            assert second.maps["counts"] is counts
            assert counts.id in second.programs["on_sys_enter"].info().map_ids
        assert not counts.closed
        spec.maps["counts"].max_entries = 3
        with pytest.raises(pyebpf.MapIncompatibleError, match="max_entries is 1024, not 3"):
            pyebpf.load(spec, map_replacements={"counts": counts})
        with pytest.raises(pyebpf.LoadError, match='no map "cuonts"'):
            pyebpf.load(spec, map_replacements={"cuonts": counts})


def test_the_log_of_a_good_program_is_kept_when_asked_for():
    """log_level keeps the verifier's log; without it there is none."""
    with pyebpf.load(built("subprogs"), log_level=2, log_size=256) as bpf:
        log = bpf.programs["first"].verifier_log
        assert "processed" in log
        assert "(95) exit" in log
    with pyebpf.load(built("subprogs")) as bpf:
        assert bpf.programs["first"].verifier_log == ""


def test_a_programs_own_log_level_goes_before_that_of_the_load():
    """One log of many, or all but one."""
    spec = pyebpf.load_spec(built("subprogs"))
    spec.programs["first"].log_level, spec.programs["first"].log_size = 2, 128
    with pyebpf.load(spec) as bpf:
        assert "(95) exit" in bpf.programs["first"].verifier_log
        assert bpf.programs["second"].verifier_log == ""
    spec.programs["first"].log_level = 0
    with pyebpf.load(spec, log_level=1) as bpf:
        assert bpf.programs["first"].verifier_log == ""
        assert "processed" in bpf.programs["second"].verifier_log


def test_statistics_alone_cost_a_refusal_nothing():
    """BPF_LOG_STATS for programs that load; one that does not is explained as ever."""
    with pyebpf.load(built("subprogs"), log_level=4, log_size=128) as bpf:
        log = bpf.programs["first"].verifier_log
    assert "processed" in log
    assert "(95) exit" not in log
    messages = []
    for level in (0, 4):
        with pytest.raises(pyebpf.VerifierError) as caught:
            pyebpf.load(refusals.spec_of("unchecked_lookup"), log_level=level)
        messages.append(re.sub(r"\d+ lines omitted", "", caught.value.explain()))
        assert caught.value.source is not None
    assert messages[0] == messages[1]


def test_bpftool_sees_the_same_program():
    """Name, type, tag, maps and line information as the kernel's own tool reads them."""
    with pyebpf.load(built("count_syscalls")) as bpf:
        info = bpf.programs["on_sys_enter"].info()
        shown = bpftool_json("prog", "show", "id", str(info.id))
        lines = bpftool_json("prog", "dump", "xlated", "id", str(info.id), "linum")
        table = bpftool_json("map", "show", "id", str(bpf.maps["counts"].id))
    assert (shown["name"], shown["tag"]) == (info.name, info.tag)
    assert set(shown["map_ids"]) == set(info.map_ids)
    assert any("count_syscalls.bpf.c" in str(line) for line in lines)
    assert (table["name"], table["type"], table["max_entries"]) == ("counts", "percpu_hash", 1024)


def test_types_are_relocated_to_those_of_the_running_kernel():
    """Twelve kinds of CO-RE relocation, held against what the system says otherwise."""
    spec = pyebpf.load_spec(built("core"))
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as bpf:
        bpf.attach("fields", "types", "plain_loads")
        os.getppid()
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        found = bpf.variables["found"].value
        loaded = btf_by_id(bpf.programs["types"].info().btf_id)
    own = pathlib.Path("/proc/self/comm").read_text().strip()
    assert (found.tgid, found.ppid, found.comm) == (os.getpid(), os.getppid(), own)
    assert found.comm_size == 16
    assert found.missing_size == found.missing_type_exists == found.missing_member_exists == 0
    assert found.task_type_exists == found.comm_exists == found.any_state_exists == 1
    assert (found.prio_signed, found.flags_signed, found.reset_on_fork) == (1, 0, 0)
    assert (found.xdp_exists, found.imagined_exists, found.xdp_value) == (1, 0, 6)
    # One is an id in the BTF that was loaded with the program, the other in the kernel's.
    assert loaded.describe(found.local_type_id) == "struct task_struct"
    assert kernel_btf().describe(found.kernel_type_id) == "struct task_struct"
    assert found.task_size > 1000
    # PF_SUPERPRIV comes and goes; a child starts with PF_FORKNOEXEC and its parent's other flags.
    varying = 0x100 | 0x40
    assert found.child_flags & 0x40
    flags = int(pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[6])
    assert found.parent_flags | varying == flags | varying
    assert found.child_flags | varying == flags | varying


def test_a_type_matches_or_does_not():
    """The thirteenth kind: a struct as declared exists in the kernel, a wrong one does not."""
    with pyebpf.load(built("core_matches")) as bpf:
        assert bpf.programs["compare"].run(PACKET).retval == 1


def test_a_missing_field_is_harmless_behind_its_check():
    """Dead code with an impossible relocation loads."""
    spec = pyebpf.load_spec(built("core_missing"))
    spec.programs["used"].autoload = False
    with pyebpf.load(spec) as bpf:
        assert set(bpf.programs) == {"guarded"}


def test_other_types_can_be_relocated_against():
    """kernel_btf= takes a file, bytes or Btf in the place of the running kernel's types."""
    path = pathlib.Path("/sys/kernel/btf/vmlinux")
    data = path.read_bytes()
    for source in (path, data, pyebpf.Btf.decode(data)):
        with pyebpf.load(built("core_matches"), kernel_btf=source) as bpf:
            assert bpf.programs["compare"].run(PACKET).retval == 1


def test_the_objects_of_the_other_byte_order_are_refused():
    """They parse, but this machine cannot run them."""
    other = "big" if sys.byteorder == "little" else "little"
    with pytest.raises(pyebpf.ElfError, match=f"{other}-endian"):
        pyebpf.load(built("subprogs", other))
