"""Specs are plain data: copied, edited and compared."""

from __future__ import annotations

import pytest

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.elf import load_spec
from pyebpf.errors import AsmError, BtfError
from pyebpf.spec import (
    CollectionSpec,
    MapSpec,
    ProgramSpec,
    Reference,
    ReferenceKind,
    VariableSpec,
)
from pyebpf.uapi.bpf import MapType, ProgType
from tests.support import programs


@pytest.fixture(params=["little", "big"])
def spec(request):
    return load_spec(programs.built("globals", request.param))


def test_variables_are_typed_by_btf(spec):
    """Integers with their sign, bools, text, records; in either byte order."""
    values = {name: variable.value for name, variable in spec.variables.items()}
    assert (values["limit"], values["enabled"], values["label"]) == (10, True, "label")
    assert (values["total"], values["tiny"], values["tuned"]) == (1000, -1, 42)
    assert values["matrix"] == ((0, 0, 0), (0, 0, 0))
    assert [(corner.x, corner.y) for corner in values["shapes"].corners] == [(1, -2), (3, 4)]


def test_setting_a_variable_changes_its_sections_contents(spec):
    """A variable is a window into the map's initial bytes."""
    limit = spec.variables["limit"]
    limit.value = 77
    place = slice(limit.offset, limit.offset + 4)
    assert int.from_bytes(spec.maps[".rodata"].contents[place], spec.byteorder) == 77
    spec.maps[".rodata"].contents[place] = (5).to_bytes(4, spec.byteorder)
    assert limit.value == 5
    spec.variables["label"].value = "x"
    assert spec.variables["label"].raw == b"x".ljust(8, b"\0")
    spec.variables["enabled"].raw = b"\0"
    assert spec.variables["enabled"].value is False
    assert limit.value == 5


def test_a_value_that_does_not_fit_is_refused(spec):
    """Nothing is cut off, and nothing changes."""
    before = bytes(spec.maps[".rodata"].contents)
    for value in (1 << 32, "ten"):
        with pytest.raises((ValueError, TypeError)):
            spec.variables["limit"].value = value
    with pytest.raises(ValueError, match=r'variable "limit" takes 4 bytes, not 3'):
        spec.variables["limit"].raw = b"123"
    assert spec.maps[".rodata"].contents == before


def test_a_variable_without_a_type_has_bytes_only():
    """Objects without BTF say where variables are, not what."""
    section = MapSpec(name=".data", type=MapType.ARRAY, contents=bytearray(b"abcd"))
    variable = VariableSpec(name="x", map=section, offset=1, size=2)
    assert variable.raw == b"bc"
    with pytest.raises(BtfError, match=r'variable "x" has no type; use .raw'):
        _ = variable.value
    variable.raw = memoryview(b"BC")
    assert section.contents == b"aBCd"


def test_a_variable_outside_the_contents_is_refused():
    """A user may have cut or removed them; writing must not make them longer."""
    section = MapSpec(name=".data", type=MapType.ARRAY, contents=bytearray(3))
    variable = VariableSpec(name="x", map=section, offset=2, size=2)
    with pytest.raises(ValueError, match=r'variable "x" lies outside the contents of map ".data"'):
        variable.raw = b"ab"
    section.contents = None
    with pytest.raises(ValueError, match="lies outside"):
        _ = variable.raw


def test_a_copy_is_independent(spec):
    """Edits of the copy never show in the original, nor the other way round."""
    copy = spec.copy()
    assert copy == spec
    assert copy.btf is spec.btf
    copy.variables["limit"].value = 1
    copy.maps[".bss"].max_entries = 9
    copy.programs["add_up"].references.clear()
    copy.programs["add_up"].autoload = False
    del copy.maps[".data"]
    fresh = load_spec(programs.built("globals", spec.byteorder))
    assert spec == fresh
    assert copy != spec
    assert copy.maps[".rodata"] is copy.variables["limit"].map


def test_a_copys_variables_live_in_the_copys_maps(spec):
    """By whatever name the map goes, and even if it was taken out of the load."""
    section = spec.maps.pop(".rodata")
    spec.maps["renamed"] = section
    removed = spec.maps.pop(".data")
    copy = spec.copy()
    assert copy.variables["limit"].map is copy.maps["renamed"]
    assert copy.variables["total"].map is copy.variables["tiny"].map
    assert copy.variables["total"].map is not removed


def test_inner_maps_are_copied_too():
    """A map-in-map's template is part of it."""
    spec = load_spec(programs.built("map_contents")).maps["outer"]
    copy = spec.copy()
    copy.inner.max_entries = 99
    assert spec.inner.max_entries != 99


def test_instructions_are_named_by_their_references():
    """They are made when somebody looks; the code itself stays bytes."""
    code = encode_all([Instruction(0x18, 1, 1), Instruction(0x95)], "little")
    references = {0: Reference(ReferenceKind.MAP, "events")}
    spec = ProgramSpec(name="p", type=ProgType.XDP, code=code, references=references)
    assert spec.instructions == (Instruction(0x18, 1, 1, 0, 0, "events"), Instruction(0x95))
    spec.code = code[:-3]
    with pytest.raises(AsmError):
        _ = spec.instructions


def test_specs_can_be_made_by_hand():
    """Everything but name and type has a default."""
    spec = CollectionSpec(
        maps={"m": MapSpec(name="m", type=MapType.HASH)},
        programs={"p": ProgramSpec(name="p", type=ProgType.XDP)},
    )
    assert spec.copy() == spec
    assert spec.programs["p"].instructions == ()
