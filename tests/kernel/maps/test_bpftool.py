"""What bpftool shows of a map is what we read of it, types included: the kernel's own oracle."""

from __future__ import annotations

import enum
import re
import struct
import sys

import pytest

from pyebpf import Map, MapFlag, MapSpec, MapType
from pyebpf.abi import check_map
from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.records import Record
from pyebpf.host import cpus
from pyebpf.maps.kinds import (
    CGROUP_STORAGE,
    HOLDS_FDS,
    KEYLESS,
    LOCAL_STORAGE,
    OF_MAPS,
    PER_CPU,
    RINGS,
    TARGETS,
)
from tests.support.bpftool import bpftool_json

TYPES = [
    t.Int("unsigned int", 4),  # 1
    t.Int("long", 8, 1),  # 2
    t.Int("unsigned char", 1),  # 3
    t.Int("_Bool", 1, 4),  # 4
    t.Enum("colour", 4, True, (t.Enumerator("RED", 1), t.Enumerator("BLUE", -7))),  # 5
    t.Array(1, 1, 3),  # 6
    t.Array(3, 1, 4),  # 7
    t.Struct("point", 8, (t.Member("x", 1, 0, 0), t.Member("y", 9, 32, 0)), True),  # 8
    t.Int("int", 4, 1),  # 9
    t.Union("either", 8, (t.Member("whole", 2, 0, 0), t.Member("parts", 8, 0, 0)), True),  # 10
    t.Typedef("number_t", 2),  # 11
    t.Array(8, 1, 2),  # 12
    t.Struct(
        "everything",
        80,
        (
            t.Member("low", 1, 0, 3),
            t.Member("middle", 9, 3, 7),
            t.Member("high", 1, 10, 20),
            t.Member("flag", 4, 32, 0),
            t.Member("colour", 5, 64, 0),
            t.Member("numbers", 6, 96, 0),
            t.Member("octets", 7, 192, 0),
            t.Member("points", 12, 224, 0),
            t.Member("either", 10, 384, 0),
            t.Member("big", 11, 448, 0),
            t.Member("unknown", 5, 512, 0),
        ),
        True,
    ),  # 13
]
BTF = Btf.decode(encode(TYPES, byteorder=sys.byteorder))
VALUES = [
    {"low": 5, "middle": -3, "high": 0xABCDE, "flag": True, "colour": "BLUE"},
    {"numbers": (1, 2**32 - 1, 0), "octets": b"\1\2\xff\0", "big": -(2**63)},
    {"points": ({"x": 1, "y": -1}, {"x": 2**32 - 1}), "either": {"whole": -2}, "unknown": 99},
]


def dump(m):
    return bpftool_json("map", "dump", "id", str(m.id))


# As bpftool writes JSON: names of enumerators, lists, dicts.
def plain(value):
    if isinstance(value, Record):
        return {name: plain(one) for name, one in value._asdict().items()}
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    return value


# Some releases write small numbers of one byte as text: "0x1", or as characters.
def shown(value):
    if isinstance(value, dict):
        return {name: shown(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shown(one) for one in value]
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-f]+", value):
        return int(value, 16)
    return value


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.ARRAY], ids=str)
def test_values_of_every_type_agree(kind):
    """Numbers, bit-fields, enums, arrays, nested structs, unions: field by field."""
    shape = {"key": "unsigned int", "value": "struct everything", "max_entries": 3}
    with Map.create(type=kind, btf=BTF, **shape, name="m") as m:
        for number, value in enumerate(VALUES):
            m[number] = value
        theirs = {one["formatted"]["key"]: shown(one["formatted"]["value"]) for one in dump(m)}
        ours = {key: plain(value) for key, value in m.items()}
        for value in ours.values():
            value["middle"] &= 0x7F  # bpftool takes every bit-field for unsigned
        assert theirs == ours
        raw = {
            int.from_bytes(octets(one["key"]), sys.byteorder): octets(one["value"])
            for one in dump(m)
        }
        with m.with_types(value=bytes) as view:
            assert raw == view.to_dict()


def octets(texts):
    return bytes(int(text, 16) for text in texts)


def test_values_of_each_cpu_agree():
    """Bpftool has a list, too."""
    with Map.create(
        type=MapType.PERCPU_ARRAY, btf=BTF, key="unsigned int", value="number_t", max_entries=2
    ) as m:
        m[1] = [-cpu - 5 for cpu in range(cpus.possible())]
        theirs = {
            one["formatted"]["key"]: [each["value"] for each in one["formatted"]["values"]]
            for one in dump(m)
        }
        assert theirs == dict(m.items())


PLAIN = [
    MapType.HASH,
    MapType.LRU_HASH,
    MapType.ARRAY,
    MapType.LPM_TRIE,
    MapType.PERCPU_HASH,
    MapType.LRU_PERCPU_HASH,
    MapType.PERCPU_ARRAY,
]


