"""Laws of values for any type a compiler may describe, in either byte order."""

from __future__ import annotations

import copy

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.btf.columns import columns
from pyebpf.btf.records import Record
from pyebpf.btf.values import codec
from tests.support import properties as properties
from tests.support.any_type import types

ORDERS = st.sampled_from(["little", "big"])


@st.composite
def values(draw, *, floats=True):
    """Draw a codec, and bytes of its size."""
    btf, wanted = draw(ORDERS.flatmap(lambda order: types(order, floats=floats)))
    made = codec(btf, wanted)
    return btf, wanted, made, draw(st.binary(min_size=made.size, max_size=made.size))


@given(values())
def test_a_value_comes_back_from_its_own_bytes(case):
    """decode(encode(v)) is v, whatever v was decoded from; the bytes have the type's size."""
    _, _, made, data = case
    value = made.decode(data)
    again = made.encode(value)
    assert len(again) == made.size
    assert repr(made.decode(again)) == repr(value)  # NaN is not equal to itself
    assert made.encode(made.decode(again)) == again


@given(values(floats=False))
def test_a_record_is_made_again_from_its_fields(case):
    """From keywords, from a dict, from its like; equal, with the same hash and text."""
    _, _, made, data = case
    value = made.decode(data)
    if not isinstance(value, Record):
        return
    kind = type(value)
    if "union" not in made.type_name:
        assert kind(**value._asdict()) == value
        assert made.decode(made.encode(value._asdict())) == value
    assert made.decode(made.encode(value)) == value
    assert hash(value) == hash(made.decode(data))
    assert repr(value) == repr(copy.deepcopy(value))
    assert list(value) == list(value._asdict().values())


@given(values())
def test_numpy_sees_the_same_numbers(case):
    """Every number of a row is what the record's field is."""
    btf, wanted, made, data = case
    if not made.size:
        return
    dtype = np.dtype(columns(btf, wanted))
    assert dtype.itemsize == made.size or dtype.subdtype is not None
    _same(np.frombuffer(data, dtype, 1)[0], made.decode(data))


def _same(row, value):
    if isinstance(value, Record):
        fields = value._asdict()
        for name in row.dtype.names or ():
            _same(row[name], fields[name])
    elif isinstance(value, tuple):
        assert len(row) == len(value)
        for one, other in zip(row, value, strict=True):
            _same(one, other)
    elif isinstance(value, str):
        assert row.split(b"\0", 1)[0] == value.encode("utf-8", "surrogateescape")
    elif isinstance(value, bytes):
        assert row.tobytes() == value
    elif isinstance(row, np.void):  # 128 bits: bytes, as they are
        assert value in {
            int.from_bytes(row.tobytes(), order, signed=True) for order in ("little", "big")
        }
    elif isinstance(value, float):
        assert repr(float(row)) == repr(value)
    else:
        assert row.item() == value
