"""Arrays of records in pandas and Arrow, as `pyebpf.readers.arrays` shows it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.pairs import MANY, pair

DTYPE = np.dtype([("sequence", "u8"), ("half", "u4"), ("byte", "u1")])

kinds = pytest.mark.parametrize("kind", ["ring", "perf"])


def columns(events: np.ndarray) -> dict[str, np.ndarray]:
    assert events.dtype.names
    return {name: events[name] for name in events.dtype.names}


@kinds
def test_pandas_takes_the_fields_as_they_lie(kind):
    """Each column is memory of the array, and has its values and types."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    with pair(kind, 0) as both:
        both.produce(MANY)
        events = both.reader.read_array(0, dtype=DTYPE)
    frame = pandas.DataFrame(columns(events), copy=False)
    for name in DTYPE.names:
        assert np.shares_memory(frame[name].to_numpy(), events)
        assert frame[name].dtype == DTYPE[name]
    assert frame["sequence"].tolist() == list(range(1, MANY + 1))
    assert set(frame["byte"]) == {0xAB}


@kinds
def test_arrow_copies_the_columns_that_are_wanted(kind):
    """Values and types are the array's."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with pair(kind, 0) as both:
        both.produce(MANY)
        events = both.reader.read_array(0, dtype=DTYPE)
    table = pyarrow.table(columns(events))
    assert [str(each) for each in table.schema.types] == ["uint64", "uint32", "uint8"]
    assert table["sequence"].to_pylist() == list(range(1, MANY + 1))
    assert table["half"].to_pylist() == events["half"].tolist()


@kinds
def test_arrow_has_whole_records_without_a_copy(kind):
    """Its values are the memory that the reader filled."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    memory = bytearray(1 << 18)
    with pair(kind, 0) as both:
        both.produce(MANY)
        events = both.reader.read_array(0, dtype=DTYPE, out=memory)
    kind_of, buffers = pyarrow.binary(events.strides[0]), [None, pyarrow.py_buffer(memory)]
    whole = pyarrow.FixedSizeBinaryArray.from_buffers(kind_of, len(events), buffers)
    assert whole.buffers()[1].address == np.frombuffer(memory, np.uint8).ctypes.data
    start = events.ctypes.data - whole.buffers()[1].address
    assert start > 0
    found = [value.as_py()[start : start + 8] for value in whole]
    assert found == [number.tobytes() for number in events["sequence"]]
    assert len(found) > 1000
