"""Programs with constants and maps that were set to something else, run by the kernel."""

from __future__ import annotations

import pytest

import pyebpf
from tests.support.programs import SOURCES, built

PACKET = bytes(64)


def only(*names: str) -> pyebpf.CollectionSpec:
    spec = pyebpf.load_spec(built("constants"))
    for each in spec.programs.values():
        each.autoload = each.name in names
    return spec


@pytest.mark.parametrize("summand", [0, 7, (1 << 33) + 5, -1])
def test_the_program_computes_with_what_was_set(summand):
    """All 64 bits arrive, in a function that is called and behind an offset, too."""
    spec = only("add_up", "behind")
    spec.rewrite_constant("SUMMAND", summand)
    spec.rewrite_constant("SCALE", 3)
    with pyebpf.load(spec) as bpf:
        total = summand * 4 & (1 << 64) - 1
        assert bpf.programs["add_up"].run(PACKET).retval == (total + (total >> 32)) & 0xFFFF_FFFF
        assert bpf.programs["behind"].run(PACKET).retval == summand + 4 & 0xFFFF_FFFF


def test_the_same_spec_loads_with_one_value_after_another():
    """Setting a constant again replaces what was set."""
    spec = only("pick")
    for index, letter in enumerate(b"abc"):
        spec.programs["pick"].rewrite_constant("INDEX", index)
        with pyebpf.load(spec) as bpf:
            assert bpf.programs["pick"].run(PACKET).retval == letter


def test_the_verifier_sees_the_value_and_the_error_its_line():
    """An index outside of the buffer is refused with the line of C that uses it."""
    spec = only("pick")
    spec.programs["pick"].rewrite_constant("INDEX", 1000)
    with pytest.raises(pyebpf.VerifierError) as caught:
        pyebpf.load(spec)
    text = "return buffer["
    lines = (SOURCES / "constants.bpf.c").read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if text in line]
    assert caught.value.source is not None
    assert (caught.value.source.file, caught.value.source.line) == ("constants.bpf.c", number)
    assert text in caught.value.source.text


def test_a_constant_that_is_not_set_is_an_error():
    """Never a silent 0; the error says what to do."""
    with pytest.raises(pyebpf.ExternError, match=r'"INDEX".*set it with rewrite_constant\(\)'):
        pyebpf.load(only("pick"))


def test_a_program_uses_the_other_map():
    """What it counts lands there."""
    spec = only("count")
    spec.programs["count"].rewrite_map("first", "second")
    with pyebpf.load(spec) as bpf:
        assert [bpf.programs["count"].run(PACKET).retval for _ in range(2)] == [1, 2]
        assert (bpf.maps["first"][0], bpf.maps["second"][0]) == (0, 2)


def test_a_program_uses_a_map_of_the_callers():
    """One that the object knows nothing of is handed to the load by name."""
    with pyebpf.Map.create(
        type=pyebpf.MapType.ARRAY, key_size=4, value_size=4, max_entries=1
    ) as own:
        spec = only("count")
        spec.rewrite_map("first", "own")
        with pytest.raises(pyebpf.LoadError, match=r'map "own".* is not part of the load'):
            pyebpf.load(spec)
        with pyebpf.load(spec, map_replacements={"own": own}) as bpf:
            assert bpf.maps["own"] is own
            bpf.programs["count"].run(PACKET)
        assert int.from_bytes(own[bytes(4)], spec.byteorder) == 1
        del spec.maps["first"]
        with pyebpf.load(spec, map_replacements={"own": own}) as bpf:
            assert bpf.programs["count"].run(PACKET).retval == 2
        with pytest.raises(pyebpf.LoadError, match='the object has no map "owm"'):
            pyebpf.load(spec, map_replacements={"owm": own, "own": own})
