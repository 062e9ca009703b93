"""Keys and values as the user wants them: every way to say so, on maps of the kernel."""

from __future__ import annotations

import ctypes
import ipaddress
import json
import struct
import sys

import numpy as np
import pytest

import pyebpf
from pyebpf import Map, MapType
from pyebpf.maps.lpm import IPV4, IPV6
from tests.support.programs import built


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_uint32), ("y", ctypes.c_int16), ("pad", ctypes.c_int16))


def point(x, y):
    made = Point(x, y, 0)
    return bytes(made)


def hash_of(**codecs):
    return Map.create(type=MapType.HASH, max_entries=8, name="h", **codecs)


JSON = (lambda data: json.loads(data.rstrip(b"\0")), lambda v: json.dumps(v).encode().ljust(16))
PAIR = np.dtype([("low", "u4"), ("high", "u4")])
CASES = {
    "one item": ("I", "=I", [(7, struct.pack("=I", 7))]),
    "several items": ("<HHI", "<HHI", [((1, 2, 3), struct.pack("<HHI", 1, 2, 3))]),
    "big endian": (">Q", ">Q", [(1, b"\0" * 7 + b"\1")]),
    "ctypes number": (ctypes.c_uint64, "=Q", [(5, struct.pack("=Q", 5))]),
    "numpy scalar": (np.uint16, "=H", [(65535, b"\xff\xff")]),
    "ipv4": (IPV4, "4s", [("10.0.0.1", b"\x0a\0\0\1")]),
    "ipv6": (IPV6, "16s", [("::1", bytes(15) + b"\1")]),
}


@pytest.mark.parametrize(("given", "raw", "pairs"), CASES.values(), ids=CASES)
def test_each_way_to_name_a_type_reads_and_writes_its_bytes(given, raw, pairs):
    """The bytes in the kernel are those of the type, seen by a second view of the same map."""
    with hash_of(key=given, value=given) as m, m.raw as view:
        assert m.key_size == m.value_size == struct.calcsize(raw)
        for value, data in pairs:
            m[value] = value
            assert view[data] == data
            found = m[value]
            assert found == value or str(found) == str(value)
            assert value in m
            assert [type(key) for key in m] == [type(found)]


def test_records_of_ctypes_and_numpy_are_copies():
    """What is handed out does not change when the map does."""
    with hash_of(key="I", value=Point) as m:
        m[1] = Point(3, -4, 0)
        found = m[1]
        m[1] = (5, 6)
        assert (found.x, found.y, m[1].x) == (3, -4, 5)
        with pytest.raises(TypeError, match="value must be a Point, not str"):
            m[1] = "x"
        with m.with_types(value=PAIR) as seen:
            before = seen[1]
            assert before["low"] == 5
            seen[1] = (8, 9)
            assert (before["low"], seen[1]["high"], m[1].x) == (5, 9, 8)


def test_a_pair_of_functions_is_a_codec():
    """Any object, as long as the bytes have the right size."""
    with hash_of(key="I", value=JSON, value_size=16) as m:
        m[1] = {"a": [1]}
        assert m[1] == {"a": [1]}
        with pytest.raises(ValueError, match="value takes 16 bytes, not 22"):
            m[1] = "x" * 20


def test_a_size_that_is_not_the_maps_is_an_error_with_both():
    """From the codec or given beside it, at creation or later; nothing is left open."""
    with pytest.raises(ValueError, match="key is 8 bytes, its codec's 4"):
        hash_of(key="I", key_size=8, value="I")
    with pytest.raises(ValueError, match="value_size must be given"):
        hash_of(key="I", value=JSON)
    with hash_of(key="I", value="Q") as m:
        with pytest.raises(ValueError, match='map "h": value is 8 bytes, its codec\'s 4'):
            m.with_types(value="I")
        with pytest.raises(ValueError, match=r"value 1e\+300, format 'f'|value -1, format"):
            m.with_types(value="Q").close() or m.update(1, -1)
        with pytest.raises(TypeError, match="value= cannot be 7"):
            m.with_types(value=7)
        with pytest.raises(pyebpf.BtfError, match='type "struct flow" of a map that has no BTF'):
            m.with_types(value="struct flow")


def test_fields_are_ip_addresses_when_asked_for():
    """Text or objects in, objects out; the rest of the record stays as it is."""
    with pyebpf.load(built("maps")) as bpf:
        flows = bpf.maps["hash"]
        with flows.with_addresses("source", "target") as m:
            key = {"source": "10.0.0.1", "target": ipaddress.ip_address("10.0.0.2"), "port": 80}
            m[key] = {"packets": 7}
            ((found, value),) = m.items()
            assert (str(found.source), str(found.target), found.port) == (
                "10.0.0.1",
                "10.0.0.2",
                80,
            )
            assert found.source == ipaddress.IPv4Address("10.0.0.1")
            assert m[found].packets == value.packets == 7
            ((plain, _),) = flows.items()
            assert plain.source == int.from_bytes(bytes([10, 0, 0, 1]), sys.byteorder)
            assert m.to_numpy()[1]["packets"].tolist() == [7]
            with pytest.raises(ValueError, match=r"source.*no IPv4 address"):
                m[{"source": "::1"}] = {}
        with pytest.raises(pyebpf.BtfError, match="map \"hash\" has no field 'nothing'"):
            flows.with_addresses("source", "nothing")
        with pytest.raises(pyebpf.BtfError, match="'port' of struct flow is no IP address"):
            flows.with_addresses("port")


def test_types_of_btf_go_by_name():
    """A struct, enum, typedef or number of the map's own types, or of those it is created with."""
    btf = pyebpf.load_spec(built("maps")).btf
    with Map.create(
        type=MapType.HASH, max_entries=4, btf=btf, key="__u32", value="struct usage", name="u"
    ) as m:
        assert (m.key_size, m.value_size) == (4, 40)
        m[1] = {"packets": 3, "device": "eth0", "state": "BUSY"}
        assert (m[1].packets, m[1].device, m[1].state.name) == (3, "eth0", "BUSY")
        with Map.from_id(m.id) as opened:  # the kernel keeps the types
            assert opened[1] == m[1]
        with m.with_types(key="enum state") as named:
            assert [str(key) for key in named] == ["BUSY"]
        with pytest.raises(pyebpf.BtfError, match='no type "struct nothing"'):
            m.with_types(value="struct nothing")
        with m.new_like() as fresh, Map.from_id(fresh.id) as again:
            fresh[2] = m[1]
            assert again[2].device == "eth0"