@pytest.mark.parametrize("kind", PLAIN, ids=str)
@pytest.mark.parametrize("size", [1, 8, 13])
def test_bytes_of_every_kind_agree(kind, size):
    """Keys and values without types, those of each CPU in their places."""
    key_size = 8 if kind == MapType.LPM_TRIE else 4
    with Map.create(
        type=kind, key_size=key_size, value_size=size, max_entries=5, key=bytes, name="m"
    ) as m:
        per_cpu = kind in PER_CPU
        for number in range(4):
            key = struct.pack("=II", 32, number)[-key_size:]
            values = [bytes([number * 16 + cpu] * size) for cpu in range(cpus.possible())]
            m[key] = values if per_cpu else values[0]
        theirs = {
            octets(one["key"]): [octets(each["value"]) for each in one["values"]]
            if per_cpu
            else octets(one["value"])
            for one in dump(m)
        }
        assert theirs == m.to_dict(in_kernel=False)
        assert theirs == dict(m.items())


@pytest.mark.parametrize("kind", sorted(OF_MAPS | TARGETS), ids=str)
def test_objects_agree(kind):
    """Ids of maps, interfaces and queues, by the slots that hold something."""
    with (
        Map.create(type=kind, **shape(kind), key="I", name="m") as m,
        Map.from_spec(INNER) as inner,
    ):
        m[1] = inner if kind in OF_MAPS else 128 if kind == MapType.CPUMAP else "lo"
        theirs = {
            int.from_bytes(octets(one["key"]), sys.byteorder): one
            for one in dump(m)
            if "error" not in one.get("value", {})
        }
        assert list(theirs) == list(m) == [1]
        if kind in OF_MAPS:
            assert theirs[1].get("inner_map_id", inner.id) == m[1] == inner.id
        else:
            with m.raw as raw:
                assert octets(theirs[1]["value"]) == raw[(1).to_bytes(4, sys.byteorder)]


def test_what_is_shown_of_the_map_agrees():
    """Sizes, flags, BTF and memory."""
    with Map.create(
        type=MapType.HASH, btf=BTF, key="unsigned int", value="struct point", max_entries=3
    ) as m:
        theirs = bpftool_json("map", "show", "id", str(m.id))
        info = m.info()
        assert theirs["bytes_memlock"] == info.memlock
        assert (theirs["bytes_key"], theirs["bytes_value"]) == (4, 8)
        assert theirs["btf_id"] == info.btf_id
        assert bool(theirs.get("frozen", 0)) == info.frozen is False


INNER = MapSpec(name="inner", type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)


def shape(kind):
    """What a kind needs beyond its defaults."""
    entries = {"max_entries": 4}
    if kind in LOCAL_STORAGE | CGROUP_STORAGE:
        return {"value_size": 8}
    if kind in OF_MAPS:
        return {**entries, "key_size": 4, "inner": INNER}
    if kind in RINGS:
        return {"max_entries": 4096}
    if kind in KEYLESS:
        return {**entries, "value_size": 8}
    if kind in HOLDS_FDS - {MapType.SOCKHASH} or kind in (MapType.ARENA, MapType.INSN_ARRAY):
        return entries
    key_size = 8 if kind == MapType.LPM_TRIE else 4
    return {**entries, "key_size": key_size, "value_size": 8}


# STRUCT_OPS are made from the kernel's types only: see test_struct_ops.py.
KINDS = [kind for kind in MapType if kind not in (MapType.UNSPEC, MapType.STRUCT_OPS)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_map_of_every_kind_is_what_bpftool_shows(kind):
    """Made from Python with nothing but what its kind needs."""
    with Map.create(type=kind, **shape(kind), name="every_kind") as m:
        theirs = bpftool_json("map", "show", "id", str(m.id))
        info = m.info()
        assert theirs["name"] == info.name == "every_kind"
        names = {str(kind).removeprefix("BPF_MAP_TYPE_").lower(), f"type {int(kind)}", int(kind)}
        assert str(theirs["type"]).removesuffix("_deprecated") in {str(name) for name in names}
        assert (theirs["bytes_key"], theirs["bytes_value"]) == (info.key_size, info.value_size)
        assert (theirs["max_entries"], theirs["flags"]) == (info.max_entries, int(info.flags))
        assert theirs["bytes_memlock"] == info.memlock
        assert (m.key_size, m.value_size, m.max_entries) == (
            info.key_size,
            info.value_size,
            info.max_entries,
        )
        added = kind in (MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.INSN_ARRAY)
        assert m.flags == info.flags & ~(MapFlag.RDONLY_PROG if added else 0)
        with m.new_like() as fresh, Map.from_id(fresh.id) as again:
            check_map(again.spec, fresh.spec)
