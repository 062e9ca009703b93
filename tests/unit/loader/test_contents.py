"""Static contents, checked before anything is loaded."""

from __future__ import annotations

import warnings

import pytest

from pyebpf.errors import LoadError
from pyebpf.loader.contents import check
from pyebpf.spec import MapSpec
from pyebpf.uapi.bpf import MapType

MAPS, PROGRAMS = {"inner"}, {"p"}


def spec(kind: MapType, *entries: tuple[int, str], key_size: int = 4, data: bytes | None = None):
    contents = bytearray(data) if data is not None else None
    return MapSpec(name="m", type=kind, key_size=key_size, contents=contents, entries=entries)


@pytest.mark.parametrize(
    "good",
    [
        spec(MapType.HASH),
        spec(MapType.ARRAY, data=bytes(8)),
        spec(MapType.ARRAY_OF_MAPS, (0, "inner"), (7, "inner")),
        spec(MapType.HASH_OF_MAPS, (1 << 31, "inner")),
        spec(MapType.PROG_ARRAY, (0, "p")),
    ],
    ids=lambda each: str(each.type),
)
def test_contents_of_what_is_loaded_pass(good):
    """Maps in maps, programs in program arrays; no contents are never wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(good, maps=MAPS, programs=PROGRAMS)


@pytest.mark.parametrize(
    ("bad", "name", "message"),
    [
        (
            spec(MapType.ARRAY_OF_MAPS, (0, "inner"), (3, "p")),
            "p",
            'map "m", slot 3: map "p" is not part of the load',
        ),
        (
            spec(MapType.PROG_ARRAY, (1, "inner")),
            "inner",
            'map "m", slot 1: program "inner" is not part of the load',
        ),
        (
            spec(MapType.HASH_OF_MAPS, (0, "inner"), key_size=8),
            "m",
            'map "m": static contents have keys of 4 bytes, not 8',
        ),
        (
            spec(MapType.HASH, (0, "inner")),
            "m",
            'map "m": BPF_MAP_TYPE_HASH has no static contents',
        ),
    ],
    ids=["map", "program", "key", "kind"],
)
def test_what_cannot_be_put_in_place_is_named(bad, name, message):
    """The map, the slot and what it asks for."""
    with pytest.raises(LoadError) as caught:
        check(bad, maps=MAPS, programs=PROGRAMS)
    assert (str(caught.value), caught.value.name) == (message, name)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([(8, "x")], 'holds the address of "x" at offset 0x8; programs'),
        ([(8, "x"), (16, "y"), (24, "z")], 'the address of "x" at offset 0x8 and 2 more; programs'),
    ],
    ids=["one", "three"],
)
def test_addresses_in_data_are_a_warning(entries, message):
    """Nobody can say what they should be, but the program may do without them."""
    with pytest.warns(RuntimeWarning, match=f'section "m" .*{message}'):
        check(spec(MapType.ARRAY, *entries, data=bytes(32)), maps=MAPS, programs=PROGRAMS)
