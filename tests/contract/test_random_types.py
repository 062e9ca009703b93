"""Values of any type a compiler may describe are to the kernel's own tool what they are to us."""

from __future__ import annotations

import enum
import json
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pyebpf import Map, MapSpec, MapType
from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.records import Record
from pyebpf.btf.values import codec
from pyebpf.errors import SyscallError
from tests.support.any_type import types

WIDTHS = {1 << bits for bits in range(1, 129)}


# Types with bytes of their size; no floats, of which bpftool 7.1 knows nothing.
@st.composite
def cases(draw):
    btf, wanted = draw(types(sys.byteorder, floats=False))
    size = codec(btf, wanted).size
    return btf, wanted, draw(st.binary(min_size=size, max_size=size))


@pytest.mark.skipif(shutil.which("bpftool") is None, reason="bpftool is not installed")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_a_value_of_any_type_is_what_bpftool_shows(real_kernel, case):
    """Numbers, bit-fields, enums, pointers, arrays, structs and unions within each other."""
    btf, wanted, data = case
    assume(data)
    described = [btf.type(number) for number in range(1, len(btf))]
    described.append(t.Int("unsigned int", 4))
    spec = MapSpec(
        name="any_type",
        type=MapType.ARRAY,
        key_size=4,
        value_size=len(data),
        max_entries=1,
        btf=Btf.decode(encode(described, byteorder=sys.byteorder)),
        key_type_id=len(described),
        value_type_id=wanted,
    )
    try:
        made = Map.from_spec(spec, typed=True)
    except SyscallError as error:
        # A struct whose last member, an empty array, begins behind its end.
        assert "Member exceeds struct_size" in str(error)  # noqa: PT017  that one alone
        return
    with made, made.raw as raw:
        raw[bytes(4)] = data
        command = ["bpftool", "-j", "map", "dump", "id", str(made.id)]
        shown = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        value = made[0]
        assert same(value, shown[0]["formatted"]["value"])
        made[0] = value
        assert repr(made[0]) == repr(value)


# Whether bpftool means the same: it has lists for bytes, names for enumerators, texts for pointers
# and large numbers, takes every bit-field for unsigned, and what is no enumerator for signed.
def same(ours, theirs):
    if isinstance(ours, Record):
        fields = ours._asdict()
        return list(fields) == list(theirs) and all(map(same, fields.values(), theirs.values()))
    if isinstance(ours, str):
        octets = bytes(number(each) & 255 for each in theirs)
        return ours.encode("utf-8", "surrogateescape") == octets.partition(b"\0")[0]
    if isinstance(ours, (bytes, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, enum.Enum):
        return ours.name == theirs
    theirs = number(theirs)
    return ours == theirs or (min(ours, theirs) < 0 and abs(theirs - ours) in WIDTHS)


def number(shown):
    return int(shown, 16) if isinstance(shown, str) else int(shown)
