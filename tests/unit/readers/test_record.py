"""record=: from bytes to what the user asked for."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError, FormatError
from pyebpf.readers.block import Block, Run, Spans
from pyebpf.readers.record import decoder
from tests.support.btf_builder import BtfBuilder

DATA = bytes([1, 0, 0, 0, 2, 0, 0, 0]) + b"bash\0\0\0\0" + b"padding"


class Event(ctypes.LittleEndianStructure):
    _fields_ = (("pid", ctypes.c_uint32), ("ppid", ctypes.c_uint32), ("comm", ctypes.c_char * 8))


@pytest.fixture
def btf() -> Btf:
    """Types of an object: struct event, an alias of it, an anonymous struct by typedef, an int."""
    builder = BtfBuilder()
    number = builder.int("unsigned int", 4)
    char = builder.int("char", 1, 1)
    comm = builder.array(char, 8)
    event = builder.struct(
        "event", 16, ("pid", number, 0), ("ppid", number, 32), ("comm", comm, 64)
    )
    builder.typedef("event_t", event)
    builder.typedef("pid_only", builder.struct("", 4, ("pid", number, 0)))
    return Btf.decode(builder.build())


def decode(record, data=DATA, btf=None):
    made = decoder(record, btf=btf, name="events").one
    assert made is not None
    return made(data)


def test_none_leaves_records_alone():
    """No function at all, so that nothing has to be called."""
    assert decoder(None, btf=None, name="events").one is None


RECORDS = [None, "event", "<II8s", "@IQ", Event, np.dtype("<u8"), np.dtype([("a", "u2")]), len]


@pytest.mark.parametrize("record", RECORDS, ids=str)
@pytest.mark.parametrize("first", [8, 12])
@pytest.mark.parametrize("length", [16, 17, 60])
def test_a_run_decodes_as_its_records_do_one_by_one(btf, record, first, length):
    """The same values, wherever reading stops and goes on."""
    stride = (first + length + 7) & ~7
    payloads = [(bytes([n]) + DATA[1:]).ljust(length, b"-")[:length] for n in range(20)]
    data = b"".join((bytes(first) + each).ljust(stride, b"\xff") for each in payloads)
    run = Block(data, Run(first, length, stride, 20))
    made = decoder(record, btf=btf, name="events")
    one = made.one or (lambda payload: payload)
    wanted = [one(each) for each in payloads]
    starts = [n * stride + first for n in range(20)]
    spans = Spans(starts, [start + length for start in starts])
    for block in (run, Block(data, spans)):
        cursor = made.cursor(block)
        seen = [next(cursor.records) for _ in range(7)]
        assert cursor.left == 13
        seen += made.cursor(cursor.take_rest()).records
        if isinstance(record, type):  # ctypes instances do not compare
            seen, expected = [bytes(each) for each in seen], [bytes(each) for each in wanted]
        else:
            expected = wanted
        assert seen == expected
        assert (cursor.left, list(cursor.records)) == (0, [])
        cursor = made.cursor(block)
        cursor.drop()
        assert (cursor.left, list(cursor.records)) == (0, [])


@pytest.mark.parametrize("record", ["event", "<II8s", Event, np.dtype("<u8")], ids=str)
def test_a_run_of_records_that_are_too_short_is_an_error_for_each(btf, record):
    """Not one for all, and the bytes behind a record are not taken for its own."""
    run = Block(bytes(16 * 15), Run(8, 3, 16, 15))
    cursor = decoder(record, btf=btf, name="events").cursor(run)
    for left in range(14, -1, -1):
        with pytest.raises(FormatError):
            next(cursor.records)
        assert cursor.left == left
    assert list(cursor.records) == []


def test_a_signal_during_the_decoding_loses_nothing():
    """The record comes again."""
    interrupted = []

    def decode(data: bytes) -> int:
        if data == b"3" and not interrupted:
            interrupted.append(data)
            raise KeyboardInterrupt
        return int(data)

    block = Block(b"012345", Spans(list(range(6)), list(range(1, 7))))
    cursor = decoder(decode, btf=None, name="events").cursor(block)
    assert [next(cursor.records) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        next(cursor.records)
    assert cursor.left == 3
    assert list(cursor.records) == [3, 4, 5]


def test_the_rest_is_taken_once_with_what_comes_again():
    """Whoever iterates there comes to the end."""

    def decode(data: bytes) -> int:
        if data == b"3":
            raise KeyboardInterrupt
        return int(data)

    block = Block(b"012345", Spans(list(range(6)), list(range(1, 7))))
    cursor = decoder(decode, btf=None, name="events").cursor(block)
    with pytest.raises(KeyboardInterrupt):
        list(cursor.records)
    assert cursor.take_rest() == Block(b"012345", Spans([3, 4, 5], [4, 5, 6]))
    assert (cursor.left, list(cursor.records)) == (0, [])


@pytest.mark.parametrize("name", ["event", "struct event", "event_t"])
def test_a_name_means_the_type_in_btf_and_padding_is_tolerated(btf, name):
    """With or without the keyword, and typedefs too."""
    event = decode(name, btf=btf)
    assert (event.pid, event.ppid, event.comm) == (1, 2, "bash")


def test_a_typedef_of_an_anonymous_struct_has_a_name(btf):
    """The usual C idiom."""
    assert decode("pid_only", btf=btf).pid == 1


def test_a_type_clang_dropped_is_an_error_that_shows_how_to_keep_it(btf):
    """A line of C to paste."""
    with pytest.raises(BtfError, match=r"struct exec_event \*unused __attribute__\(\(unused\)\);"):
        decode("exec_event", btf=btf)


@pytest.mark.parametrize("name", ["unsigned int", "IQ16s", "dish"])
def test_a_name_is_never_a_struct_format(btf, name):
    """Even if its letters are all codes of one: a misspelt type must not decode to nonsense."""
    with pytest.raises(BtfError):
        decode(name, btf=btf)


@pytest.mark.parametrize("name", ["", " ", "struct "], ids=repr)
def test_no_name_is_not_the_name_of_an_anonymous_struct(btf, name):
    """A mistake of the caller."""
    with pytest.raises(ValueError, match="names no type"):
        decoder(name, btf=btf, name="events")


def test_a_name_without_btf_is_an_error_that_says_what_to_do():
    """Compile with -g, or use a format."""
    with pytest.raises(
        BtfError, match='"event" for map "events", which has no BTF: compile with -g'
    ):
        decode("event")


def test_a_format_gives_tuples():
    """Of the front of the record."""
    assert decode("<II8s") == (1, 2, b"bash\0\0\0\0")


def test_a_format_that_is_none_is_a_mistake_of_the_caller():
    """Told at once, not with the first record."""
    with pytest.raises(ValueError, match="record='<IZ'"):
        decoder("<IZ", btf=None, name="events")


def test_a_ctypes_structure_gets_its_own_copy():
    """It lives longer than the ring's memory."""
    event = decode(Event)
    assert (event.pid, event.comm) == (1, b"bash")


def test_a_dtype_gives_a_scalar_with_fields():
    """Plain dtypes and structured ones."""
    event = decode(np.dtype([("pid", "<u4"), ("ppid", "<u4")]))
    assert (event["pid"], event["ppid"]) == (1, 2)
    assert decode(np.dtype("<u8")) == 1 | 2 << 32


def test_a_callable_gets_the_bytes():
    """All of them, padding included."""
    assert decode(len) == len(DATA)


@pytest.mark.parametrize("record", ["event", "<II8s", Event, np.dtype("<u8")], ids=str)
def test_a_record_that_is_too_short_is_a_format_error_with_both_sizes(btf, record):
    """Whatever it was to become."""
    with pytest.raises(FormatError, match=r"\b3\b.*\b(8|16)\b|\b(8|16)\b.*\b3\b"):
        decode(record, b"abc", btf)


@pytest.mark.parametrize("record", [1, b"<I", 3.5], ids=str)
def test_anything_else_is_a_type_error(record):
    """At once."""
    with pytest.raises(TypeError, match="record= must be"):
        decoder(record, btf=None, name="events")
