"""Expectations of maps, programs and collections, held against specs."""

from __future__ import annotations

import re

import pytest

from pyebpf.abi import CollectionAbi, MapAbi, ProgramAbi, check_map, check_program
from pyebpf.elf import load_spec
from pyebpf.errors import IncompatibleError, MapIncompatibleError
from pyebpf.spec import MapSpec, ProgramSpec
from pyebpf.uapi.bpf import AttachType, MapFlag, MapType, ProgType
from tests.support.programs import built


def hash_spec(**fields):
    found = {"name": "m", "type": MapType.HASH, "key_size": 4, "value_size": 8, "max_entries": 10}
    return MapSpec(**(found | fields))


class Loaded:
    """What a map or program in the kernel shows of itself."""

    def __init__(self, spec, name="p", type=ProgType.XDP):  # noqa: A002
        self.spec = spec
        self.name = name
        self.type = type


@pytest.mark.parametrize(
    "expected",
    [
        MapAbi(),
        MapAbi(type=MapType.HASH, key_size=4, value_size=8, max_entries=10, flags=0),
        MapAbi(type=MapType.UNSPEC, key_size=4),
        MapAbi(max_entries=10),
    ],
)
def test_what_is_left_out_may_be_anything(expected):
    """0 and ``None`` are not compared, of a spec as of a map that is loaded."""
    expected.check(hash_spec())
    expected.check(Loaded(hash_spec()))


def test_every_difference_of_a_map_is_listed():
    """Each with what is and what was expected; the map is named."""
    expected = MapAbi(
        type=MapType.ARRAY,
        key_size=8,
        value_size=4,
        max_entries=3,
        flags=MapFlag.NO_PREALLOC,
        inner=MapAbi(),
    )
    with pytest.raises(MapIncompatibleError) as caught:
        expected.check(Loaded(hash_spec()))
    assert str(caught.value) == (
        'map "m": type is BPF_MAP_TYPE_HASH, not BPF_MAP_TYPE_ARRAY; key size is 4, not 8; '
        "value size is 8, not 4; max_entries is 10, not 3; flags is 0, not BPF_F_NO_PREALLOC; "
        "it holds no maps"
    )
    assert caught.value.name == "m"


def test_maps_that_a_map_holds_are_compared_where_they_are_known():
    """The kernel does not say what an opened map was made for."""
    expected = MapAbi(inner=MapAbi(value_size=4))
    outer = hash_spec(type=MapType.HASH_OF_MAPS)
    expected.check(outer)
    outer.inner = hash_spec(value_size=4)
    expected.check(outer)
    outer.inner.value_size = 8
    with pytest.raises(MapIncompatibleError, match='map "m": inner map: value size is 8, not 4'):
        expected.check(outer)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        # Of a descriptor: the kernel forgets them.
        (hash_spec(flags=MapFlag.RDONLY), hash_spec()),
        # The kernel adds it by itself.
        (hash_spec(type=MapType.DEVMAP), hash_spec(type=MapType.DEVMAP, flags=MapFlag.RDONLY_PROG)),
        # Not every kernel maps data sections.
        (
            hash_spec(type=MapType.ARRAY, contents=bytearray(8)),
            hash_spec(type=MapType.ARRAY, flags=MapFlag.MMAPABLE),
        ),
    ],
)
def test_flags_that_say_nothing_about_the_map_are_not_compared(wanted, found):
    """A pin of the same definition is always compatible."""
    check_map(wanted, found)


def test_of_a_spec_zeros_count():
    """A map stands in for a spec only if it is the same."""
    check_map(hash_spec(), hash_spec(name="other", value_type_id=3))
    for field in ("key_size", "value_size", "max_entries"):
        text = f"{field.replace('_size', ' size')} is {getattr(hash_spec(), field)}, not 0"
        with pytest.raises(MapIncompatibleError, match=f"^{text}$"):
            check_map(hash_spec(**{field: 0}), hash_spec())
    with pytest.raises(
        MapIncompatibleError, match=r"^flags is BPF_F_NO_PREALLOC, not 0; map_extra"
    ):
        check_map(hash_spec(map_extra=1), hash_spec(flags=MapFlag.NO_PREALLOC))


def test_a_program_is_compared_by_its_types():
    """What it attaches to as well, where that is known: the kernel does not tell."""
    spec = ProgramSpec(name="p", type=ProgType.XDP, attach_type=AttachType.XDP)
    for fitting in (ProgramAbi(), ProgramAbi(type=ProgType.XDP, attach_type=AttachType.XDP)):
        fitting.check(spec)
        fitting.check(Loaded(spec))
        fitting.check(Loaded(None))
    check_program(spec, Loaded(None))
    expected = ProgramAbi(type=ProgType.SK_MSG, attach_type=AttachType.SK_MSG_VERDICT)
    kind = "type is BPF_PROG_TYPE_XDP, not BPF_PROG_TYPE_SK_MSG"
    cases = (
        (spec, f'program "p": {kind}; attach type is BPF_XDP, not BPF_SK_MSG_VERDICT'),
        (Loaded(None), f'program "p": {kind}'),
        (
            ProgramSpec(name="q", type=ProgType.SK_MSG),
            'program "q": attach type is none, not BPF_SK_MSG_VERDICT',
        ),
    )
    for found, message in cases:
        with pytest.raises(IncompatibleError) as caught:
            expected.check(found)
        assert str(caught.value) == message
        assert caught.value.name == found.name
    with pytest.raises(IncompatibleError, match=f"^{kind}$"):
        check_program(ProgramSpec(name="x", type=ProgType.SK_MSG), Loaded(None))


def test_a_collection_has_what_is_expected_or_all_of_it_is_listed():
    """What is more does not matter; what is missing or different is named."""
    spec = load_spec(built("count_syscalls"))
    CollectionAbi().check(spec)
    CollectionAbi(
        maps={"counts": MapAbi(type=MapType.PERCPU_HASH)},
        programs={"on_sys_enter": ProgramAbi(type=spec.programs["on_sys_enter"].type)},
    ).check(spec)
    expected = CollectionAbi(
        maps={"counts": MapAbi(key_size=3, max_entries=7), "events": MapAbi()},
        programs={"on_sys_enter": ProgramAbi(type=ProgType.XDP), "on_exit": ProgramAbi()},
    )
    with pytest.raises(IncompatibleError) as caught:
        expected.check(spec)
    assert re.fullmatch(
        r'map "counts": key size is \d+, not 3; map "counts": max_entries is 1024, not 7; '
        r'map "events" is missing; '
        r'program "on_sys_enter": type is \w+, not BPF_PROG_TYPE_XDP; program "on_exit" is missing',
        str(caught.value),
    )
    assert caught.value.name == spec.name
